"""Services that may be at zero: who knocks wakes them, and how long they stay awake after that. Reads facts, keeps two times.

A connection that waits on any live node is a fact (`wake`) of that node. It asks for one replica, never for more: what a
captured node can do with it is to keep awake what operators allowed to sleep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from skerry.core.events import Knocked
from skerry.core.facts import Load, Wake
from skerry.core.intent import Service
from skerry.core.records import Slot
from skerry.core.versions import NOTHING, AppWant

if TYPE_CHECKING:
    from skerry.core.situation import Situation

WARM = 2  # so many first nodes of slot 0's order keep the image, too: who claims it has not to fetch it


def may_sleep(service: Service) -> bool:
    """Whether an operator lets it go to zero, always or by schedule."""
    scale = service.scale
    return scale is not None and (scale.min == 0 or any(schedule.min == 0 for schedule in scale.schedules))


class Waking:
    """When each service was last seen to be needed, by this node's clock."""

    def __init__(self) -> None:
        self._needed_s: dict[tuple[str, str], float] = {}
        self._since: dict[tuple[str, str], float] = {}  # own knocks: unix seconds of the first that waits
        self._due_s: dict[tuple[str, str], float] = {}

    @property
    def next_s(self) -> float:
        return min(self._due_s.values(), default=float("inf"))

    def knocked(self, s: Situation, event: Knocked) -> None:
        """So many connections wait here now."""
        key = (event.app, event.service)
        if event.n <= 0:
            self._since.pop(key, None)
            s.publish("wake", f"{event.app}.{event.service}", None, "nobody waits here any more")
        elif key not in self._since:
            self._since[key] = s.wall(s.now)
            s.note("knocked", f"{event.app}.{event.service}", "a connection waits here: nothing of it is healthy")
            s.publish("wake", f"{event.app}.{event.service}", Wake(since=self._since[key]), "a connection waits here")
        self.told(s, *key)

    def told(self, s: Situation, app: str, service: str) -> None:
        """A fact of it came or went. Whoever is gone again has knocked all the same."""
        want = s.wants.get(app, NOTHING).services.get(service)
        if want is None or not may_sleep(want.service):
            return  # what others write here is no reason to remember anything
        if any(s.presence.is_up(node) for node in s.known.about("wake", f"{app}.{service}")):
            self._needed_s[app, service] = s.now
        s.counts_due.add(app)

    def review(self, s: Situation) -> None:
        """What may fall asleep by now is counted anew."""
        s.counts_due |= {app for (app, _), at_s in self._due_s.items() if at_s <= s.now}

    def awake(self, s: Situation, app: str, service: str, of: Service) -> bool:
        """Whether a service that may sleep is needed now, or was within its idle time."""
        key = (app, service)
        self._due_s.pop(key, None)
        if of.scale is None:
            return True
        if _asked_for(s, app, service, of.scale.idle_s):
            self._needed_s[key] = s.now
        elif key not in self._needed_s and s.known.about("claim", str(Slot(app, service, 0))):
            self._needed_s[key] = s.boot_s  # awake before we started: we don't know for how long it has been idle
        needed_s = self._needed_s.get(key)
        if needed_s is None or s.now >= needed_s + of.scale.idle_s:
            return False
        self._due_s[key] = needed_s + of.scale.idle_s
        return True

    def asleep(self, app: str, service: str, of: Service) -> str:
        """Why there is no replica, in words."""
        idle_s = of.scale.idle_s if of.scale is not None else 0.0
        ever = (app, service) in self._needed_s
        return f"asleep: no connection for {idle_s:g} s" if ever else "asleep: no connection yet"

    def forget(self, app: str) -> None:
        for times in (self._needed_s, self._since, self._due_s):
            for key in [key for key in times if key[0] == app]:
                del times[key]


def _asked_for(s: Situation, app: str, service: str, idle_s: float) -> bool:
    """Somebody waits for it, or has a connection to it by the last figures of a node that lives."""
    about = f"{app}.{service}"
    if any(s.presence.is_up(node) for node in s.known.about("wake", about)):
        return True
    return any(
        isinstance(load, Load) and s.presence.is_up(node) and _busy(load, s.wall(s.now), idle_s)
        for node, load in s.known.about("load", about).items()
    )


def _busy(load: Load, wall_s: float, idle_s: float) -> bool:
    """Whether its newest step is of now and saw a connection."""
    fresh = (load.step + 2) * load.step_s + min(idle_s, load.step_s) > wall_s
    return fresh and bool((load.connections and load.connections[-1]) or (load.fresh and load.fresh[-1]))


def counted(s: Situation, app: str, want: AppWant) -> AppWant:
    """The same with one replica of each service that may sleep and is awake, none of one that is not."""
    if not any(may_sleep(of.service) for of in want.services.values()):
        return want
    services = dict(want.services)
    for name, of in services.items():
        if may_sleep(of.service):
            count = max(1, of.service.replicas) if s.waking.awake(s, app, name, of.service) else 0
            services[name] = msgspec.structs.replace(of, service=msgspec.structs.replace(of.service, replicas=count))
    return msgspec.structs.replace(want, services=services)


def at_zero(s: Situation, app: str, service: str) -> bool:
    """Whether it sleeps now."""
    want = s.wants.get(app, NOTHING).services.get(service)
    return want is not None and want.service.replicas == 0 and may_sleep(want.service)


def warms(s: Situation, app: str, service: str) -> bool:
    """Whether this node is to have the service's image at hand because it would be the one to wake it."""
    want = s.wants.get(app, NOTHING).services.get(service)
    return want is not None and may_sleep(want.service) and s.me in s.order(Slot(app, service, 0))[:WARM]
