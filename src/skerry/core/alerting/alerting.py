"""Alerts, joined: every few seconds look, damp, say what only we know, and send what it is our turn to send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from skerry.core.alerting import looking, sending
from skerry.core.alerting.damping import Finding, Key, Watch, look
from skerry.core.alerting.rules import RULES, SETTINGS, Rule, Settings, settings_of
from skerry.core.constraints import name_of
from skerry.core.events import Felt
from skerry.core.facts import Alarm, Sent
from skerry.core.intent import Alert
from skerry.core.records import MachineSlot, Slot

if TYPE_CHECKING:
    from skerry.core.situation import Situation

ALARMS_MOST = 32
OWN_MOST = 24  # of those, by rules of operators' own: the others are never crowded out


class AlertRow(msgspec.Struct, frozen=True):
    """One line of `alert ls`. `since`: unix seconds; `sent`: host -> receivers that have taken it from there."""

    rule: str
    subject: str
    since: float
    figure: float
    limit: float
    unit: str
    why: str
    round: int
    silenced_until: float
    sent: dict[str, tuple[str, ...]]
    first: str  # the host whose turn it is


class Alerting:
    """What a node keeps for this between two events. All of it can be lost: facts say it again."""

    def __init__(self) -> None:
        self.next_s = 0.0
        self.felt = Felt()
        self.watches: dict[Key, Watch] = {}  # as a fixed node, of the whole cloud
        self.own: dict[Key, Watch] = {}  # of this host alone
        self.restarts: dict[Slot, list[float]] = {}  # own: when it was started anew, lately
        self.counted: dict[Slot, int] = {}
        self.settings: Settings = Settings(RULES)
        self.settings_of: int = -1  # version of the document that they are from
        self.receivers: dict[str, str] | None = None  # name -> kind; None: to be found out
        self.orders: dict[Key, tuple[str, ...]] = {}
        self.orders_of = -1
        self.beat_s = 0.0
        self.letters = 0  # so many were sent
        self.unsent: dict[str, str] = {}  # receiver -> the trouble with it that was told


def review(s: Situation) -> None:
    a = s.alerting
    if s.now < a.next_s:
        return
    a.next_s = s.now + s.timing.alert_look_s
    looking.count_restarts(s)
    if s.now < s.boot_s + s.timing.alert_settle_s:
        return
    _settings(s)
    _say_own(s)
    if MachineSlot.of_path(s.me) is None:
        found = looking.of_cloud(s, a.settings.rules)
        _adopt(s, found)
        look(a.watches, found, {name: _as_told(rule) for name, rule in a.settings.rules.items()}, s.now)
        sending.review(s)
        sending.keep_few(s)


def changed(s: Situation) -> None:
    """A document of kind `alert` came."""
    s.alerting.receivers, s.alerting.settings_of, s.alerting.next_s = None, -1, s.now


def _settings(s: Situation) -> None:
    version = s.known.version(SETTINGS)
    if s.alerting.settings_of != version:
        s.alerting.settings_of = version
        s.alerting.settings = settings_of(s.known.body(SETTINGS, Alert))


def _as_told(rule: Rule) -> Rule:
    """What a node says of itself was damped there."""
    return rule._replace(for_s=0.0, clear_s=0.0) if rule.own else rule


def _say_own(s: Situation) -> None:
    """Facts `alarm`: what only we see, once it has been so for long enough. After a start we go on from what we said before."""
    a = s.alerting
    said = {
        (rule, subject): body
        for text, about in s.known.facts.get("alarm", {}).items()
        if isinstance(body := about.get(s.me), Alarm)
        for rule, _, subject in [text.partition(":")]
    }
    for key, body in said.items():
        if key not in a.own:
            a.own[key] = Watch(s.now, Finding(body.figure, body.limit, body.why), fired_s=s.now)
    look(a.own, looking.of_own(s, a.settings.rules), a.settings.rules, s.now)
    for key, watch in list(a.own.items()):
        text = ":".join(key)
        if watch.over_s is not None:
            del a.own[key]
            s.publish("alarm", text, None, "it is over")
        elif watch.fires and key not in said and len(said) < (ALARMS_MOST if key[0] in RULES else OWN_MOST):
            # Figures are those of when it began: a fact that is said anew with each look would cost more than it tells.
            found = watch.found
            body = Alarm(since=s.wall(watch.since_s), figure=found.figure, limit=found.limit, why=found.why)
            said[key] = body
            s.publish("alarm", text, body, a.settings.rules[key[0]].means if key[0] in a.settings.rules else "")


def _adopt(s: Situation, found: Mapping[Key, Finding]) -> None:
    """After a start: what fires still, by others' word, has fired since then; and what we told ourselves is ours to end."""
    a = s.alerting
    for key, finding in found.items():
        if (
            key not in a.watches
            and s.now < s.boot_s + s.timing.alert_adopt_s
            and (since := sending.open_since(s, key)) is not None
        ):
            ago_s = max(0.0, s.wall(s.now) - since)
            a.watches[key] = Watch(s.now - ago_s, finding, fired_s=max(s.boot_s, s.now - ago_s))
    for text, about in s.known.facts.get("sent", {}).items():
        rule, _, subject = text.partition(":")
        body, key = about.get(s.me), (rule, subject)
        if isinstance(body, Sent) and key not in a.watches and key not in found and sending.is_owed(s, key, body):
            ago_s = max(0.0, s.wall(s.now) - body.since)
            a.watches[key] = Watch(
                s.now - ago_s,
                Finding(why="it fired before this node started anew"),
                fired_s=s.now - ago_s,
                round=body.round,
            )


def rows(s: Situation) -> list[AlertRow]:
    """For `alert ls`: what fires, as this node sees it."""
    told = []
    for key, watch in sorted(s.alerting.watches.items()):
        if not watch.fires:
            continue
        rule = s.alerting.settings.rules.get(key[0])
        sent = {
            name_of(node): body.told
            for node, body in sorted(s.known.about("sent", ":".join(key)).items())
            if isinstance(body, Sent) and body.round == watch.round and body.told
        }
        first = next((node for node in sending.order(s, key) if s.presence.is_up(node)), "")
        told.append(
            AlertRow(
                key[0], key[1], s.wall(watch.since_s), watch.found.figure, watch.found.limit, rule.unit if rule else "",
                watch.found.why, watch.round, s.alerting.settings.silenced_until(*key, s.wall(s.now)), sent, name_of(first),
            )
        )  # fmt: skip
    return told
