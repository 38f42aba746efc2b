"""Who tells receivers of what fires: the first in the order that all compute for (rule, subject), the next 30 s later if it hasn't.

At least once. Whoever has told says so (fact `sent`), and others believe that only from when its turn has come: a captured host can
keep quiet what it is the first for, and nothing else. What fires by one rule within a moment goes into one letter.

A round counts how often something has fired; it is the same on all nodes, so
that receivers can fold what two of them sent; it begins at the day, so that it never falls back once facts were forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from skerry.core.alerting.damping import Key, Watch
from skerry.core.alerting.rules import RULES, Rule
from skerry.core.constraints import name_of
from skerry.core.effects import SendAlert, Told
from skerry.core.events import AlertAnswered
from skerry.core.facts import Sent
from skerry.core.intent import Alert, Node
from skerry.core.order import order_by_name
from skerry.core.records import MachineSlot

if TYPE_CHECKING:
    from skerry.core.situation import Situation

TRIES_FIRST_S, TRIES_MOST_S = 10.0, 600.0
DENIED_S = 60.0
AT_ONCE = 8  # letters; each is a process of its own for a second
IN_ONE = 20  # alerts in a letter: what a chat takes in one message
KEPT_S = 25 * 3600.0  # a fact `sent`, after it is over: longer than a round's day
KEPT_MOST = 200
ROUNDS_A_DAY = 1000
DAY_S = 86_400.0
BEAT = "heartbeat"


Group = tuple[str, bool, tuple[str, ...]]  # rule, whether it is over, receivers


class Taken(NamedTuple):
    """What is known of one round: receivers that have been told, and told that it is over."""

    told: frozenset[str] = frozenset()
    cleared: frozenset[str] = frozenset()


def review(s: Situation) -> None:
    """Send what it is our turn to send."""
    receivers = _receivers(s, heartbeat=False)
    due: dict[Group, list[tuple[float, Key, Watch]]] = {}
    for key, watch in list(s.alerting.watches.items()):
        if watch.fired_s is None:
            continue
        if watch.round == 0 or (watch.fires and _is_open(s, key, newer_than=watch.round)):
            watch.round = _round(s, key)
        told = told_of(s, key, watch)
        if watch.fires and told.cleared and watch.absent_s is None:
            watch.denied_s = s.now if watch.denied_s is None else watch.denied_s
            if s.now >= watch.denied_s + DENIED_S:
                watch.round, watch.fired_s, watch.denied_s = watch.round + 1, s.now, None
                told = Taken()
        else:
            watch.denied_s = None
        over = watch.over_s is not None
        missing = ((told.told & receivers) - told.cleared) if over else receivers - told.told
        if over and not missing:
            if not watch.letter:
                del s.alerting.watches[key]
            continue
        if not missing or watch.letter or s.now < watch.again_s or (watch.fires and watch.absent_s is not None):
            continue
        if s.alerting.settings.silenced_until(*key, s.wall(s.now)):
            continue
        begun_s = watch.over_s if watch.over_s is not None else watch.fired_s
        due_s = begun_s + turn(s, key) * s.timing.alert_turn_s
        if s.now >= due_s:
            due.setdefault((key[0], over, tuple(sorted(missing))), []).append((max(due_s, watch.again_s), key, watch))
    _post(s, due)
    _beat(s)


def _post(s: Situation, due: Mapping[Group, list[tuple[float, Key, Watch]]]) -> None:
    """One letter for what is due by one rule for the same receivers; it waits a moment for what fires together."""
    a = s.alerting
    for (rule, over, to), parts in due.items():
        parts.sort(key=lambda part: part[:2])
        if s.now < parts[0][0] + s.timing.alert_gather_s:
            continue
        for at in range(0, len(parts), IN_ONE):
            if len({watch.letter for watch in a.watches.values()} - {0}) >= AT_ONCE:
                return  # the next is sent when one of these was answered
            a.letters += 1
            _send(s, rule, [(key, watch) for _, key, watch in parts[at : at + IN_ONE]], to, over=over)


def _send(s: Situation, name: str, parts: list[tuple[Key, Watch]], to: tuple[str, ...], *, over: bool) -> None:
    rule, fixed = s.alerting.settings.rules.get(name, RULES.get(name, Rule(name, "", 0.0, 0.0))), fixed_nodes(s)
    about = []
    for key, watch in parts:
        watch.letter = s.alerting.letters
        found = watch.found
        why = f"it was: {found.why}" if over else found.why
        about.append(
            Told(
                subject=key[1], round=watch.round, since=_since(s, key, watch), figure=found.figure, limit=found.limit, why=why
            )
        )  # fmt: skip
    look = rule.look.format(subject=about[0].subject) if len(about) == 1 else "skerry alert ls"
    s.out.append(
        SendAlert(
            rule=name, about=tuple(about), over=over, to=to, means=rule.means, unit=rule.unit,
            seen_by=sum(s.presence.is_up(node) for node in fixed), fixed=len(fixed), look=look,
            reason="it is over" if over else rule.means,
        )
    )  # fmt: skip


def _beat(s: Situation) -> None:
    a = s.alerting
    to = _receivers(s, heartbeat=True)
    if not to or s.now < a.beat_s:
        return
    a.beat_s = s.now + s.timing.alert_beat_s
    if turn(s, (BEAT, "")) == 0:
        s.out.append(SendAlert(rule=BEAT, about=(), to=tuple(sorted(to)), reason="this cloud lives"))


def answered(s: Situation, event: AlertAnswered) -> None:
    """What receivers have taken is said at once; what they haven't is tried again, ever more slowly."""
    _note(s, event)
    for subject, round in event.about:
        key = (event.rule, subject)
        watch = s.alerting.watches.get(key)
        if event.taken:
            _say_sent(s, key, watch, round, event)
        if watch is None:
            continue
        watch.letter = 0
        if watch.round != round:
            continue
        watch.tries = watch.tries + 1 if event.failed else 0
        if event.failed:
            watch.again_s = s.now + min(TRIES_MOST_S, TRIES_FIRST_S * 2.0 ** min(watch.tries - 1, 10))
        s.alerting.next_s = s.now


def _say_sent(s: Situation, key: Key, watch: Watch | None, round: int, event: AlertAnswered) -> None:
    own = s.known.of(s.me, "sent", ":".join(key), Sent)
    body = own if own is not None and own.round == round else Sent(round=round, since=0.0, time=0.0)
    since = _since(s, key, watch) if watch is not None else body.since or s.wall(s.now)
    lists = {
        "cleared" if event.over else "told": tuple(sorted({*(body.cleared if event.over else body.told), *event.taken}))
    }
    body = msgspec.structs.replace(body, since=since, time=s.wall(s.now), **lists)
    s.publish("sent", ":".join(key), body, "it was told that it is over" if event.over else "it was told")


def _note(s: Situation, event: AlertAnswered) -> None:
    """For people. The same trouble of a receiver is told once."""
    subjects = [subject for subject, _ in event.about] or [""]
    over = " that it is over" if event.over else ""
    for name in event.taken:
        if s.alerting.unsent.pop(name, None) is not None or event.rule != BEAT:
            for subject in subjects:
                s.note("alert", subject or name, f"{name} was told{over}: {event.rule} {subject}".rstrip())
    for name, why in event.failed.items():
        if s.alerting.unsent.get(name) != why:
            s.alerting.unsent[name] = why
            what = f"{event.rule} {subjects[0]}".strip()
            s.note("alert-unsent", subjects[0] or name, f"{what} could not be told to {name}: {why}")


# --- what is known ----------------------------------------------------------------------------------------------------


def fixed_nodes(s: Situation) -> dict[str, Node]:
    return {path: node for path, node in s.known.nodes.items() if MachineSlot.of_path(path) is None}


def order(s: Situation, key: Key) -> tuple[str, ...]:
    """All fixed nodes, the first to send first. The host that it is about comes last: it may be what is ill."""
    a = s.alerting
    if a.orders_of != s.known.membership:
        a.orders, a.orders_of = {}, s.known.membership
    if key not in a.orders:
        named = order_by_name(f"alert {key[0]} {key[1]}", fixed_nodes(s))
        a.orders[key] = tuple(sorted(named, key=lambda node: name_of(node) == key[1]))
    return a.orders[key]


def turn(s: Situation, key: Key, node: str = "") -> int:
    """How many that are up come before a node (us)."""
    before = 0
    for other in order(s, key):
        if other == (node or s.me):
            break
        before += s.presence.is_up(other)
    return before


def told_of(s: Situation, key: Key, watch: Watch) -> Taken:
    """Of the round of a watch; from each node only once its turn has come."""
    told: set[str] = set()
    cleared: set[str] = set()
    for node, body in s.known.about("sent", ":".join(key)).items():
        if not isinstance(body, Sent) or body.round != watch.round or not _is_fixed(s, node):
            continue
        wait_s = 0.0 if node == s.me else turn(s, key, node) * s.timing.alert_turn_s
        if watch.fired_s is not None and s.now >= watch.fired_s + wait_s:
            told |= {*body.told}
        if watch.over_s is None or s.now >= watch.over_s + wait_s:
            cleared |= {*body.cleared}
    return Taken(frozenset(told), frozenset(cleared))


def _is_fixed(s: Situation, node: str) -> bool:
    return MachineSlot.of_path(node) is None and (node in s.known.nodes or node == s.me)


def _rounds(s: Situation, key: Key) -> list[Sent]:
    """What fixed nodes say of it; one that is far ahead of the day counts for nothing."""
    most = (s.wall(s.now) / DAY_S + 2) * ROUNDS_A_DAY
    about = s.known.about("sent", ":".join(key)).items()
    return [body for node, body in about if isinstance(body, Sent) and _is_fixed(s, node) and body.round < most]


def _round(s: Situation, key: Key) -> int:
    """The round that is open, else the next."""
    rounds = _rounds(s, key)
    newest = max((body.round for body in rounds), default=0)
    if rounds and not any(body.cleared for body in rounds if body.round == newest):
        return newest
    return max(newest + 1, int(s.wall(s.now) // DAY_S) * ROUNDS_A_DAY)


def _is_open(s: Situation, key: Key, newer_than: int) -> bool:
    """Whether others have begun a newer round."""
    newer = [body for body in _rounds(s, key) if body.round > newer_than]
    return bool(newer) and not any(body.cleared for body in newer)


def open_since(s: Situation, key: Key) -> float | None:
    """Unix seconds since when it fires by what fixed nodes told; None: nobody has said that it does."""
    rounds = _rounds(s, key)
    newest = max((body.round for body in rounds), default=0)
    its = [body for body in rounds if body.round == newest]
    return min(body.since for body in its) if its and not any(body.cleared for body in its) else None


def _since(s: Situation, key: Key, watch: Watch) -> float:
    own = s.known.of(s.me, "sent", ":".join(key), Sent)
    return own.since if own is not None and own.round == watch.round else s.wall(watch.since_s)


def is_owed(s: Situation, key: Key, body: Sent) -> bool:
    """Whether there are receivers that this node has told that something fires, and nobody that it is over."""
    cleared = {name for other in _rounds(s, key) if other.round == body.round for name in other.cleared}
    return bool({*body.told} & _receivers(s, heartbeat=False) - cleared)


def _receivers(s: Situation, *, heartbeat: bool) -> frozenset[str]:
    a = s.alerting
    if a.receivers is None:
        bodies = {path.removeprefix("alert/"): d.body for path, d in s.known.documents.items() if d.kind == "alert"}
        a.receivers = {
            name: body.receiver.kind
            for name, body in bodies.items()
            if isinstance(body, Alert) and body.receiver is not None and not body.deleted
        }
    return frozenset(name for name, kind in a.receivers.items() if (kind == BEAT) is heartbeat)


def keep_few(s: Situation) -> None:
    """Let go of what we said long ago of what is over."""
    wall, own = s.wall(s.now), []
    for text, about in s.known.facts.get("sent", {}).items():
        body = about.get(s.me)
        rule, _, subject = text.partition(":")
        if isinstance(body, Sent) and (rule, subject) not in s.alerting.watches:
            own.append((body.time, text))
    own.sort()
    for at, text in own:
        if wall - at > KEPT_S or len(own) > KEPT_MOST:
            s.publish("sent", text, None, "it is long over")
            own = own[1:]
