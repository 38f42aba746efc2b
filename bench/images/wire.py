"""A TCP proxy on loopback that counts: every byte that TCP carries, both ways, whatever is in it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from types import TracebackType


class Wire:
    """Between clients and 127.0.0.1:`target`. Use as `with Wire(target) as wire`; clients go to 127.0.0.1:`wire.port`."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="counting proxy", daemon=True)
        self.port = 0
        self.to_server = self.to_client = self.connections = 0

    def __enter__(self) -> Wire:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._joined, "127.0.0.1", 0), self._loop
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
        both, self.to_server, self.to_client = self.to_server + self.to_client, 0, 0
        return both

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(self._pump(reader, back, "to_server"), self._pump(there, writer, "to_client"))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        try:
            while data := await reader.read(256 * 1024):
                setattr(self, way, getattr(self, way) + len(data))
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # the other end has gone: so does this one
        finally:
            writer.close()
