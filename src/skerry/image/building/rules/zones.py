"""Time zones: the data that every language but Go's embedded copy reads from one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skerry.image.building.closure import Closure

PACKAGE = "tzdata"
ZONES = "usr/share/zoneinfo/"
TWICE = (ZONES + "posix/", ZONES + "right/")  # the same once more, and with leap seconds


def apply(closure: Closure) -> None:
    closure.take([path for path in closure.pile.paths() if path.startswith(ZONES) and not path.startswith(TWICE)])
