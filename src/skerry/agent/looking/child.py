"""Running the child that looks: one Job, its frames. Shared by who looks for an operator and who keeps what crashed."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from skerry.observe.look.errors import NothingToSee
from skerry.observe.look.job import ERROR, FRAME_BYTES, HEAD, SUMMARY, Job

SILENCE_S = 30.0  # what it reads hangs
ENDED_WITHIN_S = 2.0
WORDS_MAX = 300


class Child:
    """`input`: where a `put` reads from."""

    def __init__(self, job: Job, process: asyncio.subprocess.Process) -> None:
        self.input = process.stdin
        self._job, self._process = job, process

    async def messages(self) -> AsyncIterator[bytes]:
        """Channel and payload, to the summary or the error. Raises NothingToSee if it hangs or breaks."""
        out, err = self._process.stdout, self._process.stderr
        assert out is not None
        assert err is not None
        channel = b""
        while channel not in (SUMMARY, ERROR):
            try:
                async with asyncio.timeout(SILENCE_S):
                    (length,) = HEAD.unpack(await out.readexactly(HEAD.size))
                    message = await out.readexactly(length)
            except TimeoutError:
                why = f"reading it gave nothing for {SILENCE_S:g} s: its disk may hang"
                raise NothingToSee(f"{self._job.path} can't be read", why, "try again") from None
            except asyncio.IncompleteReadError:
                words = (await err.read()).decode("utf-8", "replace").strip()[-WORDS_MAX:]
                raise NothingToSee(
                    f"{self._job.path} can't be read", f"the reader ended: {words}", "try again"
                ) from None
            channel = message[:1]
            yield message


@asynccontextmanager
async def running(job: Job) -> AsyncIterator[Child]:
    """Ended when the block is left, whatever it does."""
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-m", "skerry.observe.look.child", msgspec.json.encode(job).decode(),
        stdin=pipe if job.what in ("would", "put") else nothing, stdout=pipe, stderr=pipe,
        pass_fds=[file for file in (job.root, job.to, job.began) if file >= 0], limit=FRAME_BYTES,
    )  # fmt: skip
    try:
        yield Child(job, process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        with contextlib.suppress(TimeoutError):  # one that hangs in the kernel ends when that lets it
            await asyncio.wait_for(process.wait(), ENDED_WITHIN_S)
