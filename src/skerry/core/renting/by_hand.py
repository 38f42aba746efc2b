"""Machines that a person brings (provider `manual`): the same life, but what a program would ask a provider for is said to people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from skerry.core.facts import Machine
from skerry.core.intent import Pool
from skerry.core.renting import leaving
from skerry.core.renting.acting import let_go, say
from skerry.core.renting.berths import NEVER, Berth

if TYPE_CHECKING:
    from skerry.core.renting.keeping import Wanted
    from skerry.core.situation import Situation


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
            why = f"a machine is wanted: bring one, and run: skerry host add root@ADDRESS --slot {slot}"
            if b.told != why:
                b.told = why
                s.note("machine-asked", slot, why)
            say(s, b, msgspec.structs.replace(own, state="asked"), why)
    elif own.state == "joined":
        if not enrolled:
            let_go(s, b, "it is enrolled no more")
        elif wanted != "yes" or leaving.marked_by_operator(s, of, slot):
            say(s, b, msgspec.structs.replace(own, state="draining"), "it is needed no more")
    elif own.state == "draining":
        leaving.drain(s, of, b, own, wanted)
    elif own.state == "returning":
        if not enrolled:
            let_go(s, b, "it was taken away")
            return
        why = f"it is empty and not needed: take it away with: skerry host rm {slot}"
        if b.told != why:
            b.told = why
            s.note("machine-asked", slot, why)
        say(s, b, own, why)
