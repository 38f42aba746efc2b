"""Named volumes: directories of this host, one for each app's name. Made when a container first needs one, deleted only on request.

Beside a volume `data` there may be `.data.making.<slot>`, what its init is at work on, and `.data.made`, which is whole and
on disk and only has to move in. No volume's name begins with a dot.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from skerry.core.records import Slot
from skerry.errors import Passing
from skerry.store.disk import full_disk_told


class VolumeInUse(Passing):
    """Something was written into a volume while its first content was being made beside it."""

    code = "volume-not-empty"


class Volumes:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, app: str, name: str) -> Path:
        """Made empty when it isn't there; the runtime gives it to its container's user. Raises DiskFull."""
        path = self._directory / app / name
        with full_disk_told(self._directory):
            path.mkdir(parents=True, exist_ok=True)
        return path

    def begin(self, slot: Slot, name: str) -> Path | None:
        """An empty folder in which the volume's first content can be made; None: it has content. Raises DiskFull."""
        volume = self.path(slot.app, name)
        made = volume.with_name(f".{name}.made")
        making = volume.with_name(f".{name}.making.{slot.service}-{slot.index}")
        with full_disk_told(self._directory):
            if made.exists():
                _move_in(made, volume)  # a crash came between
            shutil.rmtree(making, ignore_errors=True)  # what one that was cut off has left
            if not _is_empty(volume):
                return None
            making.mkdir()
        return making

    def keep(self, slot: Slot, name: str) -> None:
        """What was made since `begin` becomes the volume's content: all of it or, after a crash, nothing. Raises VolumeInUse."""
        volume = self.path(slot.app, name)
        made = volume.with_name(f".{name}.made")
        if not _is_empty(volume):
            raise _not_empty(volume)
        os.sync()  # not every init does it, and from the next line on it counts
        volume.with_name(f".{name}.making.{slot.service}-{slot.index}").rename(made)
        _sync(volume.parent)
        _move_in(made, volume)

    def drop(self, slot: Slot, name: str) -> None:
        """What was made since `begin` is not wanted; after `keep` there is nothing."""
        making = self._directory / slot.app / f".{name}.making.{slot.service}-{slot.index}"
        shutil.rmtree(making, ignore_errors=True)

    def all(self) -> list[tuple[str, str]]:
        """(app, name) of each that is here."""
        found = [path for path in sorted(self._directory.glob("*/*")) if path.is_dir() and path.name[0] != "."]
        return [(path.parent.name, path.name) for path in found]

    def of(self, app: str) -> tuple[str, ...]:
        return tuple(name for owner, name in self.all() if owner == app)

    def size_bytes(self, app: str, name: str) -> int:
        """What its files take on the disk."""
        return sum(file.lstat().st_blocks * 512 for file in (self._directory / app / name).rglob("*"))

    def remove(self, app: str, name: str) -> bool:
        """Delete it with all that is in it. False: there was none."""
        path = self._directory / app / name
        if not path.is_dir():
            return False
        for left in path.parent.glob(f".{name}.mak*"):  # what was being made; its end is clear: see `begin`
            shutil.rmtree(left, ignore_errors=True)
        shutil.rmtree(path.with_name(f".{name}.made"), ignore_errors=True)
        shutil.rmtree(path)
        return True


def _not_empty(volume: Path) -> VolumeInUse:
    return VolumeInUse(
        f"what was made for volume {volume.name} of {volume.parent.name} is not used",
        "it was empty and now has content",
        "nothing to do if two slots share it; else look what else writes there",
    )


def _is_empty(volume: Path) -> bool:
    return all(entry.name == "lost+found" for entry in volume.iterdir())


def _move_in(made: Path, volume: Path) -> None:
    """One by one, as a container may have the folder mounted already; begun once, it can be gone on with at any time."""
    status = made.stat()
    os.chown(volume, status.st_uid, status.st_gid)
    volume.chmod(status.st_mode & 0o7777)
    for entry in sorted(made.iterdir()):
        if os.path.lexists(volume / entry.name):
            raise _not_empty(volume)
        entry.rename(volume / entry.name)
    _sync(volume)
    made.rmdir()
    _sync(volume.parent)


def _sync(directory: Path) -> None:
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
