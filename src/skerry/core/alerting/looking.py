"""What is wrong now: of the cloud, as every node sees it from facts; of this node itself, as only it can.

What a node says of itself (fact `alarm`) is believed about itself alone: trust holds it to its own name; a slot must be one that it
claims, a pool one that it keeps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.core.alerting.damping import Finding, Key
from skerry.core.alerting.rules import RULES, Rule, concerns
from skerry.core.constraints import name_of
from skerry.core.facts import Alarm, Home
from skerry.core.intent import Pool
from skerry.core.records import MachineSlot, Slot
from skerry.core.renting.needing import best_word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from skerry.core.situation import Situation

MOST = 100  # findings of one look: a cloud in ruins needs no thousand messages
LOOP_S = 600.0
NEW_S = 120.0
DAY_S = 86_400.0
_LEAVING = ("draining", "returning", "gone", "failed")


# --- what every node sees ---------------------------------------------------------------------------------------------


def of_cloud(s: Situation, rules: Mapping[str, Rule]) -> dict[Key, Finding]:
    """From facts and presence. At most MOST."""
    found: dict[Key, Finding] = {}
    if "host-silent" in rules:
        _silent_hosts(s, found)
    if "voters" in rules:
        _silent_voters(s, found)
    if "no-replica" in rules:
        _without_replica(s, found)
    if (rule := rules.get("certificate")) is not None:
        _expiring(s, rule, found)
    _alarms(s, rules, found)
    # Built-in ones first: a rule of one's own that fires everywhere hides no host that is silent.
    return dict(sorted(found.items(), key=lambda item: (rules[item[0][0]].measure is not None, item[0]))[:MOST])


def _silent_hosts(s: Situation, found: dict[Key, Finding]) -> None:
    for node in s.known.nodes:
        if not s.presence.is_down(node) or not s.is_active(node):
            continue
        machine = MachineSlot.of_path(node)
        word = best_word(s, machine) if machine is not None else None
        if word is not None and word.state in _LEAVING:
            continue
        seen = s.presence.seen(node)
        found["host-silent", name_of(node)] = Finding(why=seen.why or "it is not heard")


def _silent_voters(s: Situation, found: dict[Key, Finding]) -> None:
    voters = s.leases.voters
    up = {node for node in voters.all if s.presence.is_up(node)}
    if voters.now and not voters.agree(up):
        silent = ", ".join(name_of(node) for node in sorted(voters.all - up))
        figure = float(len(up)), float(len(voters.all))
        found["voters", "policy"] = Finding(*figure, f"{len(up)} of {len(voters.all)} answer, silent are {silent}")


def _without_replica(s: Situation, found: dict[Key, Finding]) -> None:
    empty: dict[tuple[str, str], list[Slot]] = {}
    for slot in sorted(s.unheld):
        empty.setdefault((slot.app, slot.service), []).append(slot)
    for (app, name), down in empty.items():
        if s.now < s.changed_s.get(app, -NEW_S) + NEW_S or s.want(down[0]) is None:
            continue  # whoever has just deployed it is looking
        which = ", ".join(f"{name}/{slot.index}" for slot in down[:5]) + (", …" if len(down) > 5 else "")
        why = s.whys.get(down[0], "")
        told = f"{which} of {len(s.numbers(app, name))}" + (f": {why}{_given_up(s, down[0])}" if why else "")
        found["no-replica", f"{app}.{name}"] = Finding(float(len(down)), 0.0, told[:300])


def _given_up(s: Situation, slot: Slot) -> str:
    """What an operator may do about a slot that waits for its data; only a person can know whether the host is lost, or lies."""
    standing = s.standings.get(slot)
    if standing is None or not standing.home:
        return ""
    home = standing.home[0]
    words = {a: word.node for a, word in s.known.about("home", str(slot)).items() if isinstance(word, Home)}
    alone = (
        "" if home in (of for author, of in words.items() if author != home) else " nobody else says that it is there;"
    )
    return (
        f";{alone} if that host is lost or captured: skerry host expel {name_of(home)}, and it begins empty elsewhere"
    )


def _expiring(s: Situation, rule: Rule, found: dict[Key, Finding]) -> None:
    wall = s.wall(s.now)
    for path, document in s.known.documents.items():
        days = (document.expires - wall) / DAY_S
        if document.expires and days < rule.limit:
            when = f"it expires in {days:.0f} days" if days > 0 else "it has expired"
            why = f"{when}: what runs goes on, no change of it is accepted then"
            found["certificate", path] = Finding(round(days, 1), rule.limit, why)


def _alarms(s: Situation, rules: Mapping[str, Rule], found: dict[Key, Finding]) -> None:
    for key, about in s.known.facts.get("alarm", {}).items():
        rule, _, subject = key.partition(":")
        if rule not in rules or not rules[rule].own:
            continue
        for node, body in sorted(about.items()):
            if isinstance(body, Alarm) and _may_say(s, node, rule, subject):
                found[rule, subject] = Finding(body.figure, body.limit, f"{name_of(node)} says: {body.why}"[:300])


def _may_say(s: Situation, node: str, rule: str, subject: str) -> bool:
    if node not in s.known.nodes and node != s.me:
        return False
    slot = Slot.read(subject)
    if rule == "restart-loop" or (rule not in RULES and slot is not None):
        return slot is not None and s.claim_of(node, slot) is not None and not s.presence.is_down(node)
    if rule in ("budget", "unknown-machine"):
        return any(node in pool.keepers for pool in _pools(s).values())
    return subject == name_of(node)


def _pools(s: Situation) -> dict[str, Pool]:
    documents = s.known.documents
    return {path: d.body for path, d in documents.items() if isinstance(d.body, Pool) and not d.body.deleted}


# --- what only this node sees -----------------------------------------------------------------------------------------


def of_own(s: Situation, rules: Mapping[str, Rule]) -> dict[Key, Finding]:
    """Of this host, its containers, and the pools that it keeps."""
    found: dict[Key, Finding] = {}
    me, felt = name_of(s.me), s.alerting.felt
    for name, figure, why in (
        ("disk", felt.disk, "its disk is {:.0%} full"),
        ("memory", felt.memory, "something waited for memory for {:.0%} of the last minute"),
        ("clock", abs(felt.clock_off_s) if felt.clock_off_s is not None else None, "its clock is {:.0f} s off"),
    ):
        if (rule := rules.get(name)) is not None and figure is not None and figure > rule.limit:
            found[name, me] = Finding(round(figure, 3), rule.limit, why.format(figure))
    if "refused" in rules and felt.refused:
        found["refused", me] = Finding(why=felt.refused)
    if "misdeed" in rules and felt.misdeed:
        found["misdeed", me] = Finding(why=felt.misdeed)
    if (rule := rules.get("restart-loop")) is not None:
        for slot, times in s.alerting.restarts.items():
            if len(times) > rule.limit:
                figure, why = float(len(times)), f"started anew {len(times)} times within 10 minutes"
                found["restart-loop", str(slot)] = Finding(figure, rule.limit, f"{why}; {_last_end(s, slot)}"[:200])
    for name, rule in rules.items():
        if (it := rule.measure) is None:
            continue
        for subject, figure in felt.figures.get(it.metric, {}).items():
            if concerns(it.of, subject) and rule.is_beyond(figure):
                why = f"{it.metric} is {figure:.4g}, {'below' if it.below else 'above'} {rule.limit:g}"
                found[name, name_of(subject)] = Finding(round(figure, 6), rule.limit, why)
    for pool in s.renting.kept:
        book = s.renting.book(pool)
        if "budget" in rules and (why := _ceiling(s, pool)):
            found["budget", pool] = Finding(why=why[:200])
        if "unknown-machine" in rules:
            for id in [id for id, word in book.told.items() if word == "unknown"][:10]:
                machine = book.swept.get(id)
                found["unknown-machine", id[:100]] = Finding(
                    why=f"{machine.name if machine else id} belongs to no slot"[:200]
                )
    return found


def _last_end(s: Situation, slot: Slot) -> str:
    return next((r.last_end or r.why for r in s.replicas.of(slot).values() if r.last_end or r.why), "it ends by itself")


def _ceiling(s: Situation, pool: str) -> str:
    """Why money keeps this pool from more, "" if it doesn't: as its keeper's rule said it last."""
    book = s.renting.book(pool)
    words = [book.returning, *(_own_word(s, berth.slot) for berth in book.berths.values())]
    return next((word for word in words if word.startswith("ceiling of")), "")


def _own_word(s: Situation, slot: MachineSlot) -> str:
    word = best_word(s, slot)
    return word.why if word is not None and word.state in ("asked", "creating") else ""


def count_restarts(s: Situation) -> None:
    """Of our own containers, within the last minutes."""
    a = s.alerting
    here = {r.slot: r.restarts for r in s.replicas if r.live}
    for slot, restarts in here.items():
        more = restarts - a.counted.get(slot, restarts)
        if more > 0:
            a.restarts.setdefault(slot, []).extend([s.now] * min(more, 50))
        a.counted[slot] = restarts
    for slot in [slot for slot in a.counted if slot not in here]:
        del a.counted[slot]
    for slot, times in list(a.restarts.items()):
        kept = [at for at in times[-100:] if s.now - at < LOOP_S]
        if kept:
            a.restarts[slot] = kept
        else:
            del a.restarts[slot]
