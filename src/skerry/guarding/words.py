"""What agent and guard say to each other over a unix socket: one packet asks, one answers. Words and their bounds only.

The agent tells the whole of what it wants guarded each time, so that a packet that was lost, said twice, or said by an agent
that knows nothing yet does no harm. Times are seconds of CLOCK_BOOTTIME, which also counts while the machine is suspended.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import msgspec

from skerry.errors import BadFormat
from skerry.outside import UNREADABLE

FOLDER = "leases"  # in the agent's run directory: socket and state
PACKET_MAX_BYTES = 128 << 10
KEPT_MAX = 256
LATELY_MAX = 32
LEASE_MAX_S = 120.0  # no lease is so long: a greater one is somebody's mistake
_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,126}")
_INTERFACE = re.compile(r"[a-zA-Z0-9_.-]{0,15}")
_ADDRESS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}")


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A container that may live until `until_s`. `cgroup`: as in `cgroupsPath`; `interface`: the host's end of its wire."""

    id: str
    cgroup: str
    interface: str
    address: str
    number: int
    until_s: float


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """`wanted`: all that shall be guarded from now on; None changes nothing. Who is not in it, and runs, keeps the time it had."""

    wanted: tuple[Kept, ...] | None = None


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """`ended_s`: since when it is killed and cut off, 0 while it may live."""

    kept: Kept
    ended_s: float = 0.0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """`program`: the Python that the guard runs from; `lately`: the last that it ended; `refused`: why not all was done, else ""."""

    program: str
    held: tuple[Held, ...] = ()
    lately: tuple[Held, ...] = ()
    refused: str = ""


def socket_path(run: Path) -> Path:
    return run / FOLDER / "socket"


def state_path(run: Path) -> Path:
    return run / FOLDER / "state.json"


def read_ask(packet: bytes, now_s: float) -> Ask:
    """Raises BadFormat: a guard takes orders from root, but not every order of root's makes sense."""
    try:
        ask = msgspec.json.decode(packet, type=Ask)
    except UNREADABLE as error:
        raise BadFormat("the guard was told nothing", str(error)) from None
    if len(ask.wanted or ()) > KEPT_MAX:
        raise BadFormat("the guard was told too much", f"more than {KEPT_MAX} containers")
    for kept in ask.wanted or ():
        if why := _wrong(kept, now_s):
            raise BadFormat(f"{kept.id[:64]!r} can't be guarded", why)
    return ask


def _wrong(kept: Kept, now_s: float) -> str:
    parts = PurePosixPath(kept.cgroup).parts
    if not _ID.fullmatch(kept.id):
        return "that is no container's id"
    if len(kept.cgroup) > 255 or len(parts) < 3 or parts[0] != "/" or ".." in parts:
        return "its cgroup is not one of a container"  # above all not the root's
    if not _INTERFACE.fullmatch(kept.interface) or not _ADDRESS.fullmatch(kept.address):
        return "its interface or address can't be"
    if kept.number < 1 or not kept.until_s <= now_s + LEASE_MAX_S:  # also no NaN
        return "its number or time can't be"
    return ""
