"""Where containers' log files are and how much of them is kept. Reading them is observe/logs.py.

The monitor writes `ctr.log` and, once it is full, replaces it by an empty one and forgets the old. So that the old is
kept, once, we hold a second name for the file that is written to; when it is no longer the same file it has become the
older part. `look` notices that and is to be called every few seconds.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

LABELS = "labels.json"
ENDED_KEPT = 16  # folders of containers that are gone; beyond, the longest untouched go


class LogFiles:
    """`directory`: one folder per container, `ctr.log` (written to) and `ctr.log.1` (before it) in it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._live: set[str] = set()

    def make(self, id: str, labels: Mapping[str, str]) -> None:
        """Make its folder and hold it back from being cleared away. `labels` are kept with it for as long as it stays."""
        self._live.add(id)
        folder = self._directory / id
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / LABELS).write_bytes(msgspec.json.encode(labels))

    def kept(self) -> dict[str, dict[str, str]]:
        """Labels of all whose folders are here, oldest first."""
        found: dict[str, dict[str, str]] = {}
        with contextlib.suppress(FileNotFoundError):
            for folder in sorted(self._directory.iterdir(), key=_touched):
                with contextlib.suppress(OSError, msgspec.DecodeError):
                    found[folder.name] = msgspec.json.decode((folder / LABELS).read_bytes(), type=dict[str, str])
        return found

    def current(self, id: str) -> Path:
        return self._directory / id / "ctr.log"

    def watch(self, id: str) -> None:
        """It runs: hold its log from now on."""
        self._live.add(id)
        self._hold(id)

    def look(self) -> None:
        """Notice what was rotated meanwhile. A container that fills two files between two looks loses the first."""
        for id in self._live:
            self._hold(id)

    def paths(self, id: str) -> list[Path]:
        """Those that exist, oldest first."""
        self._hold(id)
        current = self.current(id)
        return [path for path in (_older(current), current) if path.exists()]

    def ended(self, id: str) -> None:
        """The container is gone: its log stays, until enough newer ones have ended."""
        self._hold(id)
        self._live.discard(id)
        with contextlib.suppress(FileNotFoundError):
            gone = [path for path in self._directory.iterdir() if path.name not in self._live]
            for folder in sorted(gone, key=_touched)[:-ENDED_KEPT]:
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        self._live.clear()

    def _hold(self, id: str) -> None:
        current = self.current(id)
        held = current.with_name("ctr.log.held")
        try:
            if held.exists() and os.path.samestat(held.stat(), current.stat()):
                return
            if held.exists():
                held.replace(_older(current))
            os.link(current, held)
        except FileNotFoundError:
            return  # not begun, or cleared away meanwhile
        except FileExistsError:
            return


def _older(current: Path) -> Path:
    return current.with_name("ctr.log.1")


def _touched(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
