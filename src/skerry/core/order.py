"""The order of nodes for a slot: the same for everybody who holds the same enrolments. Pure arithmetic over signed values.

Weighted rendezvous hashing (Thaler and Ravishankar 1998; weights: Schindelhauer and Schomaker 2005): adding a node moves few
slots. Zones first: slot i begins at the service's zone i mod Z and goes on through the other zones in turn, so that replicas
spread; in its zone it goes on in the same way from node to node. A node without a zone is a zone of its own. A service may name
labels over whose values it is spread before that.

No figure that a node publishes goes in, and the salt is the enrolment's signer's: no node can choose its slots.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

from skerry.core.intent import Node
from skerry.core.records import MachineSlot

ZONE = "zone"
LABEL = "label."


def score(path: str, node: Node, name: str) -> float:
    """The greater, the better; `name` is what is being ordered for ("guestbook.web/0")."""
    digest = hashlib.sha256(f"{path}\0{node.salt}\0{name}".encode()).digest()
    share = (int.from_bytes(digest[:8], "big") + 1) / (2**64 + 2)  # strictly between 0 and 1
    return node.weight / -math.log(share) if node.weight > 0 else -share


def zones_of(spread: Sequence[str]) -> tuple[str, ...]:
    """What a service is spread over: what it names, and last the zones."""
    return tuple(dict.fromkeys((*spread, ZONE)))


def order_for(
    service: str, index: int, nodes: Mapping[str, Node], levels: tuple[str, ...] = (ZONE,)
) -> tuple[str, ...]:
    """All `nodes` (path -> enrolment), best first, for replica `index` of `service` ("guestbook.web").

    `levels`: see `zones_of`.

    Fixed hosts first, then machines pool by pool: these take only what fixed ones can't, and are empty when the load falls
    (docs/decisions/0014).
    """
    by_pool: dict[str, dict[str, Node]] = {}
    for path, node in nodes.items():
        machine = MachineSlot.of_path(path)
        by_pool.setdefault(machine.pool if machine is not None else "", {})[path] = node
    return tuple(path for pool in sorted(by_pool) for path in _order_among(service, index, by_pool[pool], levels))


def _order_among(service: str, index: int, nodes: Mapping[str, Node], levels: tuple[str, ...]) -> tuple[str, ...]:
    slot = f"{service}/{index}"
    of_slot = {path: score(path, node, slot) for path, node in nodes.items()}
    of_service = {path: score(path, node, service) for path, node in nodes.items()}

    def best(group: Sequence[str], of: Mapping[str, float]) -> float:
        return max(of[path] for path in group)

    def arrange(paths: list[str], turn: int | None, level: int) -> list[str]:
        """These nodes, group after group by turns. `turn`: among the slots that begin here; None: this one does not."""
        if len(paths) < 2:
            return paths
        groups: dict[str, list[str]] = {}
        for path in paths:
            value = _value(path, nodes[path], levels[level]) if level < len(levels) else path
            groups.setdefault(value, []).append(path)
        # What follows the first zone is drawn anew for each slot: a lost node's slots scatter over all that are left.
        names = sorted(groups, key=lambda name: -best(groups[name], of_slot))
        if turn is not None:
            first = sorted(groups, key=lambda name: (-best(groups[name], of_service), name))[turn % len(groups)]
            names = [first, *(name for name in names if name != first)]
        inner = turn // len(groups) if turn is not None else None
        turns = [arrange(groups[name], inner if at == 0 else None, level + 1) for at, name in enumerate(names)]
        longest = max(len(members) for members in turns)
        return [members[at] for at in range(longest) for members in turns if at < len(members)]

    return tuple(arrange(sorted(nodes), index, 0))


def _value(path: str, node: Node, level: str) -> str:
    """Nodes of one value fail together. Those that lack a label are one group, as they are to Docker."""
    if level.startswith(LABEL):
        return node.labels.get(level.removeprefix(LABEL), "")
    return node.zone or f"{path} alone"


def order_by_name(name: str, nodes: Mapping[str, Node]) -> tuple[str, ...]:
    """All `nodes`, best first, for something that is not a slot: a service's images, a node's links."""
    return tuple(sorted(nodes, key=lambda path: (-score(path, nodes[path], name), path)))
