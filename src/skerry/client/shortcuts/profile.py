"""`skerry profile`: a flame graph of where a container's time goes. py-spy for Python, never stopping it; perf for all else.

What perf reads is recorded by the host's own agent, which gives out user-space stacks of this container and nothing else: kernels that
keep such events for root (Debian's) need no tool that is root (decision 26). perf itself, as a tool, finds the functions' names.
"""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import Literal

import msgspec

from skerry.client import delivery, looking
from skerry.client.shortcuts.running import Complaints, Look, ToolFailed, failed
from skerry.core.visibility import classify
from skerry.errors import BadFormat, BadInput
from skerry.mesh import terminals as t

Profiler = Literal["auto", "py-spy", "perf"]
SVG_BYTES = 32 << 20
RECORDING_BYTES = 64 << 20
MORE_S = 60.0  # to read symbols and to draw
NOTHING = "No stack counts found"  # inferno, which draws for py-spy
NOT_PYTHON = ("Failed to find python version", "No python processes found")
NOT_READ = ("Permission", "Operation not permitted")
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
        argv = ["sh", "/usr/share/skerry/profile", "{pid}", str(seconds), str(rate), *argv]
        svg, end, complaints = await _drawn(look, "python", argv, seconds + MORE_S)
        if end.code == 0:
            return _profile(look, "py-spy", seconds, rate, svg)
        said = "\n".join(complaints.lines())
        if NOTHING in said:
            raise ToolFailed(
                f"{look.slot} could not be profiled",
                f"its Python ran at none of the samples of {seconds} s: there is nothing to draw",
                f"draw what waits and sleeps, too: --waiting; what it waits in: skerry procs {look.slot}",
            )
        if by == "py-spy" or not any(words in said for words in (*NOT_PYTHON, *NOT_READ)):
            raise failed(f"{look.slot} could not be profiled", end, complaints)
        why = "is no Python program" if any(words in said for words in NOT_PYTHON) else "may not be read by py-spy"
        look.say(f"{look.slot} {why}: perf looks at it")
    recording = await _recorded(look, seconds, rate)
    svg, end, complaints = await _drawn(look, "perf", ["sh", "/usr/share/skerry/draw"], MORE_S, recording)
    if end.code:
        raise failed(f"{look.slot} could not be profiled", end, complaints)
    return _profile(look, "perf", seconds, rate, svg)


async def _recorded(look: Look, seconds: int, rate: int) -> bytes:
    """What the host has seen of it, as perf's file. Raises ToolFailed where it did not run at all."""
    slot, node = await looking.find(look.session, look.subject)
    look.slot = slot
    await delivery.ready(look.session, look.images, "perf", node, look.say)  # before: it may end meanwhile
    found = classify(["perf"])
    look.tell(found.visibility, [f"{slot} may notice: {found.notices}"])
    args = {"seconds": float(seconds), "rate": rate, "limit": RECORDING_BYTES, "process": look.process}
    data = bytearray()
    async with looking.opened(look.session, looking.Place(slot, node), "samples", **args) as answer:
        async with aclosing(answer.data()) as pieces:
            async for piece in pieces:
                data += piece
                if len(data) > 2 * RECORDING_BYTES:
                    raise BadFormat(
                        f"the profile of {slot} was not taken", "more came than was asked for", "look at that host"
                    )
        told = answer.summary
    if not told.get("samples"):
        raise ToolFailed(
            f"{slot} could not be profiled",
            f"it did not run in {seconds} s: there is nothing to draw",
            f"what it waits in: skerry procs {slot}",
        )
    if told.get("left_out") or told.get("lost"):
        look.say(
            f"not all of it was seen: {told.get('left_out', 0)} threads left out, {told.get('lost', 0)} samples lost"
        )
    return bytes(data)


async def _drawn(
    look: Look, tools: str, argv: list[str], limit_s: float, given: bytes = b""
) -> tuple[bytes, t.End, Complaints]:
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

    end = await look.run(tools, argv, take, limit_s=limit_s, give=given)
    return bytes(svg), end, complaints


def _profile(look: Look, by: str, seconds: int, rate: int, svg: bytes) -> Profile:
    found = _SAMPLES.search(svg)
    if not svg.lstrip().startswith(b"<?xml") or found is None:
        raise BadFormat(f"the profile of {look.slot} was not taken", "what came is no flame graph", "try again")
    samples = int(found[1].replace(b",", b""))
    return Profile(look.slot, by, look.visibility, seconds, rate, samples, bytes(svg))
