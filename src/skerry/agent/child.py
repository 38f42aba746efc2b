"""One question to a child process, one answer: so that no HTTP library stays in the agent's memory, and what hangs hurts nobody."""

from __future__ import annotations

import asyncio
import contextlib
import sys

ERROR_SHOWN = 300


async def asked(module: str, question: bytes, *, limit_s: float) -> tuple[bytes, str]:
    """What the child wrote to standard output, and, where it failed or gave nothing in time, why not."""
    try:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-m", module,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    except OSError as error:  # no memory for one more process, say
        return b"", f"it did not begin: {error}"
    try:
        async with asyncio.timeout(limit_s):
            out, err = await child.communicate(question)
    except TimeoutError:
        return b"", f"no answer in {limit_s:.0f} s"
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
    if child.returncode == 0:
        return out, ""
    return out, err.decode(errors="replace").strip()[-ERROR_SHOWN:] or f"it ended with {child.returncode}"
