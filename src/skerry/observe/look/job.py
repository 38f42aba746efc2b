"""What the child is asked, and how its answer is framed. Imported by the agent: nothing heavy.

A frame is four bytes of length, one of channel, and the payload: rows (a JSON list), data (bytes), and at the end either a
summary (JSON) or an error (JSON, as errors.py words it).
"""

from __future__ import annotations

import struct
from typing import Annotated, Literal

import msgspec

PIECE_BYTES = 128 << 10
FRAME_BYTES = 256 << 10  # the longest
PATH_MAX = 4095
DEPTH_MAX = 128  # folders in each other
ROWS, DATA, SUMMARY, ERROR = b"r", b"d", b"x", b"e"
HEAD = struct.Struct(">I")
PLAN_BYTES, THINGS_MAX = 8 << 20, 20_000

What = Literal["ls", "cat", "tree", "would", "put", "procs", "sockets", "files", "capture", "samples", "keep"]
Path = Annotated[str, msgspec.Meta(max_length=PATH_MAX)]


class Job(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`root`: the descriptor of the file system; `untouched`: reading through it leaves no access times. `limit`: rows, or bytes
    of content. `pids`: the container's processes, the first one first. `places`: paths of what is kept, or was;
    `to`: the descriptor of a folder to copy it into; `began`: of what its volumes held when it started. `rate`: samples in a
    second; `process`: of this one and its children alone.
    """

    what: What
    path: Path = "/"
    limit: int = 0
    root: int = -1
    untouched: bool = False
    pids: tuple[int, ...] = ()
    places: tuple[str, ...] = ()
    to: int = -1
    began: int = -1
    interface: str = ""
    filter: tuple[tuple[int, int, int, int], ...] = ()
    snap_bytes: int = 0
    packets: int = 0
    seconds: float = 0.0
    rate: int = 0
    process: int = 0


class Thing(msgspec.Struct, frozen=True, array_like=True):
    """One of what is put into a container. `path`: below the first one, whose is empty. `target`: what a link says."""

    path: Annotated[tuple[str, ...], msgspec.Meta(max_length=DEPTH_MAX)]
    kind: Literal["file", "directory", "link"]
    mode: Annotated[int, msgspec.Meta(ge=0, le=0o777)] = 0
    size: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)] = 0
    target: Annotated[str, msgspec.Meta(max_length=PATH_MAX)] = ""


class Plan(msgspec.Struct, frozen=True):
    """What comes, folders before what lies in them. `name`: of the first one, where it goes into a folder that is there."""

    name: Annotated[str, msgspec.Meta(max_length=255)]
    things: Annotated[tuple[Thing, ...], msgspec.Meta(min_length=1, max_length=THINGS_MAX)]


def frame(channel: bytes, payload: bytes) -> bytes:
    return HEAD.pack(len(payload) + 1) + channel + payload
