"""Which lines of a log a person asked for. A text that is looked for costs what reading costs.

A regular expression may take longer than the world will stand on one line that a container wrote: so it is tried in a child process,
which is ended when a batch takes too long. (A pattern language without that trap would be one more library on each host; a check
that lets no such pattern in also keeps out harmless ones.)

Run as a program it is that child: the pattern first, then batches of lines in, one byte a line out. Its argument is how long one
may take.
"""

from __future__ import annotations

import asyncio
import contextlib
import marshal
import sys
from collections.abc import Sequence

PATTERN_MAX = 1000  # characters
CHILDREN_MAX = 4  # at once on a host: each costs some 8 MB
BATCH_WITHIN_S = 2.0  # of a processor: how long a busy host lets a harmless pattern wait says nothing of it
ANSWER_WITHIN_S = 10 * BATCH_WITHIN_S
BATCH_LINES = 2000
CHILD_MEMORY_BYTES = 256 << 20


class BadPattern(ValueError):
    """It is no regular expression; says why."""


class TooSlow(Exception):
    """The pattern took too long on these lines."""


class TooMany(Exception):
    """As many searches as may be are under way on this host."""


class Matcher:
    """Use as `async with`. An empty pattern lets everything through."""

    def __init__(self, pattern: str = "", *, regex: bool = False, ignore_case: bool = False) -> None:
        self._regex = regex and bool(pattern)
        self._ignore_case = ignore_case
        self._pattern = pattern if regex or not ignore_case else pattern.casefold()
        self._child: asyncio.subprocess.Process | None = None

    @property
    def needle(self) -> bytes:
        """Bytes without which no line of a piece of log can match; empty where that can't be said."""
        return b"" if self._regex or self._ignore_case else self._pattern.encode("utf-8", "replace")

    async def __aenter__(self) -> Matcher:
        """Raises BadPattern, TooMany."""
        if self._regex:
            _places.take()
            try:
                self._child = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-I", "-m", __name__, str(BATCH_WITHIN_S)),
                    stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
                )  # fmt: skip
                answer = await self._ask([self._pattern, "i" if self._ignore_case else ""])
            except BaseException:
                await self._end()
                raise
            if answer[:1] != b"+":
                await self._end()
                raise BadPattern(answer[1:].decode("utf-8", "replace"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    async def pick(self, texts: Sequence[str]) -> Sequence[int]:
        """The places of those that match. Raises TooSlow."""
        if not self._pattern:
            return range(len(texts))
        if self._regex:
            found: list[int] = []
            for begin in range(0, len(texts), BATCH_LINES):
                answer = await self._ask(texts[begin : begin + BATCH_LINES])
                found += [begin + n for n, byte in enumerate(answer) if byte]
            return found
        if self._ignore_case:
            return [n for n, text in enumerate(texts) if self._pattern in text.casefold()]
        return [n for n, text in enumerate(texts) if self._pattern in text]

    async def _ask(self, words: Sequence[str]) -> bytes:
        assert self._child is not None and self._child.stdin is not None and self._child.stdout is not None
        body = marshal.dumps(list(words))
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                self._child.stdin.write(len(body).to_bytes(4, "big") + body)
                await self._child.stdin.drain()
                length = int.from_bytes(await self._child.stdout.readexactly(4), "big")
                return await self._child.stdout.readexactly(length)
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            raise TooSlow from None

    async def _end(self) -> None:
        if self._regex:
            _places.give()
        if (child := self._child) is not None:
            self._child = None
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()


class _Places:
    def __init__(self) -> None:
        self._taken = 0

    def take(self) -> None:
        if self._taken >= CHILDREN_MAX:
            raise TooMany
        self._taken += 1

    def give(self) -> None:
        self._taken -= 1


_places = _Places()


# --- in the child -----------------------------------------------------------------------------------------------------


def main() -> None:
    import os
    import re
    import resource
    import signal

    within_s = float(sys.argv[1])
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_AS, (CHILD_MEMORY_BYTES, CHILD_MEMORY_BYTES))
    read, write = sys.stdin.buffer, sys.stdout.buffer

    def heard() -> list[str]:
        length = read.read(4)
        signal.setitimer(signal.ITIMER_PROF, within_s)  # its signal ends us, whatever the pattern is at
        return list(marshal.loads(read.read(int.from_bytes(length, "big")))) if len(length) == 4 else []

    def say(answer: bytes) -> None:
        write.write(len(answer).to_bytes(4, "big") + answer)
        write.flush()

    pattern, flags = heard()
    try:
        search = re.compile(pattern, re.IGNORECASE if flags else 0).search
    except (re.error, OverflowError, RecursionError, MemoryError) as error:
        say(b"-" + str(error).encode())
        return
    say(b"+")
    while texts := heard():
        say(bytes(search(text) is not None for text in texts))


if __name__ == "__main__":
    main()
