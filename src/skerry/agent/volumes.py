"""Named volumes: directories of this host, one for each app's name. Made when a container first needs one, deleted only on request."""

from __future__ import annotations

import shutil
from pathlib import Path

from skerry.store.disk import full_disk_told


class Volumes:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, app: str, name: str) -> Path:
        """Made empty when it isn't there; the runtime gives it to its container's user. Raises DiskFull."""
        path = self._directory / app / name
        with full_disk_told(self._directory):
            path.mkdir(parents=True, exist_ok=True)
        return path

    def all(self) -> list[tuple[str, str]]:
        """(app, name) of each that is here."""
        return [(path.parent.name, path.name) for path in sorted(self._directory.glob("*/*")) if path.is_dir()]

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
        shutil.rmtree(path)
        return True
