"""Services that may be at zero: who knocks at one is a fact, and it wakes. How many there are otherwise: wishing.py.

A connection that waits on any live node is a fact (`wake`) of that node. It asks for one replica, never for more: what a
captured node can do with it is to keep awake what operators allowed to sleep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.core.events import Knocked
from skerry.core.facts import Wake
from skerry.core.intent import Service
from skerry.core.records import Slot
from skerry.core.versions import NOTHING
from skerry.core.wishing import look_at

if TYPE_CHECKING:
    from skerry.core.situation import Situation

WARM = 2  # so many first nodes of slot 0's order keep the image, too: who claims it has not to fetch it


def may_sleep(service: Service) -> bool:
    """Whether an operator lets it go to zero, always or by schedule."""
    scale = service.scale
    return scale is not None and (scale.min == 0 or any(schedule.min == 0 for schedule in scale.schedules))


def knocked(s: Situation, event: Knocked) -> None:
    """The first connection waits here, or none does any more."""
    name = f"{event.app}.{event.service}"
    held = s.known.of(s.me, "wake", name, Wake)
    if event.n <= 0:
        s.publish("wake", name, None, "nobody waits here any more")
    elif held is None:
        s.note("knocked", name, "a connection waits here: nothing of it is healthy")
        s.publish("wake", name, Wake(since=s.wall(s.now)), "a connection waits here")
    if (event.app, event.service) in s.wishing.initial:
        look_at(s, (event.app, event.service), s.now)


def at_zero(s: Situation, app: str, service: str) -> bool:
    """Whether it sleeps now."""
    want = s.wants.get(app, NOTHING).services.get(service)
    return want is not None and want.service.replicas == 0 and may_sleep(want.service)


def warms(s: Situation, app: str, service: str) -> bool:
    """Whether this node is to have the service's image at hand because it would be the one to wake it."""
    want = s.wants.get(app, NOTHING).services.get(service)
    return want is not None and may_sleep(want.service) and s.me in s.order(Slot(app, service, 0))[:WARM]
