"""Who this node's neighbours are: tunnels to all that are enrolled, links with all or, in a large cloud, with some by order."""

from __future__ import annotations

from collections.abc import Mapping

from skerry.core.effects import Peer, Peers
from skerry.core.intent import Node
from skerry.core.order import order_by_name
from skerry.core.records import MachineSlot


def neighbours(me: str, nodes: Mapping[str, Node], *, everyone: int, links: int) -> Peers:
    """`nodes`: all that are enrolled and not expelled. A node that is itself not among them gets nobody."""
    nodes = _distinct(nodes)
    if me not in nodes:
        return Peers(peers=(), dial=(), reason="this node is not enrolled")
    others = {path: node for path, node in nodes.items() if path != me}
    dial = tuple(sorted(others))
    if len(nodes) > everyone:
        # The next one in the ring keeps the whole connected whatever the hashes say; the others make ways short.
        ring = sorted(nodes)
        after = ring[(ring.index(me) + 1) % len(ring)]
        dial = tuple(sorted({after, *order_by_name(f"links of {me}", others)[: links - 1]}))
    peers = tuple(
        Peer(path, node.wireguard, node.certificate, node.addresses, node.subnet)
        for path, node in sorted(others.items())
    )
    return Peers(peers=peers, dial=dial, reason=f"{len(peers)} other nodes are enrolled")


def _distinct(nodes: Mapping[str, Node]) -> dict[str, Node]:
    """A machine with the key of another node is nobody's neighbour: a captured keeper could else draw off that node's links and
    tunnels. A fixed host comes before all machines; who of two machines it is, is the same everywhere.
    """
    taken: set[str] = set()
    kept: dict[str, Node] = {}
    for path in sorted(nodes, key=lambda path: (MachineSlot.of_path(path) is not None, path)):
        keys = {nodes[path].signing, nodes[path].wireguard}
        if MachineSlot.of_path(path) is None or not keys & taken:
            kept[path] = nodes[path]
            taken |= keys
    return kept
