"""Where published ports and names lead: to the one holder of each slot, where it is healthy. Reads standings, decides nothing else."""

from __future__ import annotations

from itertools import chain

import msgspec

from skerry.core.effects import Dormant, Members, Route, Target
from skerry.core.health import start_limit_s
from skerry.core.intent import Port
from skerry.core.records import Slot
from skerry.core.situation import Situation
from skerry.core.sorting import Sorted
from skerry.core.versions import Want
from skerry.core.waking import may_sleep

DOMAIN = "internal"


class _Part(msgspec.Struct, frozen=True):
    """What one app contributes. `ports`: in the order of its services, with those targets that listen on the port's own `target`."""

    names: dict[str, tuple[str, ...]] = {}
    ports: tuple[tuple[str, Port, tuple[Target, ...]], ...] = ()
    targets: dict[str, tuple[Target, ...]] = {}  # of services that may sleep
    members: tuple[Members, ...] = ()


class Routes:
    """The whole wanted state. Own replicas first: no hop where none is needed, and it works when no link does.

    Only apps of which something was looked at are reckoned anew; what all contribute is kept in order.
    """

    def __init__(self) -> None:
        self._parts: dict[str, _Part] = {}
        self._names: Sorted[str, tuple[str, ...]] = Sorted()
        self._ports: Sorted[tuple[int, str], tuple[Port, tuple[Target, ...]]] = Sorted()
        self._on_port: dict[tuple[int, str], set[str]] = {}  # apps
        self._sleepers: set[str] = set()  # apps
        self._members: Sorted[str, tuple[Members, ...]] = Sorted()  # by app
        self._dormant: tuple[Dormant, ...] | None = None

    def review(self, s: Situation) -> Route | None:
        """The new state, if it differs from the one before."""
        changed = self._dormant is None
        for app in sorted(s.routes_due | s.known.lodging.moved):
            old = self._parts.get(app)
            moved = old is None or app in s.known.lodging.moved
            old, new = old or _Part(), _part(s, app, _members(s, app) if moved or old is None else old.members)
            if old != new:
                changed = True
                self._replace(app, old, new)
        s.routes_due.clear()
        s.known.lodging.moved.clear()
        dormant = tuple(one for app in sorted(self._sleepers) for one in self._of_sleepers(s, app))
        if not changed and dormant == self._dormant:
            return None
        self._dormant = dormant
        return Route(
            ports=self._ports.values(), names=self._names.items(), dormant=dormant,
            members=tuple(chain.from_iterable(self._members.values())), reason="what is healthy has changed",
        )  # fmt: skip

    def _replace(self, app: str, old: _Part, new: _Part) -> None:
        self._parts[app] = new
        for name in old.names.keys() - new.names.keys():
            self._names.remove(name)
        for name, addresses in new.names.items():
            if old.names.get(name) != addresses:
                self._names.put(name, addresses)
        before, now = {_place(port) for _, port, _ in old.ports}, {_place(port) for _, port, _ in new.ports}
        for place in before | now:
            apps = self._on_port.setdefault(place, set())
            (apps.add if place in now else apps.discard)(app)
            self._set_port(place)
        (self._sleepers.add if new.targets else self._sleepers.discard)(app)
        if new.members:
            self._members.put(app, new.members)
        else:
            self._members.remove(app)

    def _set_port(self, place: tuple[int, str]) -> None:
        """Of several services with one port the first has it; others join in where they listen on the same."""
        found = [(port, targets) for _, port, targets in self._at(place)]
        if not found:
            self._ports.remove(place)
            del self._on_port[place]
            return
        first = found[0][0]
        self._ports.put(
            place, (first, tuple(t for port, targets in found if port.target == first.target for t in targets))
        )

    def _at(self, place: tuple[int, str]) -> list[tuple[str, Port, tuple[Target, ...]]]:
        return [
            one for app in sorted(self._on_port[place]) for one in self._parts[app].ports if _place(one[1]) == place
        ]

    def _owner(self, place: tuple[int, str]) -> tuple[str, str]:
        """The service that has a port."""
        app = min(self._on_port[place])
        return app, next(service for service, port, _ in self._parts[app].ports if _place(port) == place)

    def _of_sleepers(self, s: Situation, app: str) -> list[Dormant]:
        found = []
        for service, targets in self._parts[app].targets.items():
            want = s.wants[app].services[service]
            ports = [
                port
                for port in want.service.ports
                if port.protocol == "tcp" and self._owner(_place(port)) == (app, service)
            ]
            found.append(_dormant(s, app, service, want, targets, tuple(ports)))
        return found


def _place(port: Port) -> tuple[int, str]:
    return (port.published, port.protocol)


def _part(s: Situation, app: str, members: tuple[Members, ...]) -> _Part:
    names: dict[str, tuple[str, ...]] = {}
    ports: list[tuple[str, Port, tuple[Target, ...]]] = []
    sleepers: dict[str, tuple[Target, ...]] = {}
    for service, want in sorted(s.wants[app].services.items() if app in s.wants else ()):
        targets = []
        for index in s.numbers(app, service):
            target = s.targets.get(Slot(app, service, index))
            names[f"{index}.{service}.{app}.{DOMAIN}"] = (target.address,) if target is not None else ()
            if target is not None:
                targets.append(target)
        targets.sort(key=lambda target: (target.node != s.me, target.slot.index))
        addresses = tuple(target.address for target in targets)
        for full in _names(app, service, want):
            names[full] = (*names.get(full, ()), *addresses)
        ports += [(service, port, tuple(targets)) for port in want.service.ports]
        if may_sleep(want.service):
            sleepers[service] = tuple(targets)
    return _Part(names, tuple(ports), sleepers, members)


def _members(s: Situation, app: str) -> tuple[Members, ...]:
    """Of a service that is wanted no more, too, while containers of it run: they end in peace.

    A node without the app's content key can't run it, whatever it says: its addresses don't count.
    """
    found = []
    wanted = s.wants[app].services if app in s.wants else {}
    for service in sorted(wanted.keys() | s.known.lodging.services(app)):
        lodged = s.known.lodging.addresses((app, service))
        may = {node: s.known.may_read(app, node) for node in lodged.values()}
        addresses = tuple(sorted(address for address, node in lodged.items() if may[node]))
        if service not in wanted:
            found.append(Members(app, service, addresses))
        else:
            want = wanted[service]
            names, of = tuple(_names(app, service, want)), want.service
            found.append(Members(app, service, addresses, of.callers, names, of.agents))
    return tuple(found)


def _names(app: str, service: str, want: Want) -> list[str]:
    return [f"{name}.{app}.{DOMAIN}" for name in dict.fromkeys((service, *want.service.aliases))]


def leads_elsewhere(s: Situation, slot: Slot, want: Want) -> bool:
    """Find out where a slot leads that was just looked at, and whether routes may differ by that."""
    before, now = s.targets.get(slot), _target(s, slot)
    if now != before:
        s.targets[slot] = now
    return now != before or may_sleep(want.service)


def _target(s: Situation, slot: Slot) -> Target | None:
    standing = s.standings.get(slot)
    winner = standing.winner if standing is not None else None
    if winner is None or not winner.healthy or not s.presence.is_up(winner.node):
        return None
    state = s.state_of(winner.node, slot)
    return Target(slot, winner.node, state.address) if state is not None else None


def _dormant(
    s: Situation, app: str, service: str, want: Want, targets: tuple[Target, ...], ports: tuple[Port, ...]
) -> Dormant:
    return Dormant(
        app=app,
        service=service,
        ports=ports,
        names=tuple(_names(app, service, want)),
        targets=tuple(target.address for target in targets),
        rising=() if targets or want.service.probe is not None else _rising(s, app, service, want),
        limit_s=start_limit_s(want.service.probe, s.timing.start_limit_s),
    )


def _rising(s: Situation, app: str, service: str, want: Want) -> tuple[str, ...]:
    """Addresses of what runs and has not yet run for long enough to be called healthy: its port says whether it is up."""
    found = []
    for index in s.numbers(app, service):
        slot = Slot(app, service, index)
        standing = s.standings.get(slot)
        for claimant in standing.claimants if standing is not None else ():
            state = s.state_of(claimant.node, slot)
            if state is not None and state.state == "running" and state.address and s.presence.is_up(claimant.node):
                found.append(state.address)
    return tuple(found)
