"""Who tells receivers of what fires: the first in the order that all compute for (rule, subject), the next 30 s later if it hasn't.

At least once. Whoever has told says so (fact `sent`), and others believe that only from when its turn has come: a captured host can
keep quiet what it is the first for, and nothing else. A round counts how often something has fired; it is the same on all nodes, so
that receivers can fold what two of them sent; it begins at the day, so that it never falls back once facts were forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from skerry.core.alerting.damping import Key, Watch
from skerry.core.alerting.rules import RULES
from skerry.core.constraints import name_of
from skerry.core.effects import SendAlert
from skerry.core.events import AlertAnswered
from skerry.core.facts import Sent
from skerry.core.intent import Alert, Node
from skerry.core.order import order_by_name
from skerry.core.records import MachineSlot

if TYPE_CHECKING:
    from skerry.core.situation import Situation

TRIES_FIRST_S, TRIES_MOST_S = 10.0, 600.0
DENIED_S = 60.0
AT_ONCE = 8  # each is a process of its own for a second
KEPT_S = 25 * 3600.0  # a fact `sent`, after it is over: longer than a round's day
KEPT_MOST = 200
ROUNDS_A_DAY = 1000
DAY_S = 86_400.0
BEAT = "heartbeat"


class Told(NamedTuple):
    """What is known of one round: receivers that have been told, and told that it is over."""

    told: frozenset[str] = frozenset()
    cleared: frozenset[str] = frozenset()


def review(s: Situation) -> None:
    """Send what it is our turn to send."""
    receivers = _receivers(s, heartbeat=False)
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
                told = Told()
        else:
            watch.denied_s = None
        over = watch.over_s is not None
        missing = ((told.told & receivers) - told.cleared) if over else receivers - told.told
        if over and not missing:
            if not watch.busy:
                del s.alerting.watches[key]
            continue
        if not missing or watch.busy or s.now < watch.again_s or (watch.fires and watch.absent_s is not None):
            continue
        if s.alerting.settings.silenced_until(*key, s.wall(s.now)):
            continue
        if sum(other.busy for other in s.alerting.watches.values()) >= AT_ONCE:
            break  # the next is sent when one of these was answered
        begun_s = watch.over_s if watch.over_s is not None else watch.fired_s
        if s.now >= begun_s + turn(s, key) * s.timing.alert_turn_s:
            _send(s, key, watch, tuple(sorted(missing)), over=over)
    _beat(s)


def _send(s: Situation, key: Key, watch: Watch, to: tuple[str, ...], *, over: bool) -> None:
    assert watch.fired_s is not None
    rule, fixed = RULES[key[0]], fixed_nodes(s)
    watch.busy = True
    s.out.append(
        SendAlert(
            rule=key[0], subject=key[1], round=watch.round, over=over, to=to, since=_since(s, key, watch),
            figure=watch.found.figure, limit=watch.found.limit, unit=rule.unit,
            why=f"it was: {watch.found.why}" if over else watch.found.why,
            seen_by=sum(s.presence.is_up(node) for node in fixed), fixed=len(fixed),
            look=rule.look.format(subject=key[1]), reason="it is over" if over else rule.means,
        )
    )  # fmt: skip


def _beat(s: Situation) -> None:
    a = s.alerting
    to = _receivers(s, heartbeat=True)
    if not to or s.now < a.beat_s:
        return
    a.beat_s = s.now + s.timing.alert_beat_s
    if turn(s, (BEAT, "")) == 0:
        s.out.append(SendAlert(rule=BEAT, subject="", round=0, to=tuple(sorted(to)), reason="this cloud lives"))


def answered(s: Situation, event: AlertAnswered) -> None:
    """What receivers have taken is said at once; what they haven't is tried again, ever more slowly."""
    key = (event.rule, event.subject)
    _note(s, event)
    watch = s.alerting.watches.get(key)
    if event.rule == BEAT:
        return
    if event.taken:
        own = s.known.of(s.me, "sent", ":".join(key), Sent)
        body = own if own is not None and own.round == event.round else Sent(round=event.round, since=0.0, time=0.0)
        since = _since(s, key, watch) if watch is not None else body.since or s.wall(s.now)
        lists = {
            "cleared" if event.over else "told": tuple(
                sorted({*(body.cleared if event.over else body.told), *event.taken})
            )
        }
        body = msgspec.structs.replace(body, since=since, time=s.wall(s.now), **lists)
        s.publish("sent", ":".join(key), body, "it was told that it is over" if event.over else "it was told")
    if watch is None or watch.round != event.round:
        return
    watch.busy = False
    watch.tries = watch.tries + 1 if event.failed else 0
    if event.failed:
        watch.again_s = s.now + min(TRIES_MOST_S, TRIES_FIRST_S * 2.0 ** min(watch.tries - 1, 10))
    s.alerting.next_s = s.now


def _note(s: Situation, event: AlertAnswered) -> None:
    """For people. The same trouble of a receiver is told once."""
    what = f"{event.rule} {event.subject}".strip()
    for name in event.taken:
        if s.alerting.unsent.pop(name, None) is not None or event.rule != BEAT:
            over = " that it is over" if event.over else ""
            s.note("alert", event.subject or name, f"{name} was told{over}: {what}")
    for name, why in event.failed.items():
        if s.alerting.unsent.get(name) != why:
            s.alerting.unsent[name] = why
            s.note("alert-unsent", event.subject or name, f"{what} could not be told to {name}: {why}")


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


def told_of(s: Situation, key: Key, watch: Watch) -> Told:
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
    return Told(frozenset(told), frozenset(cleared))


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
