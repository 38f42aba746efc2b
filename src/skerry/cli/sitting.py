"""Somebody sits at a tool that runs elsewhere: this terminal's keys go there, what it writes comes here.

Without a terminal of its own the tool's output is foreign text: where a person looks at it, control characters are shown, not sent.
With one (-t) it has the screen as any program has that one logs in to.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from skerry.cli.image.options import store
from skerry.cli.output import Terminal, clean_lines
from skerry.client import debugging
from skerry.client.session import Session
from skerry.core.visibility import classify
from skerry.errors import BadInput
from skerry.mesh import terminals as t

PIECE_BYTES = 64 << 10
WORDS_BYTES = 4096
COLLECTED_BYTES = 16 << 20  # of each stream, with --json


class Sitting:
    """`subject`: slot or host, as it was typed. `how`: as `debugging.opened` takes it."""

    def __init__(
        self,
        terminal: Terminal,
        subject: str,
        argv: list[str],
        *,
        with_input: bool,
        tty: bool,
        write: bool,
        host: str = "",
        join: str = "",
        **how: Any,
    ) -> None:
        if tty and not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise BadInput(
                "no tool was started",
                "-t needs a terminal, and this is none",
                "a command needs none: skerry debug SLOT -- CMD, without -t",
            )
        if tty and terminal.as_json:
            raise BadInput("no tool was started", "--json and -t don't go together", "leave one of them out")
        self._terminal, self._subject, self._argv = terminal, subject, argv
        self._input, self._tty, self._write, self._host, self._how = with_input, tty, write, host, how | {"join": join}
        self._last = b""
        self._collected = {t.STDOUT: bytearray(), t.STDERR: bytearray()}
        self._decoders = {channel: codecs.getincrementaldecoder("utf-8")("replace") for channel in self._collected}

    async def run(self, session: Session) -> int:
        """Its exit code."""
        found = classify(self._argv, joined=(self._how["join"],), write=self._write)
        self._terminal.say(f"{found.visibility}: {self._subject} may notice: {found.notices}")
        cols, rows = shutil.get_terminal_size()
        size: dict[str, Any] = (
            {"rows": rows, "cols": cols, "term": os.environ.get("TERM", "") or "dumb"} if self._tty else {}
        )
        slot = "" if self._host else self._subject
        how = {**size, **self._how, "images": store(), "progress": self._terminal.say}
        async with debugging.opened(
            session, slot, self._argv, tty=self._tty, write=self._write, host=self._host, **how
        ) as tool:
            for line in tool.notices[1:] if tool.visibility == found.visibility else tool.notices:
                self._terminal.say(line)
            with self._raw(), self._heard(tool):
                if self._input:
                    threading.Thread(target=self._read, args=(tool, asyncio.get_running_loop()), daemon=True).start()
                else:
                    await tool.end_input()
                async for channel, payload in tool:
                    self._show(channel, payload)
        end = tool.end or t.End(1, "it ended without a word")
        if end.why and end.why.encode() not in self._last:  # the runtime may have said it itself
            self._terminal.warn(end.why)
        if self._terminal.as_json:
            out, errors = (bytes(each).decode("utf-8", "replace") for each in self._collected.values())
            told = {"visibility": tool.visibility, "notices": list(tool.notices), "code": end.code, "why": end.why}
            self._terminal.answer({**told, "stdout": out, "stderr": errors}, "")
        return end.code

    def _show(self, channel: bytes, payload: bytes) -> None:
        if channel == t.NOTICE:
            self._terminal.say(payload.decode("utf-8", "replace"))
            return
        self._last = (self._last + payload)[-WORDS_BYTES:]
        if self._terminal.as_json:
            room = COLLECTED_BYTES - len(self._collected[channel])
            self._collected[channel] += payload[: max(room, 0)]
            return
        to = sys.stdout if channel == t.STDOUT else sys.stderr
        if not self._tty and to.isatty():
            to.write(clean_lines(self._decoders[channel].decode(payload)))
        else:
            to.buffer.write(payload)
        to.flush()

    def _read(self, tool: debugging.Debug, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread, as a file can't be waited for: standard input, at the speed at which the tool takes it."""
        with contextlib.suppress(Exception):  # the tool has ended: nobody is left to hear of it
            while data := os.read(sys.stdin.fileno(), PIECE_BYTES):
                asyncio.run_coroutine_threadsafe(tool.send(data), loop).result()
            asyncio.run_coroutine_threadsafe(tool.end_input(), loop).result()

    @contextlib.contextmanager
    def _raw(self) -> Iterator[None]:
        """Keys go to the tool as they are typed, Ctrl-C too."""
        if not self._tty:
            yield
            return
        import termios
        import tty

        file = sys.stdin.fileno()
        before = termios.tcgetattr(file)
        try:
            tty.setraw(file)
            yield
        finally:
            termios.tcsetattr(file, termios.TCSADRAIN, before)

    @contextlib.contextmanager
    def _heard(self, tool: debugging.Debug) -> Iterator[None]:
        """Another size of the window, or (without a terminal) Ctrl-C: the first one interrupts the tool, the second one us."""
        loop = asyncio.get_running_loop()
        tasks: set[asyncio.Task[None]] = set()

        def resized() -> None:
            cols, rows = shutil.get_terminal_size()
            tasks.add(loop.create_task(tool.resize(rows, cols)))

        def interrupted() -> None:
            loop.remove_signal_handler(signal.SIGINT)
            tasks.add(loop.create_task(tool.interrupt()))

        heard = {signal.SIGWINCH: resized} if self._tty else {signal.SIGINT: interrupted}
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not in a thread, nor on Windows
            for number, act in heard.items():
                loop.add_signal_handler(number, act)
        try:
            yield
        finally:
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                for number in heard:
                    loop.remove_signal_handler(number)
            for task in tasks:
                task.cancel()
