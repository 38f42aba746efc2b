"""This host's wall clock."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path


class Clock:
    """Wall time, with the offset that tests put into `clock-offset` (`date -s` in a lab host would move the machine)."""

    def __init__(self, state: Path) -> None:
        self.offset_s = 0.0
        with contextlib.suppress(FileNotFoundError, ValueError):
            self.offset_s = float((state / "clock-offset").read_text())

    def wall_s(self) -> float:
        return time.time() + self.offset_s
