"""What a deploy warns of before it signs: rules about places that leave slots without a host, and wishes that do nothing.

By enrolments alone. A host that joins, or gets a label, may change all of it: so nothing is refused.
"""

from __future__ import annotations

from skerry.client.compose.plan import ComposeApp
from skerry.client.session import Session
from skerry.core.constraints import unmet
from skerry.core.intent import Node, Pool, Service
from skerry.core.records import MachineSlot

_LABEL = "label."


def warnings(session: Session, compose: ComposeApp) -> list[str]:
    """One sentence for each; none where all is well, or where there is no host yet."""
    nodes: dict[str, Node] = {path: document.body for path, document in session.nodes.items()}  # type: ignore[misc]
    machines = {path: slot for path in nodes if (slot := MachineSlot.of_path(path)) is not None}
    hosts = {
        path: node
        for path, node in nodes.items()
        if not node.voter_only and (path not in machines or machines[path].pool in compose.pools)
    }
    labels = {label for node in hosts.values() for label in node.labels} | _labels_to_come(session, compose)
    found = []
    for name, planned in compose.services.items() if hosts else ():
        found += [_no_label(name, label, hosts) for label in _spread_over(planned.service) if label not in labels]
        if not compose.pools:  # else machines may come for what has no host yet
            found.append(_too_few(name, planned.service, hosts))
    return [text for text in found if text]


def _labels_to_come(session: Session, compose: ComposeApp) -> set[str]:
    """What the machines of the app's pools will have."""
    pools = [document.body for pool in compose.pools if (document := session.document(f"pool/{pool}")) is not None]
    return {label for pool in pools if isinstance(pool, Pool) for label in pool.labels}


def _spread_over(service: Service) -> list[str]:
    if service.placement.every_node:
        return []
    return [level.removeprefix(_LABEL) for level in service.placement.spread if level.startswith(_LABEL)]


def _no_label(name: str, label: str, hosts: dict[str, Node]) -> str:
    host = min(hosts).removeprefix("node/")
    return (
        f"{name} is to be spread over node.labels.{label}, and no host has that label: it counts for nothing until hosts have it: "
        f"skerry host label {host} {label}=VALUE"
    )


def _too_few(name: str, service: Service, hosts: dict[str, Node]) -> str:
    """How many replicas stay without a host, "" if each finds one: by constraints and max_replicas_per_node, not by room."""
    asked = service.scale.min if service.scale is not None else service.replicas
    most = service.placement.max_per_node
    fit = [node for path, node in hosts.items() if not unmet(service.constraints, path, node)]
    takers = [node for node in fit if node.state == "active"]
    why = "" if takers else "all hosts that fit are drained" if fit else "no host fits its constraints"
    if service.placement.every_node:
        return f"{name} will run nowhere: {why}; what would help: skerry explain {name}" if why else ""
    left = asked - most * len(takers) if most and takers else 0 if takers else asked
    if left <= 0:
        return ""
    if not why:
        drained = f" ({len(fit) - len(takers)} more, drained)" if len(fit) > len(takers) else ""
        why = f"{_count(len(takers))}{drained}, and no more than {most} may be on one (max_replicas_per_node)"
    return (
        f"{left} of {asked} replicas of {name} will stay without a host: {why}; what would help: skerry explain {name}"
    )


def _count(hosts: int) -> str:
    return "1 host fits" if hosts == 1 else f"{hosts} hosts fit"
