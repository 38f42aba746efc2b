"""A TCP proxy on loopback that counts: every byte that TCP carries, both ways, whatever is in it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from types import TracebackType


class Wire:
    """Between clients and 127.0.0.1:`target`. Use as `with Wire(target) as wire`; clients go to 127.0.0.1:`wire.port`.

    `of`: the bytes of each connection, by the port that the server sees it come from.
    """

    def __init__(self, target: int, port: int = 0) -> None:
        self.target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="counting proxy", daemon=True)
        self.port = port
        self.of: Counter[int] = Counter()
        self._taken = 0

    def __enter__(self) -> Wire:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._joined, "127.0.0.1", self.port), self._loop
        ).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def take(self) -> int:
        """The bytes of both ways since the last take."""
        before, self._taken = self._taken, self.of.total()
        return self._taken - before

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:  # nobody listens there yet
            writer.transport.abort()
            return
        seen = back.get_extra_info("sockname")[1]
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(self._pump(reader, back, seen), self._pump(there, writer, seen))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: int) -> None:
        try:
            while data := await reader.read(256 * 1024):
                self.of[seen] += len(data)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # the other end has gone: so does this one
        finally:
            writer.close()
