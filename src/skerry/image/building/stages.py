"""The stages of a build, as those who show or plan it see them. No work is done here.

Every build goes lock → build → assemble → closure → pack → lint; a recipe without a `build` part skips that stage.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import msgspec

Name = Literal["lock", "build", "assemble", "closure", "pack", "lint", "probe", "sign"]  # the last two: client/library
STAGES: tuple[Name, ...] = ("lock", "build", "assemble", "closure", "pack", "lint")


class Stage(msgspec.Struct, frozen=True):
    """One step of progress. `begun` comes first, and again with a `detail` for each thing that takes a while; then one of
    `cached` (all of it was there already) and `done`. `seconds`: since the stage began."""

    name: Name
    state: Literal["begun", "cached", "done"]
    detail: str = ""
    seconds: float = 0.0


class StagePlan(msgspec.Struct, frozen=True):
    """What a stage would do. `cached`: nothing, its result is there."""

    name: Name
    cached: bool
    detail: str


Progress = Callable[[Stage], None]


class Running:
    """A stage at work: `say` what it is at; `cached` and `detail` are what it ends with."""

    def __init__(self, name: Name, tell: Progress) -> None:
        self.cached = False
        self.detail = ""
        self._name: Name = name
        self._tell = tell
        self._began_s = time.monotonic()

    def say(self, detail: str) -> None:
        self._tell(Stage(self._name, "begun", detail, self._seconds()))

    def end(self) -> None:
        self._tell(Stage(self._name, "cached" if self.cached else "done", self.detail, self._seconds()))

    def _seconds(self) -> float:
        return round(time.monotonic() - self._began_s, 3)


@contextmanager
def running(name: Name, tell: Progress) -> Iterator[Running]:
    """Tell that a stage begins and ends; one that fails never ends."""
    stage = Running(name, tell)
    stage.say("")
    yield stage
    stage.end()
