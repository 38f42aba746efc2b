"""What a keeper says of a machine slot, and asks of the provider for it: the fact `machine`, and one call at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from skerry.core.constraints import name_of
from skerry.core.facts import Machine
from skerry.core.intent import Node
from skerry.core.records import MachineSlot
from skerry.core.renting.berths import NEVER, Berth
from skerry.core.renting.dealings import CreateMachine, DestroyMachine, Enrol, ListMachines
from skerry.core.restarts import next_backoff

if TYPE_CHECKING:
    from skerry.core.situation import Situation

HELD = ("asked", "creating", "booting", "joined", "draining", "returning")
YIELD_S = 15.0  # so long who is to let go still tells what it knows: the better keeper has read it by then
ENROL_AGAIN_S = 10.0


def holds(s: Situation, slot: MachineSlot, keeper: str) -> bool:
    said = s.known.of(keeper, "machine", str(slot), Machine)
    return said is not None and said.state in HELD and not s.presence.is_down(keeper)


def say(s: Situation, b: Berth, body: Machine, why: str) -> Machine:
    """Our fact of a slot, `why` in it. A new state is told in `events` and begins its time."""
    held = s.known.of(s.me, "machine", str(b.slot), Machine)
    why = why[:300]
    if held is None or held.state != body.state:
        body = msgspec.structs.replace(body, since=s.wall(s.now), why=why)
        b.since_s = s.now
        s.note("machine", b.slot, f"{body.state}: {why}")
        s.renting.next_s = s.now  # goes on at once
    else:
        body = msgspec.structs.replace(body, since=held.since, why=why)
    s.publish("machine", str(b.slot), body, why, sync=True)
    return body


def decline(s: Situation, b: Berth, why: str) -> None:
    """Let another keeper try. What is known of a machine stays in the fact."""
    own = s.known.of(s.me, "machine", str(b.slot), Machine) or Machine(state="failed")
    say(s, b, msgspec.structs.replace(own, state="failed"), why)


def let_go(s: Situation, b: Berth, why: str) -> None:
    s.publish("machine", str(b.slot), None, why, sync=True)
    b.taken_s, b.begun_s, b.begun, b.known, b.wait_s, b.told = NEVER, NEVER, "", ("", NEVER), 0.0, ""


def yield_to(s: Situation, b: Berth, rival: str) -> None:
    """A better keeper holds it, too (we were parted, say): it goes on alone, with what we knew of it."""
    if b.rival_s is None:
        b.rival_s = s.now
    if s.now >= b.rival_s + YIELD_S:
        b.rival_s = None
        let_go(s, b, f"{name_of(rival)} has it")
        s.note("machine", b.slot, f"left to {name_of(rival)}, which comes first for it")
    else:
        s.renting.next_s = min(s.renting.next_s, b.rival_s + YIELD_S)


# --- asking -----------------------------------------------------------------------------------------------------------


def look(s: Situation, b: Berth, why: str, *, after_s: float = NEVER) -> None:
    """List by name; not before `after_s`."""
    if s.now < after_s:
        s.renting.next_s = min(s.renting.next_s, after_s)
        return
    call(s, b, "list", ListMachines(pool=b.slot.pool, slot=str(b.slot), reason=why))
    b.asking_s = s.now


def call(s: Situation, b: Berth, act: str, effect: ListMachines | CreateMachine | DestroyMachine) -> None:
    b.busy, b.busy_until_s = act, s.now + s.timing.provider_limit_s * 1.5
    s.renting.next_s = min(s.renting.next_s, b.busy_until_s)
    s.out.append(effect)


def enrol(s: Situation, b: Berth, node: Node, state: str, why: str) -> None:
    """Ask for it, and again as long as it isn't so."""
    if s.now >= b.enrol_s + ENROL_AGAIN_S:
        b.enrol_s = s.now
        s.out.append(Enrol(path=b.slot.path, body=msgspec.structs.replace(node, state=state), reason=why))
    s.renting.next_s = min(s.renting.next_s, b.enrol_s + ENROL_AGAIN_S)


def fail(
    s: Situation,
    b: Berth,
    own: Machine,
    why: str,
    code: str,
    *,
    after_s: float = 0.0,
    ours: bool = False,
    soon: bool = False,
) -> None:
    """There can be no machine for the slot now: another offer, size or region later, each time after a longer pause.

    `soon`: it is another's turn that wasn't asked of late. `ours`: the reason is this keeper's own (its token, say): it declines,
    and others try at once. Else they would only be refused, too: the slot stays with us.
    """
    b.wait_s = 0.0 if soon else b.wait_s
    wait(s, b, 0.0 if soon else after_s)
    if b.told != code:
        b.told = code
        s.note("machine-failed", b.slot, why)
    body = msgspec.structs.replace(own, token="", token_until=0.0, created=0.0)
    b.begun_s, b.begun = NEVER, ""
    say(s, b, msgspec.structs.replace(body, state="failed" if ours else "creating"), why)


def wait(s: Situation, b: Berth, after_s: float = 0.0) -> None:
    """No call for this slot for a while, longer each time."""
    b.wait_s = next_backoff(b.wait_s, s.timing.provider_retry_first_s, s.timing.provider_retry_most_s)
    b.again_s = s.now + max(b.wait_s, after_s)
