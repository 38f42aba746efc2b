"""Rules and wishes about places that depend on where others run: at most so many on a host, apart, near, away.

Rules are kept by each node for itself, at once, for it knows best what it claims: it declines. All others reckon alike from the
claims that it has signed, so that nobody waits for a node that may not, and of a node that claims too much the surplus counts for
nothing. Wishes only sort the order of nodes; they never keep one from a slot that nobody else takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from skerry.core.constraints import name_of
from skerry.core.facts import Claim
from skerry.core.order import LABEL, ZONE, zones_of
from skerry.core.placing import Key
from skerry.core.records import MachineSlot, Slot
from skerry.core.situation import Situation
from skerry.core.versions import Want

_NOWHERE = 10_000  # rank of a node that is in no order


def lacks(s: Situation, slot: Slot, want: Want) -> str:
    """Why this node can't take a slot, "" if it can: a rule, no room for what it reserves, or for its image."""
    return forbids(s, slot, want, s.me) or s.lacks(want)


def ranked(s: Situation, slot: Slot) -> Sequence[str]:
    """The slot's order, sorted by its service's wishes: away from some hosts before near others. Fixed hosts stay first."""
    order, ties = s.order(slot), s.placing.ties(s.wants, slot.app, slot.service)
    if not ties.near and not ties.away:
        return order
    near, away = [_hosts(s, key) for key in ties.near], [_hosts(s, key) for key in ties.away]
    zones = [{_zone(s, node) for node in hosts} for hosts in near]

    def cost(node: str) -> tuple[bool, int, int]:
        machine = MachineSlot.of_path(node) is not None
        miss = sum(
            0 if node in hosts else 1 if _zone(s, node) in there else 2
            for hosts, there in zip(near, zones, strict=True)
        )
        return machine, sum(node in hosts for hosts in away), miss

    return tuple(sorted(order, key=cost))


def gain(s: Situation, slot: Slot, holder: str) -> str:
    """What this node has, by wishes, that the holder has not, in words; "" if only the order speaks for it."""
    ties = s.placing.ties(s.wants, slot.app, slot.service)
    words = []
    for key in ties.away:
        if holder in _hosts(s, key) and s.me not in _hosts(s, key):
            words.append(f"away from {_told(key, slot)}")
    for key in ties.near:
        hosts = _hosts(s, key)
        if s.me in hosts and holder not in hosts:
            words.append(f"near {_told(key, slot)}")
        elif hosts and _zone(s, s.me) in {_zone(s, node) for node in hosts} and holder not in hosts:
            words.append(f"in the zone of {_told(key, slot)}")
    return ", ".join(words) or _apart_by(s, slot, holder)


def _apart_by(s: Situation, slot: Slot, holder: str) -> str:
    """At which level of what replicas are spread over this node is in another group than the holder: there the order begins."""
    want = s.want(slot)
    mine, its = s.known.nodes.get(s.me), s.known.nodes.get(holder)
    if want is None or mine is None or its is None:
        return ""
    for level in zones_of(want.service.placement.spread):
        ours, theirs = (
            node.zone if level == ZONE else node.labels.get(level.removeprefix(LABEL), "") for node in (mine, its)
        )
        if ours and ours != theirs:
            return f"replicas are spread over {level.removeprefix(LABEL)}, and {slot.service}/{slot.index} begins at {ours}"
    return ""


def is_settled(s: Situation, slot: Slot) -> bool:
    """Whether all that the slot's wishes look to is held well: nothing moves for what may be back in a moment."""
    ties = s.placing.ties(s.wants, slot.app, slot.service)
    for key in (*ties.near, *ties.away):
        for index in s.numbers(*key):
            standing = s.standings.get(Slot(*key, index))
            if standing is None or (standing.winner is None and standing.claimants):
                return False
    return True


def _hosts(s: Situation, key: Key) -> set[str]:
    """Where slots of a service are: who holds them well, else who did last, else the best that claims them."""
    found = set()
    for index in s.numbers(*key):
        other = Slot(*key, index)
        standing = s.standings.get(other)
        if standing is None:
            continue
        if standing.winner is not None:
            s.placing.last[other] = standing.winner.node
        claims = [claimant.node for claimant in standing.claimants]
        if claims:
            last = s.placing.last.get(other, "")
            found.add(last if last in claims else claims[0])
    return found


def _zone(s: Situation, node: str) -> str:
    enrolled = s.known.nodes.get(node)
    return (enrolled.zone if enrolled is not None else "") or node


def _told(key: Key, slot: Slot) -> str:
    return key[1] if key[0] == slot.app else ".".join(key)


# --- rules ------------------------------------------------------------------------------------------------------------


def forbids(s: Situation, slot: Slot, want: Want, node: str) -> str:
    """Which rule keeps a node from taking a slot, by what it claims already; "" if none does."""
    return next(forbidden(s, slot, want, node), "")


def forbidden(s: Situation, slot: Slot, want: Want, node: str) -> Iterator[str]:
    """All such rules."""
    most = want.service.placement.max_per_node
    if most and not want.service.placement.every_node:
        held = [other for other in _claimed(s, slot[:2], node) if other != slot]
        if len(held) >= most:
            yield f"max_replicas_per_node: {len(held)} of {slot.service} are there, and no more than {most} may be"
    for key in s.placing.ties(s.wants, slot.app, slot.service).apart:
        if beside := _claimed(s, key, node):
            yield f"apart: {_short(beside[0], slot)} is there, and the two may not be on one host"


def is_surplus(s: Situation, slot: Slot, want: Want, node: str) -> str:
    """Why a claim that a node has already breaks a rule, "" if it doesn't: the rule is newer, or the node disobeys it.

    Of too many the best by the order stay. Of two that are to be apart the one that asks for it goes, of two that do the later name;
    what has its data there stays. It runs on until somebody else has taken it.
    """
    most = want.service.placement.max_per_node
    if most and not want.service.placement.every_node:
        held = sorted(_claimed(s, slot[:2], node), key=lambda other: (_rank(s, other, node), other.index))
        if slot in held[most:]:
            return f"is one of {len(held)} there, and no more than {most} may be"
    for key in s.placing.ties(s.wants, slot.app, slot.service).apart:
        beside = _claimed(s, key, node)
        if beside and _yields(s, slot, beside[0]):
            return f"may not stay beside {_short(beside[0], slot)}"
    return ""


def _yields(s: Situation, slot: Slot, other: Slot) -> bool:
    """Which of two that are to be apart goes."""

    def weight(of: Slot, beside: Slot) -> tuple[bool, bool, bool, Key]:
        want = s.want(of)
        placement = want.service.placement if want is not None else None
        stays = want is not None and s.stays_with_data(of.app, want.service)
        asks = placement is not None and bool({beside.service, ".".join(beside[:2])} & set(placement.apart))
        return not stays, placement is None or not placement.every_node, asks, of[:2]

    return weight(slot, other) > weight(other, slot)


def _claimed(s: Situation, key: Key, node: str) -> list[Slot]:
    """Wanted slots of a service that a node claims, by its own signed word."""
    found = []
    for index in s.numbers(*key):
        other = Slot(*key, index)
        if isinstance(s.known.about("claim", str(other)).get(node), Claim):
            found.append(other)
    return found


def _rank(s: Situation, slot: Slot, node: str) -> int:
    order = s.order(slot)
    return order.index(node) if node in order else _NOWHERE


def _short(slot: Slot, beside: Slot) -> str:
    return f"{slot.service}/{slot.index}" if slot.app == beside.app else str(slot)


def named_host(s: Situation, slot: Slot) -> str:
    """Of a service with a replica on every host: the host that this slot is for, "" of any other."""
    want = s.want(slot)
    order = s.order(slot) if want is not None and want.service.placement.every_node else ()
    return name_of(order[0]) if order else ""
