"""A slot's packets on the operator's machine: the filter made by its tcpdump, the stream into a file or through that tcpdump.

The filter's words never reach the node: it gets the finished program, whose length it bounds and which its kernel checks.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from skerry.client.looking import Place, opened
from skerry.client.session import Session
from skerry.errors import BadInput, Refusal

STEPS_MAX = 1024
COMPILED_WITHIN_S = 10.0
Step = tuple[int, int, int, int]


class NoCompiler(Refusal):
    """A filter's words are made into a program by tcpdump, here."""

    code = "no-tcpdump"
    exit_code = 2


def tcpdump() -> str:
    """Its path, "" where there is none."""
    return shutil.which("tcpdump") or shutil.which("tcpdump", path="/usr/sbin:/usr/bin:/usr/local/sbin") or ""


async def compiled(words: str) -> list[Step]:
    """The program of a filter such as "tcp port 80". Raises BadInput with tcpdump's words, NoCompiler."""
    if not words:
        return []
    program = tcpdump()
    if not program:
        raise NoCompiler(
            "the filter can't be used",
            "tcpdump, which makes it, is not on this machine",
            "install it, or leave --filter out",
        )
    child = await asyncio.create_subprocess_exec(
        program, "-ddd", "-y", "EN10MB", "--", words,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(COMPILED_WITHIN_S):
            out, err = await child.communicate()
    except TimeoutError:
        child.kill()
        await child.wait()
        raise BadInput(
            f"the filter {words!r} was not made", f"no end in {COMPILED_WITHIN_S:g} s", "make it simpler"
        ) from None
    if child.returncode:
        lines = [line for line in err.decode("utf-8", "replace").splitlines() if not line.startswith("Warning")]
        raise BadInput(
            f"the filter {words!r} can't be understood",
            " ".join(lines).removeprefix("tcpdump: "),
            "see: man pcap-filter",
        )
    return parse_program(out.decode("ascii", "replace"))


def parse_program(text: str) -> list[Step]:
    """What `tcpdump -ddd` prints: how many steps, then each in a line. Raises BadInput."""
    try:
        count, *lines = text.split("\n")
        steps = [tuple(int(word) for word in line.split()) for line in lines if line]
        if int(count) != len(steps) or any(len(step) != 4 for step in steps):
            raise ValueError(f"{count} steps, {len(lines)} lines")
    except ValueError as error:
        raise BadInput("the filter was not understood", str(error), "is it tcpdump that is called so here?") from None
    if len(steps) > STEPS_MAX:
        raise BadInput(
            "the filter is too long", f"it has {len(steps)} steps, {STEPS_MAX} are allowed", "make it simpler"
        )
    return steps  # type: ignore[return-value]


class Capture:
    """`figures`: what the node has counted so far; at the end, with why it ended."""

    def __init__(self) -> None:
        self.figures: dict[str, Any] = {}

    async def data(self, session: Session, place: Place, args: dict[str, Any]) -> AsyncGenerator[bytes]:
        """Pieces of a pcap stream. To be closed."""
        async with opened(session, place, "capture", **args) as answer, aclosing(answer.mixed()) as found:
            async for piece in found:
                if isinstance(piece, bytes):
                    yield piece
                else:
                    self.figures = piece
        self.figures = answer.summary


async def through_tcpdump(pieces: AsyncGenerator[bytes], say: Callable[[str], None]) -> None:
    """Each packet in a line of tcpdump's, as it comes. It gets no rights and names are not looked up."""
    child = await asyncio.create_subprocess_exec(
        tcpdump(), "-n", "-l", "-r", "-",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None

    async def lines(out: asyncio.StreamReader) -> None:
        while line := await out.readline():
            say(line.decode("utf-8", "replace").rstrip("\n"))

    reading = asyncio.ensure_future(lines(child.stdout))
    try:
        async for piece in pieces:
            child.stdin.write(piece)
            await child.stdin.drain()
        child.stdin.close()
        await reading
    finally:
        reading.cancel()
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
