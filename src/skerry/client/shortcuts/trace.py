"""`skerry trace`: the system calls of a container, by strace, for a stated time. It is felt: said first, with figures."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Sequence

import msgspec

from skerry.client.shortcuts.running import Complaints, Look, failed
from skerry.core.visibility import FELT_LIMIT_S
from skerry.errors import BadInput
from skerry.mesh import terminals as t

TEXT_CHARS = 200  # of a string in a call
CALLS = re.compile(r"[%/!]?[a-z0-9_%]{1,40}")
LINE_CHARS = 20_000
TIME_OVER = 124
OWN_WORDS = "strace: "  # what strace says of itself, for people: whom it has attached to, what it can't

_OF_A_PROCESS = re.compile(r"\[pid +(\d+)\] ?")
_TIME = re.compile(r"(\d\d:\d\d:\d\d\.\d{6}) ")


class Call(msgspec.Struct, frozen=True):
    """One line of a trace. `pid`: as tools number it, None where there is but one process; `time`: of the host's day, UTC or local as
    the tool says it, "" for a remark of strace itself."""

    pid: int | None
    time: str
    text: str


def argv_of(calls: Sequence[str], *, count: bool) -> list[str]:
    """Raises BadInput for what can't be the name of a system call or of a group of them."""
    wrong = next((name for name in calls if not CALLS.fullmatch(name)), None)
    if wrong is not None:
        raise BadInput(
            "nothing was traced",
            f"{wrong[:60]!r} is no system call",
            "such as: -e openat,connect, or a group: -e %network",
        )
    what = ["-e", f"trace={','.join(calls)}"] if calls else []
    how = ["-c"] if count else ["-tt", "-y", "-s", str(TEXT_CHARS)]
    return ["sh", "/usr/share/skerry/trace", "{pid}", "strace", "-f", *how, *what]


def read_line(line: str) -> Call:
    """A line as strace writes it, taken apart."""
    pid = _OF_A_PROCESS.match(line)
    rest = line[pid.end() :] if pid else line
    time = _TIME.match(rest)
    return Call(int(pid[1]) if pid else None, time[1] if time else "", rest[time.end() :] if time else rest)


class Lines:
    """Lines out of bytes as they come; a line without end is cut."""

    def __init__(self, line: Callable[[str], None]) -> None:
        self._line = line
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def take(self, payload: bytes, *, last: bool = False) -> None:
        *whole, self._rest = (self._rest + self._decoder.decode(payload, last)).split("\n")
        for line in whole:
            self._line(line)
        if self._rest and (last or len(self._rest) > LINE_CHARS):
            self._line(self._rest)
            self._rest = ""


async def trace(
    look: Look, line: Callable[[str], None], calls: Sequence[str] = (), *, limit_s: float = 0.0, count: bool = False
) -> t.End:
    """Hand over each line as it comes, until its time is over (0: 10 s) or the container ends. `count`: one table at the end instead.

    Raises BadInput, ToolFailed, and what `debugging.opened` raises.
    """
    complaints = Complaints()
    lines = Lines(lambda text: look.say(text) if text.startswith(OWN_WORDS) else line(text))

    def take(channel: bytes, payload: bytes) -> None:
        complaints.take(payload)
        lines.take(payload)

    end = await look.run("base", argv_of(calls, count=count), take, limit_s=limit_s or FELT_LIMIT_S)
    lines.take(b"", last=True)
    if end.code not in (0, TIME_OVER, 130, 143):
        raise failed(f"{look.slot} could not be traced", end, complaints)
    return end
