"""Which images the documents of apps name, and which of these this node keeps for all: kept app by app, as documents change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from skerry.core.versions import NOTHING
from skerry.core.waking import warms

if TYPE_CHECKING:
    from skerry.core.situation import Situation


class _OfApp(msgspec.Struct, frozen=True):
    """`kept`: image -> why this node keeps it. `named`: by its documents. `earlier`: by its history, in short."""

    kept: dict[str, str] = {}
    named: frozenset[str] = frozenset()
    earlier: frozenset[str] = frozenset()


class Referring:
    def __init__(self) -> None:
        self._of: dict[str, _OfApp] = {}
        self._due: dict[str, None] = {}
        self._all_due = True
        self._kept: dict[str, dict[str, str]] = {}  # image -> app -> why
        self._named: dict[str, int] = {}  # image -> by so many apps
        self._earlier: dict[str, int] = {}

    def forget(self, app: str) -> None:
        """Its documents have changed, or who may run it has; "": that of all apps has."""
        self._all_due = self._all_due or not app
        self._due[app] = None

    def review(self, s: Situation) -> None:
        """Bring all below up to date."""
        for app in s.wants if self._all_due else self._due:
            if app:
                self._replace(app, self._of.get(app, _OfApp()), _of(s, app))
        self._due, self._all_due = {}, False

    def kept(self) -> dict[str, str]:
        """Image -> why this node keeps it."""
        return {image: next(reversed(by_app.values())) for image, by_app in self._kept.items()}

    def names(self, image: str) -> bool:
        return image in self._named

    def named_before(self, short: str) -> bool:
        return short in self._earlier

    def _replace(self, app: str, old: _OfApp, new: _OfApp) -> None:
        if old == new:
            return
        self._of[app] = new
        for image in old.kept:
            self._kept[image].pop(app)
            if not self._kept[image]:
                del self._kept[image]
        for image, why in new.kept.items():
            self._kept.setdefault(image, {})[app] = why
        for count, before, now in ((self._named, old.named, new.named), (self._earlier, old.earlier, new.earlier)):
            for name in before - now:
                count[name] -= 1
                if not count[name]:
                    del count[name]
            for name in now - before:
                count[name] = count.get(name, 0) + 1


def _of(s: Situation, app: str) -> _OfApp:
    want, kept = s.wants.get(app, NOTHING), {}
    for service, images in want.images.items():
        if s.keeps(app, service):
            for image in images:
                kept[image] = f"one of those that keep {app}.{service}"
        elif warms(s, app, service):
            kept |= dict.fromkeys(images, f"first to run {app}.{service} when it wakes")
    return _OfApp(kept, frozenset(image for images in want.images.values() for image in images), want.earlier)
