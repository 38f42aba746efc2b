"""What is kept on disk about one container, so that the next agent knows it: who made it, when, and how far it got.

Written in two steps: `record.json` before anything is made, `made.json` once it runs. A folder without the second is
half-made and is cleaned away. Nothing is synced to the disk: both only have to outlive the agent, and a power cut that
loses them has ended the container, too.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TypeVar

import msgspec

from skerry.outside import UNREADABLE

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
ShapeT = TypeVar("ShapeT")


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """`runtime`: crun or runc, which alone can remove it; `boot`: the kernel's boot id: pids mean nothing after it."""

    id: str
    runtime: str
    boot: str
    labels: dict[str, str]


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """It was started. Pids as this host numbers them."""

    pid: int
    monitor: int


def boot_id() -> str:
    return BOOT_ID.read_text().strip()


def write(folder: Path, value: Record | Made) -> None:
    """Replace the file as a whole: a reader sees the old one, the new one or none."""
    path = folder / _name(type(value))
    new = path.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(value))
    new.replace(path)


def read(folder: Path, shape: type[ShapeT]) -> ShapeT | None:
    """None if it isn't there or is damaged: both mean that this step was not reached."""
    try:
        return msgspec.json.decode((folder / _name(shape)).read_bytes(), type=shape)
    except (FileNotFoundError, NotADirectoryError, *UNREADABLE):
        return None


def erase(folder: Path, shape: type) -> None:
    """Take a step back. Not there is well."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        (folder / _name(shape)).unlink()


def _name(shape: type) -> str:
    return f"{shape.__name__.lower()}.json"
