"""The order of nodes for a slot: the same for everybody who holds the same enrolments. Pure arithmetic over signed values.

Weighted rendezvous hashing (Thaler and Ravishankar 1998; weights: Schindelhauer and Schomaker 2005): adding a node moves few
slots. Zones first: slot i begins at the service's zone i mod Z and goes on through the other zones in turn, so that replicas
spread. A node without a zone is a zone of its own: the replicas of a service spread over such nodes evenly.

No figure that a node publishes goes in, and the salt is the enrolment's signer's: no node can choose its slots.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Mapping

from skerry.core.intent import Node
from skerry.core.records import MachineSlot


def score(path: str, node: Node, name: str) -> float:
    """The greater, the better; `name` is what is being ordered for ("guestbook.web/0")."""
    digest = hashlib.sha256(_salted(path, node.salt) + name.encode()).digest()
    share = (int.from_bytes(digest[:8], "big") + 1) / (2**64 + 2)  # strictly between 0 and 1
    return node.weight / -math.log(share) if node.weight > 0 else -share


@functools.lru_cache(maxsize=20_000)
def _salted(path: str, salt: str) -> bytes:
    return f"{path}\0{salt}\0".encode()


def order_for(service: str, index: int, nodes: Mapping[str, Node]) -> tuple[str, ...]:
    """All `nodes` (path -> enrolment), best first, for replica `index` of `service` ("guestbook.web").

    Fixed hosts first, then machines pool by pool: these take only what fixed ones can't, and are empty when the load falls
    (docs/decisions/0014).
    """
    by_pool: dict[str, dict[str, Node]] = {}
    for path, node in nodes.items():
        machine = MachineSlot.of_path(path)
        by_pool.setdefault(machine.pool if machine is not None else "", {})[path] = node
    return tuple(path for pool in sorted(by_pool) for path in _order_among(service, index, by_pool[pool]))


def _order_among(service: str, index: int, nodes: Mapping[str, Node]) -> tuple[str, ...]:
    slot = f"{service}/{index}"
    zones: dict[str, list[str]] = {}
    for path in sorted(nodes):
        zones.setdefault(nodes[path].zone or path, []).append(path)
    if not zones:
        return ()
    of_slot = {path: score(path, node, slot) for path, node in nodes.items()}
    of_service = {path: score(path, node, service) for path, node in nodes.items()}
    for members in zones.values():
        members.sort(key=lambda path: -of_slot[path])
    by_service = sorted(zones, key=lambda zone: (-max(of_service[path] for path in zones[zone]), zone))
    first = by_service[index % len(by_service)]
    # What follows the first zone is drawn anew for each slot: a lost node's slots scatter over all that are left.
    rest = sorted((zone for zone in zones if zone != first), key=lambda zone: -of_slot[zones[zone][0]])
    turns = [zones[first], *(zones[zone] for zone in rest)]
    longest = max(len(members) for members in turns)
    return tuple(members[turn] for turn in range(longest) for members in turns if turn < len(members))


def order_by_name(name: str, nodes: Mapping[str, Node]) -> tuple[str, ...]:
    """All `nodes`, best first, for something that is not a slot: a service's images, a node's links."""
    return tuple(sorted(nodes, key=lambda path: (-score(path, nodes[path], name), path)))
