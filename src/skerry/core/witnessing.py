"""Which replicas of others this node probes, and what it says about them. A word is published only when it changes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from skerry.core.effects import Unwatch, Watch
from skerry.core.facts import Saw
from skerry.core.intent import Probe
from skerry.core.records import Slot
from skerry.core.situation import Situation
from skerry.core.standing import witnesses


def review_watches(s: Situation, ours: Sequence[Slot], seen: Collection[Slot], app: str, service: str) -> None:
    """Watch those replicas of this service for which the order picks us, and no others. `ours`: slots for which it might, of those
    that were `seen`; others are watched as before.
    """
    wanted: dict[tuple[Slot, str], tuple[str, str, Probe]] = {}
    for slot in ours:
        standing = s.standings[slot]
        for claimant in standing.claimants:
            state = s.state_of(claimant.node, slot)
            if claimant.node == s.me or state is None or state.state != "running" or not state.address:
                continue
            made = s.service_of(slot, state.spec)
            watched = s.watching.get((slot, claimant.node)) == (state.spec, state.address)
            # Before its owner calls it healthy there is nothing to confirm, and a start would be told as a failure.
            if made is None or made.probe is None or not (state.healthy or watched):
                continue
            if s.me in witnesses(s, claimant.node, s.watchers(slot)):
                wanted[slot, claimant.node] = (state.spec, state.address, made.probe)
    for place, (spec, address) in list(s.watching.items()):
        slot, node = place
        looked = slot[:2] == (app, service) and (slot in seen or slot not in s.standings)
        if looked and (place not in wanted or wanted[place][:2] != (spec, address)):
            del s.watching[place]
            s.out.append(Unwatch(slot=slot, node=node, spec=spec, reason="no longer a witness of it"))
            s.publish("saw", f"{slot}@{node}", None, "no longer a witness of it")
    for (slot, node), (spec, address, probe) in wanted.items():
        if (slot, node) not in s.watching:
            s.watching[slot, node] = (spec, address)
            s.out.append(Watch(slot=slot, node=node, spec=spec, address=address, probe=probe, own=False,
                               reason="the slot's order picks this node as a witness"))  # fmt: skip


def witnessed(s: Situation, slot: Slot, node: str, spec: str, ok: bool, detail: str) -> None:
    """What our probe of another's replica said."""
    if s.watching.get((slot, node), ("", ""))[0] == spec:
        word = "answers" if ok else f"does not answer: {detail}"
        s.publish("saw", f"{slot}@{node}", Saw(spec=spec, ok=ok, detail=detail[:200]), word)
        s.touch_slot(slot)
