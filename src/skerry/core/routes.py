"""Where published ports and names lead: to the one holder of each slot, where it is healthy. Reads standings, decides nothing else."""

from __future__ import annotations

from skerry.core.effects import Dormant, Route, Target
from skerry.core.health import start_limit_s
from skerry.core.intent import Port
from skerry.core.records import Slot
from skerry.core.situation import Situation
from skerry.core.versions import Want
from skerry.core.waking import may_sleep

DOMAIN = "internal"


def routes(s: Situation) -> Route:
    """The whole wanted state. Own replicas first: no hop where none is needed, and it works when no link does."""
    ports: dict[tuple[int, str], tuple[Port, list[Target]]] = {}
    names: dict[str, tuple[str, ...]] = {}
    owners: dict[tuple[int, str], tuple[str, str]] = {}  # of several services with one port the first has it
    targets_of: dict[tuple[str, str], list[Target]] = {}
    for app, app_want in sorted(s.wants.items()):
        for service, want in sorted(app_want.services.items()):
            targets = targets_of[app, service] = []
            for index in s.numbers(app, service):
                target = _target(s, Slot(app, service, index))
                names[f"{index}.{service}.{app}.{DOMAIN}"] = (target.address,) if target is not None else ()
                if target is not None:
                    targets.append(target)
            targets.sort(key=lambda target: (target.node != s.me, target.slot.index))
            addresses = tuple(target.address for target in targets)
            for full in _names(app, service, want):
                names[full] = (*names.get(full, ()), *addresses)
            for port in want.service.ports:
                owners.setdefault((port.published, port.protocol), (app, service))
                ports.setdefault((port.published, port.protocol), (port, []))[1].extend(
                    target for target in targets if ports[port.published, port.protocol][0].target == port.target
                )
    return Route(
        ports=tuple((port, tuple(targets)) for _, (port, targets) in sorted(ports.items())),
        names=tuple(sorted(names.items())),
        dormant=tuple(
            _dormant(s, app, service, s.wants[app].services[service], targets, owners)
            for (app, service), targets in targets_of.items()
            if may_sleep(s.wants[app].services[service].service)
        ),
        reason="what is healthy has changed",
    )


def _names(app: str, service: str, want: Want) -> list[str]:
    return [f"{name}.{app}.{DOMAIN}" for name in dict.fromkeys((service, *want.service.aliases))]


def _target(s: Situation, slot: Slot) -> Target | None:
    standing = s.standings.get(slot)
    winner = standing.winner if standing is not None else None
    if winner is None or not winner.healthy or not s.presence.is_up(winner.node):
        return None
    state = s.state_of(winner.node, slot)
    return Target(slot, winner.node, state.address) if state is not None else None


def _dormant(
    s: Situation, app: str, service: str, want: Want, targets: list[Target], owners: dict[tuple[int, str], tuple[str, str]]
) -> Dormant:  # fmt: skip
    return Dormant(
        app=app,
        service=service,
        ports=tuple(
            port
            for port in want.service.ports
            if port.protocol == "tcp" and owners[port.published, port.protocol] == (app, service)
        ),
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
