"""What only shows when all services are known: shared ports, volumes and names, waiting in a ring or for no probe."""

from __future__ import annotations

from collections.abc import Mapping

from skerry.client.compose.placement import check_ties
from skerry.client.compose.plan import ServicePlan
from skerry.client.compose.section import Value


def across(app: str, services: dict[str, ServicePlan], places: Mapping[str, Value]) -> None:
    """Note every clash as a mistake at the later service. `app`: its name."""
    ports: dict[tuple[int, str], str] = {}
    volumes: dict[str, str] = {}
    names: dict[str, str] = {name: name for name in services}
    for name, plan in services.items():
        for port in plan.service.ports:
            other = ports.setdefault((port.published, port.protocol), name)
            if other != name:
                places[name].mistake(f"port {port.published}/{port.protocol} is published by {other} already")
        for mount in plan.service.volumes:
            other = volumes.setdefault(mount.volume, name)
            if other != name:
                places[name].mistake(
                    f"volume {mount.volume} belongs to {other}: services may run on different hosts",
                    "give each its own volume, and let them talk over the network",
                )
        for alias in plan.service.aliases:
            other = names.setdefault(alias, name)
            if other != name:
                places[name].mistake(f"the name {alias} belongs to {other} already")
        for wait in plan.service.depends_on:
            if wait.condition == "healthy" and wait.service in services and not services[wait.service].service.probe:
                places[name].mistake(
                    f"waits until {wait.service} is healthy, which has no probe",
                    f"give {wait.service} a healthcheck, or wait for service_started",
                )
            for_good = wait.service in services and services[wait.service].service.restart.condition == "any"
            if wait.condition == "completed" and for_good:
                places[name].mistake(
                    f"waits until {wait.service} has ended, which is started again whenever it ends",
                    f"give {wait.service} restart: on-failure",
                )
    if ring := _ring({name: [wait.service for wait in plan.service.depends_on] for name, plan in services.items()}):
        places[ring[0]].mistake(f"services wait for each other: {' -> '.join(ring)}", "remove one depends_on")

    check_ties(app, services, places, _ring)


def _ring(waits: Mapping[str, list[str]]) -> list[str]:
    """Services that wait for each other, the first one again at the end; [] if none do."""
    left = {name: [other for other in others if other in waits] for name, others in waits.items()}
    while free := [name for name, others in left.items() if not any(other in left for other in others)]:
        for name in free:
            del left[name]
    if not left:
        return []
    walk = [next(iter(left))]
    while True:
        following = next(other for other in left[walk[-1]] if other in left)
        if following in walk:
            return [*walk[walk.index(following) :], following]
        walk.append(following)
