"""Where published ports and names lead: to the one holder of each slot, where it is healthy. Reads standings, decides nothing else."""

from __future__ import annotations

from skerry.core.effects import Route, Target
from skerry.core.intent import Port
from skerry.core.records import Slot
from skerry.core.situation import Situation

DOMAIN = "internal"


def routes(s: Situation) -> Route:
    """The whole wanted state. Own replicas first: no hop where none is needed, and it works when no link does."""
    ports: dict[tuple[int, str], tuple[Port, list[Target]]] = {}
    names: dict[str, tuple[str, ...]] = {}
    for app, app_want in sorted(s.wants.items()):
        for service, want in sorted(app_want.services.items()):
            targets = []
            for index in range(want.service.replicas):
                target = _target(s, Slot(app, service, index))
                names[f"{index}.{service}.{app}.{DOMAIN}"] = (target.address,) if target is not None else ()
                if target is not None:
                    targets.append(target)
            targets.sort(key=lambda target: (target.node != s.me, target.slot.index))
            addresses = tuple(target.address for target in targets)
            for name in dict.fromkeys((service, *want.service.aliases)):
                full = f"{name}.{app}.{DOMAIN}"
                names[full] = (*names.get(full, ()), *addresses)
            for port in want.service.ports:
                ports.setdefault((port.published, port.protocol), (port, []))[1].extend(
                    target for target in targets if ports[port.published, port.protocol][0].target == port.target
                )
    return Route(
        ports=tuple((port, tuple(targets)) for _, (port, targets) in sorted(ports.items())),
        names=tuple(sorted(names.items())),
        reason="what is healthy has changed",
    )


def _target(s: Situation, slot: Slot) -> Target | None:
    standing = s.standings.get(slot)
    winner = standing.winner if standing is not None else None
    if winner is None or not winner.healthy or not s.presence.is_up(winner.node):
        return None
    state = s.state_of(winner.node, slot)
    return Target(slot, winner.node, state.address) if state is not None else None
