"""`skerry profile`: a flame graph of where a container's time goes. py-spy for Python, never stopping it; perf for all else."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from skerry.client.shortcuts.running import Complaints, Look, failed
from skerry.errors import BadFormat, BadInput
from skerry.mesh import terminals as t

Profiler = Literal["auto", "py-spy", "perf"]
SVG_BYTES = 32 << 20
MORE_S = 60.0  # to read symbols and to draw
NOT_PYTHON = ("Failed to find python version", "No python processes found")
_SAMPLES = re.compile(rb"<title>all \(([\d,]+) samples")


class Profile(msgspec.Struct, frozen=True):
    """`by`: py-spy or perf. `samples`: how often it was looked at while it ran."""

    slot: str
    by: str
    visibility: str
    seconds: int
    rate: int
    samples: int
    svg: bytes


async def profile(
    look: Look,
    *,
    seconds: int = 10,
    rate: int = 100,
    by: Profiler = "auto",
    blocking: bool = False,
    waiting: bool = False,
) -> Profile:
    """Raises BadInput, ToolFailed, BadFormat, and what `debugging.opened` raises. `blocking`: py-spy stops the program for each
    sample: felt, and never a stack that was read half. `waiting`: of Python also threads that wait or sleep: else those that hold the
    interpreter's lock, as py-spy can't tell from outside who sleeps (seen: 95 % of the samples of a program that slept)."""
    if not (1 <= seconds <= 3600 and 1 <= rate <= 1000):
        raise BadInput(
            "nothing was profiled", "1 to 3600 seconds, 1 to 1000 samples in each", "see skerry profile --help"
        )
    if by != "perf":
        mode = [*([] if blocking else ["--nonblocking"]), *([] if waiting else ["--gil"])]
        argv = ["py-spy", "record", "--subprocesses", *mode, "--format", "flamegraph"]
        svg, end, complaints = await _drawn(look, "python", seconds, rate, argv)
        if end.code == 0:
            return _profile(look, "py-spy", seconds, rate, svg)
        if by == "py-spy" or not any(words in line for line in complaints.lines() for words in NOT_PYTHON):
            raise failed(f"{look.slot} could not be profiled", end, complaints)
        look.say(f"{look.slot} is no Python program: perf looks at it")
    svg, end, complaints = await _drawn(look, "perf", seconds, rate, ["perf"])
    if end.code:
        raise failed(f"{look.slot} could not be profiled", end, complaints)
    return _profile(look, "perf", seconds, rate, svg)


async def _drawn(look: Look, tools: str, seconds: int, rate: int, argv: list[str]) -> tuple[bytes, t.End, Complaints]:
    svg, complaints = bytearray(), Complaints()

    def take(channel: bytes, payload: bytes) -> None:
        if channel == t.STDERR:
            complaints.take(payload)
        elif len(svg) + len(payload) > SVG_BYTES:
            raise BadFormat(
                f"the profile of {look.slot} was not taken",
                f"it has more than {SVG_BYTES >> 20} MiB",
                "try fewer seconds",
            )
        else:
            svg.extend(payload)

    argv = ["sh", "/usr/share/skerry/profile", "{pid}", str(seconds), str(rate), *argv]
    end = await look.run(tools, argv, take, limit_s=seconds + MORE_S)
    return bytes(svg), end, complaints


def _profile(look: Look, by: str, seconds: int, rate: int, svg: bytes) -> Profile:
    found = _SAMPLES.search(svg)
    if not svg.lstrip().startswith(b"<?xml") or found is None:
        raise BadFormat(f"the profile of {look.slot} was not taken", "what came is no flame graph", "try again")
    samples = int(found[1].replace(b",", b""))
    return Profile(look.slot, by, look.visibility, seconds, rate, samples, bytes(svg))
