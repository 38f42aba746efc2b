"""Which files lay in the volumes of each container when it started: one small file each, until the container is gone."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path

from skerry.observe.look import beginning

log = logging.getLogger(__name__)


class Beginnings:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def note(self, container: str, volumes: Mapping[str, Path]) -> None:
        """Before its first instruction. That it can't be kept is no reason not to start. Blocks."""
        if not volumes:
            return
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            beginning.note(self._directory / container, volumes)
        except OSError as error:
            log.warning("what %s removes will not be told: %s", container, error)
            self.forget(container)

    def of(self, container: str) -> Path:
        """There only if it has volumes and its beginning was noted."""
        return self._directory / container

    def forget(self, container: str) -> None:
        (self._directory / container).unlink(missing_ok=True)

    def forget_all_but(self, containers: Collection[str]) -> None:
        for file in self._directory.glob("*"):
            if file.name not in containers:
                file.unlink(missing_ok=True)
