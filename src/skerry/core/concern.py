"""Which slots are this node's business: its own, and those of whose order it is one of the first. Of others it sees how they stand.

In a large cloud nearly every slot is held well by somebody else, with many nodes that would come before this one. That is proven once
(field.py) by a few of these; while they live nothing about the slot needs deciding here, and when one of them falls it is looked at
again. In small clouds every slot is everybody's business.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from skerry.core.facts import Decline
from skerry.core.records import Slot

if TYPE_CHECKING:
    from skerry.core.situation import Situation
    from skerry.core.standing import Standing
    from skerry.core.versions import Want

_AT_ONCE, _SOON_S = 8, 0.01  # so many slots are proven anew in one step, so long after the one before
ENOUGH = 3  # so many that come before it: it is no witness, and nobody whose better rank would move the slot


class Concern:
    def __init__(self) -> None:
        self._mine: dict[tuple[str, str], set[Slot]] = {}
        self._proofs: dict[Slot, tuple[str, ...]] = {}  # of slots that are not our business: who comes before us
        self._in_proofs: dict[str, set[Slot]] = defaultdict(set)  # node -> slots
        self.doubted: set[Slot] = set()  # somebody says that it doesn't answer: whose word counts depends on who lives

    def of(self, app: str, service: str) -> set[Slot]:
        return self._mine.get((app, service), set())

    def all(self) -> Iterable[Slot]:
        for slots in self._mine.values():
            yield from slots

    def proof(self, slot: Slot) -> tuple[str, ...] | None:
        return self._proofs.get(slot)

    def leaning_on(self, node: str) -> Iterable[Slot]:
        """Slots that are not our business as long as this node lives."""
        return self._in_proofs.get(node, ())

    def take(self, slot: Slot) -> None:
        self._let_go(slot)
        self._mine.setdefault((slot.app, slot.service), set()).add(slot)

    def leave(self, slot: Slot, proof: tuple[str, ...]) -> None:
        if self._proofs.get(slot) == proof:
            return
        self.forget(slot)
        self._proofs[slot] = proof
        for node in proof:
            self._in_proofs[node].add(slot)

    def forget(self, slot: Slot) -> None:
        """It is wanted no more."""
        self._let_go(slot)
        self.doubted.discard(slot)
        key = (slot.app, slot.service)
        if key in self._mine:
            self._mine[key].discard(slot)
            if not self._mine[key]:
                del self._mine[key]

    def _let_go(self, slot: Slot) -> None:
        for node in self._proofs.pop(slot, ()):
            self._in_proofs[node].discard(slot)


def is_ours(s: Situation, slot: Slot, want: Want, standing: Standing, own: bool) -> bool:
    """Whether this node has to decide about a slot. `own`: it holds or tells something of it."""
    if own or s.me in standing.home or s.is_small:
        s.concern.take(slot)
        return True
    counts = _counting(s, slot, want, standing)
    enough = ENOUGH
    if standing.vacant:  # what is vacant for long is at last claimed by one of the last
        enough = max(enough, int(2 * (s.now - s.vacant.get(slot, s.now)) / s.timing.claim_delay_s) + 1)
    proof = s.concern.proof(slot)
    if proof is None or (proof and len(proof) < enough) or not all(map(counts, proof)):
        found = s.before(standing.order, enough, counts)
        if found is None:
            s.concern.take(slot)
            return True
        proof = found
        s.concern.leave(slot, proof)
    if standing.vacant and proof:
        s.later(slot, s.vacant.get(slot, s.now) + len(proof) * s.timing.claim_delay_s)
    s.whys[slot] = standing.why if standing.vacant else ""
    return False


def _counting(s: Situation, slot: Slot, want: Want, standing: Standing) -> Callable[[str], bool]:
    """Whether a node that comes before us may be the one to act: as in standing.ahead; of the unknown as well."""
    declines = s.known.about("decline", str(slot))
    claimants = {claimant.node for claimant in standing.claimants} if standing.vacant else ()

    def counts(node: str) -> bool:
        if s.presence.is_down(node) or not s.is_active(node) or node in claimants:
            return False
        if declines and isinstance(decline := declines.get(node), Decline) and decline.spec == want.spec:
            return False
        return not s.barred_until(slot, node)

    return counts


def touch_presence(s: Situation, node: str, *, up: bool) -> None:
    """A node fell or rose: look at what it has told something of, and at what depends on who lives."""
    if s.is_small:
        s.touch_all()
        return
    for kind in ("claim", "slot", "decline"):
        for key in s.known.told_by(node, kind):
            slot = Slot.read(key)
            if slot is not None:
                s.touch_slot(slot)
    if not up:
        # Others hold them, well: to find who else comes before us has time, and we have more urgent things to do now.
        for at, slot in enumerate(sorted(s.concern.leaning_on(node))):
            s.later(slot, s.now + _SOON_S * (1 + at // _AT_ONCE))
    for slot in s.concern.all():
        if _matters(s, slot, node):
            s.touch_slot(slot)
    for slot in s.concern.doubted:
        s.touch_slot(slot)
    s.images_changed = True


def _matters(s: Situation, slot: Slot, node: str) -> bool:
    """Whether it makes a difference for a slot of ours that a node lives which holds nothing of it: only if that one comes before us,
    or the slot isn't held well."""
    standing = s.standings.get(slot)
    if standing is None or standing.winner is None or len(standing.claimants) > 1:
        return True
    if standing.winner.node == s.me or node not in standing.order or s.me not in standing.order:
        return False
    return node in standing.order[: standing.order.index(s.me)]
