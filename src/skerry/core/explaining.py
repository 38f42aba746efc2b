"""Why a slot is where it is, or nowhere, and what would change that. Decides nothing.

Each advice is the whole step: once it is done, the slot can be held. What would help only together with something else is not said.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from skerry.core.constraints import name_of, unmet
from skerry.core.facts import Decline, Up
from skerry.core.intent import Needs
from skerry.core.placement import forbidden, gain, named_host
from skerry.core.records import MachineSlot, Slot
from skerry.core.situation import Situation
from skerry.core.standing import Standing
from skerry.core.versions import Want

_MIB = 1 << 20
_BETTER = 5  # so many better hosts are spoken of


class Advice(msgspec.Struct, frozen=True):
    """`what` to do, in words; `command` that does it, "" where it is done elsewhere (a compose file, a power switch)."""

    what: str
    command: str = ""


class _Obstacle(NamedTuple):
    """What stands between a node and a slot. `kind`: constraint, draining, down, most, apart, room, pool, other."""

    kind: str
    value: str = ""


def because(s: Situation, slot: Slot, want: Want, standing: Standing) -> str:
    """Why its holder has it; "" if nobody has."""
    holder = standing.winner
    if holder is None:
        return ""
    if standing.home:
        return "its data is there"
    if want.service.placement.every_node:
        return f"there is one on every host, and {slot.service}/{slot.index} is {named_host(s, slot)}'s"
    words = _wishes_met(s, slot, holder.node)
    if holder.rank == 0:
        return f"it is the first in the order of {slot.service}/{slot.index}" + (f": {words}" if words else "")
    better = []
    back = "may take it back" if want.may_overlap else "it was not there, and what runs moves for no better place"
    for node in standing.order[: holder.rank][:_BETTER]:
        found = _obstacles(s, slot, want, standing, node)
        better.append(f"{name_of(node)} ({_words(found[0]) if found else back})")
    return f"rank {holder.rank}, after {', '.join(better)}" + (f"; {words}" if words else "")


def _wishes_met(s: Situation, slot: Slot, holder: str) -> str:
    """What the holder has by wishes that the worst of the others has not."""
    if holder == s.me:
        others = [node for node in s.order(slot) if node != s.me]
        return next((words for node in others if (words := gain(s, slot, node))), "")
    return ""


def advice(s: Situation, slot: Slot, want: Want, standing: Standing) -> tuple[Advice, ...]:
    """What would let a slot run that nobody holds, the smallest step first; or bring one that is held to a better place."""
    if standing.winner is not None:
        return _to_better(s, slot, want, standing)
    if not standing.vacant or s.failing.get(slot) is not None:
        return ()
    if standing.home:
        home = standing.home[0]
        return (_fix(slot, want, home, _Obstacle("down")),) if s.presence.is_down(home) else ()
    found: list[Advice] = []
    constraints: set[str] = set()
    candidates = standing.order if want.service.placement.every_node else sorted(s.known.nodes)
    for node in candidates:
        obstacles = _obstacles(s, slot, want, standing, node)
        if not obstacles:
            return ()  # it is about to be claimed
        kinds = {obstacle.kind for obstacle in obstacles}
        if kinds == {"constraint"} and len(obstacles) == 1:
            constraints.add(obstacles[0].value)
        if len(obstacles) == 1:
            found.append(_fix(slot, want, node, obstacles[0]))
    found += [Advice(f"remove the constraint {_shown(constraint)}") for constraint in sorted(constraints)]
    if not want.service.placement.every_node:
        found += _further_host(s, want)
    return tuple(dict.fromkeys(one for one in found if one.what))


def _to_better(s: Situation, slot: Slot, want: Want, standing: Standing) -> tuple[Advice, ...]:
    """Of each host that comes before the holder in the order, and that one thing alone keeps from the slot."""
    holder = standing.winner
    assert holder is not None
    if standing.home or holder.rank == 0 or not want.may_overlap or want.service.placement.every_node:
        return ()
    found = []
    for node in standing.order[: holder.rank][:_BETTER]:
        obstacles = _obstacles(s, slot, want, standing, node)
        if len(obstacles) == 1 and (one := _fix(slot, want, node, obstacles[0])).what:
            found.append(Advice(f"{one.what}, and it moves there", one.command))
    return tuple(dict.fromkeys(found))


def _obstacles(s: Situation, slot: Slot, want: Want, standing: Standing, node: str) -> list[_Obstacle]:
    body = s.known.nodes[node]
    found = [_Obstacle("constraint", each) for each in want.service.constraints if unmet((each,), node, body)]
    machine = MachineSlot.of_path(node)
    if body.voter_only:
        found.append(_Obstacle("other", "it votes and runs nothing"))
    if not s.known.may_read(slot.app, node):
        found.append(_Obstacle("pool" if machine is not None else "other", machine.pool if machine is not None else ""))
    elif machine is not None and s.stays_with_data(slot.app, want.service):
        found.append(_Obstacle("other"))
    if s.presence.is_down(node):
        found.append(_Obstacle("down"))
    if not s.is_active(node):
        found.append(_Obstacle("draining" if body.state == "draining" else "other"))
    for why in forbidden(s, slot, want, node):
        found.append(_Obstacle(why.partition(":")[0].removesuffix("_replicas_per_node"), why))
    if missing := _missing(s, want.service.needs, node):
        found.append(_Obstacle("room", missing))
    if s.barred_until(slot, node):
        found.append(_Obstacle("other", "it failed there"))
    decline = s.known.of(node, "decline", str(slot), Decline)
    if not found and decline is not None and decline.spec == want.spec:
        found.append(_Obstacle("other", decline.reason))
    return found


def _missing(s: Situation, needs: Needs, node: str) -> str:
    """What it lacks of what is reserved, by its own figures; "" if it has all."""
    memory_bytes, cpus = _free(s, node)
    if needs.reserve_memory_bytes > memory_bytes:
        return f"{memory_bytes // _MIB} MiB"
    return f"{cpus:g} CPUs" if needs.reserve_cpus > cpus + 1e-9 else ""


def _free(s: Situation, node: str) -> tuple[int, float]:
    if node == s.me:
        room = s.room()
        return max(0, room.memory_bytes - room.used_memory_bytes), max(0.0, room.cpus - room.used_cpus)
    up = s.known.of(node, "up", "", Up)
    return (max(0, up.free_memory_bytes), max(0.0, up.free_cpus)) if up is not None else (0, 0.0)


def _fix(slot: Slot, want: Want, node: str, obstacle: _Obstacle) -> Advice:
    name, value = name_of(node), obstacle.value
    if obstacle.kind == "draining":
        return Advice(f"undrain {name}", f"skerry host undrain {name}")
    if obstacle.kind == "down":
        return Advice(f"start {name}: it is down")
    if obstacle.kind == "constraint":
        return _relabel(name, value)
    if obstacle.kind == "max":
        more = want.service.placement.max_per_node + 1
        return Advice(f"write max_replicas_per_node: {more}")
    if obstacle.kind == "apart":
        other = value.removeprefix("apart: ").partition("/")[0]
        return Advice(f"take {other} out of apart, or move {other} off {name}")
    if obstacle.kind == "pool":
        return Advice(f"open {slot.app} to the machines of {value}: x-skerry: {{pools: [{value}]}}")
    if obstacle.kind == "room" and value not in ("0 MiB", "0 CPUs"):
        return Advice(f"reserve no more than {value}: so much is free on {name}")
    return Advice("")


def _relabel(name: str, constraint: str) -> Advice:
    left, equal, right = constraint.partition("==")
    if not equal:
        return Advice("")  # which other value would be right is not known
    if left == "zone":
        return Advice(f"put {name} into zone {right}", f"skerry host label {name} --zone {right}")
    if left.startswith("label."):
        pair = f"{left.removeprefix('label.')}={right}"
        return Advice(f"label {name} {pair}", f"skerry host label {name} {pair}")
    return Advice("")


def _further_host(s: Situation, want: Want) -> list[Advice]:
    """None where no host that may still come could satisfy all constraints."""
    needs, name, options, words = want.service.needs, "", [], []
    asked = [constraint.split("==", 1) for constraint in want.service.constraints if "==" in constraint]
    if len({left for left, _ in asked}) < len(asked) or f"node/{dict(asked).get('node', '')}" in s.known.nodes:
        return []
    for constraint in want.service.constraints:
        left, equal, right = constraint.partition("==")
        if not equal:
            continue  # a host that is not yet there can have any other value
        if left == "node":
            name = right
        elif left == "zone":
            options.append(f" --zone {right}")
            words.append(f"in zone {right}")
        else:
            options.append(f" --label {left.removeprefix('label.')}={right}")
            words.append(f"with the label {left.removeprefix('label.')}={right}")
    if needs.reserve_memory_bytes:
        words.append(f"with {-(-needs.reserve_memory_bytes // _MIB)} MiB free")
    if needs.reserve_cpus:
        words.append(f"with {needs.reserve_cpus:g} CPUs free")
    what = " ".join(["add a host", *([f"named {name}"] if name else []), " and ".join(words)]).rstrip()
    return [Advice(what, f"skerry host add root@ADDRESS{f' --name {name}' if name else ''}{''.join(options)}")]


def _words(obstacle: _Obstacle) -> str:
    texts = {"draining": "it is drained", "down": "it is down", "room": f"only {obstacle.value} are free"}
    return texts.get(obstacle.kind) or obstacle.value or "it can't have it"


def _shown(constraint: str) -> str:
    """As the compose file has it."""
    return constraint.replace("label.", "node.labels.", 1) if constraint.startswith("label.") else constraint
