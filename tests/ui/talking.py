"""Containers in memory that say something: what a test writes is in their logs, as the monitor would have written it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from skerry.runtime.memory import Behaviour, MemoryRuntime, runs_for_ever


class Talking(MemoryRuntime):
    """All of one folder; a file for each slot."""

    def __init__(self, folder: Path, behaviour: Behaviour = runs_for_ever) -> None:
        super().__init__(behaviour)
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def logs(self, id: str) -> list[Path]:
        spec = self.disk.specs.get(id)
        return [self._file(spec.labels["slot"])] if spec is not None else []

    def say(self, slot: str, text: str, stream: str = "stdout") -> None:
        with self._file(slot).open("a") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='microseconds')} {stream} F {text}\n")

    def _file(self, slot: str) -> Path:
        path = self.folder / f"{slot.replace('/', '-')}.log"
        path.touch()
        return path
