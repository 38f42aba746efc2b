"""Where replicas go: `deploy: mode` and `placement`, `x-skerry: near` and `apart`. What can't be meant together is a mistake."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from skerry.client.compose import values
from skerry.client.compose.plan import ServicePlan
from skerry.client.compose.section import Section, Value
from skerry.client.compose.table import PLACEMENT, PREFERENCE, X_APART
from skerry.core.places import ANYWHERE, Placement

PER_NODE_MAX = 1000


def placement_of(deploy: Section | None, own: Section | None, replicas: int, scaled: bool) -> Placement:
    """`replicas`: how many there may be; `scaled`: whether they follow the load."""
    section = deploy.section("placement", PLACEMENT) if deploy else None
    every_node = _mode(deploy, scaled)
    preferences = section.get("preferences") if section else None
    most = section.get("max_replicas_per_node") if section else None
    near, (apart, away) = _near(own.get("near") if own else None), _apart(own.get("apart") if own else None)
    if every_node:
        for value in (preferences, most, own.get("near") if own and near else None):
            if value is not None:
                value.mistake("goes with no mode: global: each host has one replica", "remove one of the two")
    for name in sorted({*near} & {*apart, *away}):
        assert own is not None
        (own.get("apart") or own.value).mistake(f"{name} is asked to be near as well", "remove one of the two")
    found = Placement(
        every_node=every_node,
        max_per_node=(most.number(0, PER_NODE_MAX) if most else None) or 0,
        spread=tuple(dict.fromkeys(_spread(preferences))),
        near=near,
        away=away,
        apart=apart,
    )
    return ANYWHERE if found == ANYWHERE else found


def _mode(deploy: Section | None, scaled: bool) -> bool:
    mode = deploy.get("mode") if deploy else None
    if mode is None or mode.one_of("replicated", "global") != "global":
        return False
    assert deploy is not None
    if (replicas := deploy.get("replicas")) is not None:
        replicas.mistake("goes with no mode: global: there are as many replicas as hosts", "remove one of the two")
    if scaled:
        mode.mistake("goes with no x-skerry: scale: there are as many replicas as hosts", "remove one of the two")
    return True


def _spread(preferences: Value | None) -> list[str]:
    found = []
    for item in preferences.items() if preferences else ():
        if not item.is_mapping:
            item.mistake("should be a mapping", "write {spread: node.labels.NAME}")
            continue
        over = item.section(PREFERENCE).get("spread")
        if over is None:
            item.mistake("says nothing of what to spread over", "write {spread: node.labels.NAME}")
        elif (level := over.read(values.spread)) is not None:
            found.append(level)
    return found


def _near(value: Value | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value.texts(values.other_service))) if value else ()


def _apart(value: Value | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(rules, wishes). A list, or a mapping as that of `depends_on`."""
    if value is None or not value.is_mapping:
        return _near(value), ()
    rules: list[str] = []
    wishes: list[str] = []
    for name, child in value.pairs():
        try:
            values.other_service(name)
        except ValueError as error:
            child.mistake(str(error))
            continue
        required = None if child.is_null else child.section(X_APART).get("required")
        (wishes if required is not None and required.flag() is False else rules).append(name)
    return tuple(rules), tuple(wishes)


def check_ties(
    app: str,
    services: Mapping[str, ServicePlan],
    places: Mapping[str, Value],
    ring: Callable[[Mapping[str, list[str]]], list[str]],
) -> None:
    """What only shows when all services are known: names of none, of itself, and wishes that chase each other."""
    wishes: dict[str, list[str]] = {}
    for name, plan in services.items():
        placement = plan.service.placement
        for key, others in (("near", placement.near), ("apart", (*placement.apart, *placement.away))):
            for other in others:
                of, dot, service = other.partition(".")
                local = service if dot and of == app else "" if dot else other
                if local == name:
                    fix = "write deploy: placement: max_replicas_per_node: 1" if key == "apart" else "remove it"
                    places[name].mistake(f"{key}: a service can't be {key} of itself", fix)
                elif local and local not in services:
                    places[name].mistake(f"{key}: there is no service {local[:40]!r}", "another app's: APP.SERVICE")
        wishes[name] = [other.removeprefix(f"{app}.") for other in (*placement.near, *placement.away)]
    if found := ring(wishes):
        places[found[0]].mistake(
            f"services that wish to be near or apart follow each other: {' -> '.join(found)}",
            "remove one of these wishes",
        )
