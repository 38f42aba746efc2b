"""What services ask of each other's places, and which number each host has: from signed documents alone, the same for everybody.

Wishes could chase each other: web near store, store near web. So a wish is followed only where no way of wishes leads back;
what all go by then has a direction, and comes to rest from its end on (docs/decisions/0036).
"""

from __future__ import annotations

from collections.abc import Mapping
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
    """Kept until documents change. `last`: where a slot that others look to was well last: a restart there moves nobody."""

    def __init__(self) -> None:
        self._ties: dict[Key, Ties] | None = None
        self._followers: dict[Key, set[Key]] = {}
        self.last: dict[Slot, str] = {}

    def forget(self) -> None:
        self._ties = None

    def ties(self, wants: Mapping[str, AppWant], app: str, service: str) -> Ties:
        if self._ties is None:
            self._ties = _ties_of(wants)
            self._followers = _followers_of(self._ties)
        return self._ties.get((app, service), NO_TIES)

    def followers(self, wants: Mapping[str, AppWant], app: str, service: str) -> set[Key]:
        """Services that are to be decided about anew when this one's places change."""
        self.ties(wants, app, service)
        return self._followers.get((app, service), set())


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


def _ties_of(wants: Mapping[str, AppWant]) -> dict[Key, Ties]:
    wished: dict[Key, tuple[tuple[Key, ...], tuple[Key, ...]]] = {}
    apart: dict[Key, set[Key]] = {}
    for app, want_app in wants.items():
        for service, want in want_app.services.items():
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


def _followers_of(ties: Mapping[Key, Ties]) -> dict[Key, set[Key]]:
    found: dict[Key, set[Key]] = {}
    for own, of in ties.items():
        for other in (*of.near, *of.away, *of.apart):
            found.setdefault(other, set()).add(own)
    return found
