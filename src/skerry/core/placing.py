"""What services ask of each other's places, and which number each host has: from signed documents alone, the same for everybody.

Wishes could chase each other: web near store, store near web. So a wish is followed only where no way of wishes leads back;
what all go by then has a direction, and comes to rest from its end on (docs/decisions/0036).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from skerry.core.intent import Node
from skerry.core.records import Slot
from skerry.core.versions import AppWant

Key = tuple[str, str]  # (app, service)
NUMBERS = 1000  # of slots: trust takes no higher one
_OURS = 256  # below it: hosts whose containers are in 10.77.N.0/24, as the client gives them


class Ties(NamedTuple):
    """To which services one looks. Only those that there are; `ignored`: wishes that lead back to itself."""

    near: tuple[Key, ...] = ()
    away: tuple[Key, ...] = ()
    apart: tuple[Key, ...] = ()
    ignored: tuple[Key, ...] = ()


NO_TIES = Ties()


class Placing:
    """Kept app by app, until documents change. `last`: where a slot that others look to was well last: a restart there moves nobody.

    An app that looks to no other, and to which no other looks, is reckoned by itself; of any other all are reckoned anew.
    """

    def __init__(self) -> None:
        self._ties: dict[str, dict[Key, Ties]] = {}  # by app
        self._followers: dict[str, dict[Key, set[Key]]] = {}
        # App -> apps whose places matter to it; only of those to which any do.
        self._looks: dict[str, frozenset[str]] = {}
        self._due: dict[str, None] = {}
        self._all_due = True
        self.last: dict[Slot, str] = {}

    def forget(self, app: str) -> None:
        """What is wanted of it has changed."""
        self._due[app] = None

    def ties(self, wants: Mapping[str, AppWant], app: str, service: str) -> Ties:
        if self._due or self._all_due:
            self._review(wants)
        return self._ties.get(app, {}).get((app, service), NO_TIES)

    def followers(self, wants: Mapping[str, AppWant], app: str, service: str) -> set[Key]:
        """Services that are to be decided about anew when this one's places change."""
        if self._due or self._all_due:
            self._review(wants)
        return self._followers.get(app, {}).get((app, service), set())

    def _review(self, wants: Mapping[str, AppWant]) -> None:
        due = list(wants) if self._all_due else list(self._due)
        joined = self._all_due or any(map(self._is_joined, due))
        self._due, self._all_due = {}, False
        for app in due:
            self._looks.pop(app, None)
            if looks := _looks_of(app, wants):
                self._looks[app] = looks
        if joined or any(map(self._is_joined, due)):
            due = list(self._looks)
            self._ties, self._followers = {}, {}
            self._put(_ties_of(wants, due))
            return
        for app in due:
            self._ties.pop(app, None)
            self._followers.pop(app, None)
            if app in self._looks:
                self._put(_ties_of(wants, [app]))

    def _is_joined(self, app: str) -> bool:
        """Whether its ties, or others', are more than its own business."""
        own = self._looks.get(app, frozenset())
        return bool(own - {app}) or any(app in looks for other, looks in self._looks.items() if other != app)

    def _put(self, ties: Mapping[Key, Ties]) -> None:
        for own, of in ties.items():
            self._ties.setdefault(own[0], {})[own] = of
            for other in (*of.near, *of.away, *of.apart):
                self._followers.setdefault(other[0], {}).setdefault(other, set()).add(own)


def named(name: str, app: str) -> Key:
    """ "web" or "shop.web", as a service of `app` writes it."""
    other, dot, service = name.partition(".")
    return (other, service) if dot else (app, name)


def numbered(nodes: Mapping[str, Node]) -> dict[int, str]:
    """number -> path of each host. A host's own subnet makes it, so that nobody's number changes when others come or go."""
    found: dict[int, str] = {}
    for path in sorted(nodes):
        found.setdefault(_number(nodes[path].subnet), path)
    return dict(sorted(found.items()))


def _number(subnet: str) -> int:
    a, b, c = (int(part) for part in subnet.split(".")[:3])
    return c if (a, b) == (10, 77) else _OURS + (a * 65536 + b * 256 + c) % (NUMBERS - _OURS)


def _looks_of(app: str, wants: Mapping[str, AppWant]) -> frozenset[str]:
    places = [want.service.placement for want in wants[app].services.values()] if app in wants else []
    return frozenset(named(name, app)[0] for of in places for name in (*of.near, *of.away, *of.apart))


def _ties_of(wants: Mapping[str, AppWant], apps: Sequence[str]) -> dict[Key, Ties]:
    """Of these apps, which look to no others than themselves."""
    wished: dict[Key, tuple[tuple[Key, ...], tuple[Key, ...]]] = {}
    apart: dict[Key, set[Key]] = {}
    for app in apps:
        for service, want in wants[app].services.items():
            placement, own = want.service.placement, (app, service)
            near, away, never = (
                tuple(key for name in names if (key := named(name, app)) != own and _is_there(wants, key))
                for names in (placement.near, placement.away, placement.apart)
            )
            if (near or away) and not placement.every_node:
                wished[own] = near, away
            for other in never:
                apart.setdefault(own, set()).add(other)
                apart.setdefault(other, set()).add(own)
    found = {}
    for own in {*wished, *apart}:
        near, away = wished.get(own, ((), ()))
        back = {other for other in {*near, *away} if own in _reached(wished, other)}
        found[own] = Ties(
            near=tuple(other for other in near if other not in back),
            away=tuple(other for other in away if other not in back),
            apart=tuple(sorted(apart.get(own, ()))),
            ignored=tuple(sorted(back)),
        )
    return found


def _is_there(wants: Mapping[str, AppWant], key: Key) -> bool:
    return key[0] in wants and key[1] in wants[key[0]].services


def _reached(wished: Mapping[Key, tuple[tuple[Key, ...], tuple[Key, ...]]], start: Key) -> set[Key]:
    """All that a service looks to, over any number of wishes, itself included."""
    seen, todo = {start}, [start]
    while todo:
        near, away = wished.get(todo.pop(), ((), ()))
        fresh = {*near, *away} - seen
        seen |= fresh
        todo += sorted(fresh)
    return seen
