"""Carrying the streams of one tool between its descriptors and the operator's stream, both ways, until one end is gone."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine

from skerry.errors import Passing, Unreachable
from skerry.mesh import terminals as t
from skerry.mesh.messages import Stream, is_alive
from skerry.runtime import processes
from skerry.runtime.contract import Tool

LAST_WORDS_S = 30.0  # of output that is still to be carried to an operator whose line is slow
LISTENED_S, SILENT_S = 2.0, 5.0  # how often a tracer's operator is listened for, and how long
TIME_OVER = 124  # as timeout(1) says it
FROM_OPERATOR = t.STDIN + t.STDIN_END + t.RESIZE + t.INTERRUPT


class Stuck(Passing):
    """Nothing that the tool wrote was taken for a while: a tracer that can't write holds up whom it traces."""

    code = "stuck"


class Carrying:
    """`stuck_s`: after so long in which the operator takes nothing the tool is ended; None: it may wait. `keep`: who takes what it
    writes to standard output, instead of the operator.
    """

    def __init__(
        self,
        stream: Stream,
        tool: Tool,
        stuck_s: float | None,
        keep: Callable[[bytes], Coroutine[None, None, None]] | None = None,
    ) -> None:
        self._stream, self._tool, self._stuck_s, self._keep = stream, tool, stuck_s, keep

    async def run(self, limit_s: float, forbidden: Coroutine[None, None, None]) -> t.End:
        """How it ended; the tool has ended then. `forbidden`: until it may no longer go on.

        Raises Unreachable when the operator is gone, BadFormat for what no operator sends.
        """
        ended = asyncio.ensure_future(self._tool.ended())
        incoming = asyncio.ensure_future(self._take())
        outgoing = asyncio.ensure_future(self._give_all())
        closed = asyncio.ensure_future(self._stream.wait_closed() if self._stuck_s is None else self._unheard())
        stopped = asyncio.ensure_future(forbidden)
        tasks = (ended, incoming, outgoing, closed, stopped)
        try:
            await asyncio.wait(tasks, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if outgoing.done() and outgoing.exception() is None:  # it closed its output, and is still at work
                await asyncio.wait({*tasks} - {outgoing}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            why = ""
            if not ended.done() and not incoming.done() and not closed.done():
                why = f"the limit of {limit_s:g} s is over"
                if stopped.done():
                    why = "the right to do this has ended"
                elif outgoing.done() and (stuck := outgoing.exception()) is not None:
                    why = str(stuck)
            await self._tool.end()  # what it left in the background, too
            code = await ended
            await asyncio.wait((outgoing, closed), timeout=LAST_WORDS_S, return_when=asyncio.FIRST_COMPLETED)
            if incoming.done():
                incoming.result()
            if closed.done():
                raise Unreachable("the tool was ended", "the operator's connection is gone")
            return t.End(TIME_OVER, why) if why else t.End(code, self._tool.why())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _unheard(self) -> None:
        """Until a tracer's operator is gone. One whose cable was pulled says nothing of it, and the target waits meanwhile."""
        closed = asyncio.ensure_future(self._stream.wait_closed())
        try:
            while not closed.done() and await is_alive(self._stream, SILENT_S):
                await asyncio.wait({closed}, timeout=LISTENED_S)
            self._stream.transport.abort()
        finally:
            closed.cancel()

    async def _take(self) -> None:
        while True:
            piece = await t.recv(self._stream, FROM_OPERATOR)
            if piece.channel == t.STDIN:
                await self._write(piece.payload)
            elif piece.channel == t.STDIN_END:
                self._tool.close_input()
            elif piece.channel == t.RESIZE:
                self._tool.resize(*piece.size())
            else:
                self._tool.signal(signal.SIGINT)

    async def _write(self, data: bytes) -> None:
        """A tool that takes no more has closed its input: then it is thrown away."""
        while data and self._tool.input >= 0:
            try:
                data = data[os.write(self._tool.input, data) :]
            except BlockingIOError:
                await processes.wait_writable(self._tool.input)
            except OSError:
                return

    async def _give_all(self) -> None:
        files = [(t.STDOUT, self._tool.output)]
        if self._tool.errors is not None:
            files.append((t.STDERR, self._tool.errors))
        await asyncio.gather(*(self._give(channel, file) for channel, file in files))

    async def _give(self, channel: bytes, file: int) -> None:
        while True:
            try:
                data = os.read(file, t.PIECE_BYTES)
            except BlockingIOError:
                await processes.wait_readable(file)
                continue
            except OSError:  # a terminal that nobody has open any more
                return
            if not data:
                return
            if channel == t.STDOUT and self._keep is not None:
                await self._keep(data)
                continue
            try:
                async with asyncio.timeout(self._stuck_s):
                    await t.send(self._stream, channel, data)
            except TimeoutError:
                raise Stuck(
                    "the tool was ended",
                    f"for {self._stuck_s:g} s nobody took what it writes, and its target waits",
                    "",
                ) from None
