"""Machines that a person brings (provider `manual`): the same life, but what a program would ask a provider for is said to people.

Each request holds the very command that answers it, and stands in the keeper's fact, and so in `status` and `machine ls`, until it
is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from skerry.core.facts import Machine
from skerry.core.intent import Pool
from skerry.core.records import MachineSlot
from skerry.core.renting import leaving
from skerry.core.renting.acting import let_go, say
from skerry.core.renting.berths import NEVER, Berth

if TYPE_CHECKING:
    from skerry.core.renting.keeping import Wanted
    from skerry.core.situation import Situation

REQUESTS = {
    "asked": ("a machine is wanted: bring one, and run", "skerry host add root@ADDRESS --slot {}"),
    "joined": ("it has fallen silent: mend it, or do without it by", "skerry machine rm {} --now"),
    "returning": (
        "it is empty and not needed: take it away by",
        "skerry host rm {} --purge",
    ),  # it holds nothing to keep
}
"""By what a keeper says of a machine: why a person is asked, and what to run."""


def tend(s: Situation, of: Pool, b: Berth, own: Machine, wanted: Wanted) -> None:
    slot, path = b.slot, b.slot.path
    if b.taken_s == NEVER:
        b.taken_s = b.since_s = s.now
        b.known = ("", NEVER)
    enrolled = path in s.known.nodes
    if own.state in ("asked", "creating", "booting"):
        if enrolled and s.presence.is_up(path):
            say(s, b, msgspec.structs.replace(own, state="joined"), "enrolled and up")
        elif wanted != "yes" and not enrolled:
            let_go(s, b, "not needed any more")
        else:
            _ask(s, b, own, "asked")
    elif own.state == "joined":
        if not enrolled:
            let_go(s, b, "it is enrolled no more")
        elif wanted != "yes" or leaving.marked_by_operator(s, of, slot):
            say(s, b, msgspec.structs.replace(own, state="draining"), "it is needed no more")
        elif not s.presence.is_down(path):
            b.silent_s, b.told = None, ""
            say(s, b, own, "enrolled and up")
        else:
            b.silent_s = b.silent_s or s.now
            if leaving.is_given_up(s, of, b.silent_s):
                _ask(s, b, own, "joined")
    elif own.state == "draining":
        leaving.drain(s, of, b, own, wanted)
    elif own.state == "returning":
        if not enrolled:
            let_go(s, b, "it was taken away")
        elif wanted == "yes":
            say(s, b, msgspec.structs.replace(own, state="draining"), "it is needed again")
        else:
            _ask(s, b, own, "returning")


def command(slot: MachineSlot, said: Machine) -> str:
    """What a person is asked to run for a machine of which a keeper says this, "": nothing. Never a keeper's own words."""
    why, asked = _request(slot, said.state)
    return asked if said.why == why else ""


def _request(slot: MachineSlot, state: str) -> tuple[str, str]:
    words, form = REQUESTS.get(state, ("", ""))
    asked = form.format(slot)
    return f"{words}: {asked}", asked


def _ask(s: Situation, b: Berth, own: Machine, state: Literal["asked", "joined", "returning"]) -> None:
    why, _ = _request(b.slot, state)
    if b.told != why:
        b.told = why
        s.note("machine-asked", b.slot, why)
    say(s, b, msgspec.structs.replace(own, state=state), why)
