"""The built-in rules, what operators made of them, and rules of their own over figures. Values only.

A rule fires once what it looks for has been so for `for_s` without a break, and is over once it has not been so for `clear_s`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from skerry.core.intent import Alert, Measure, RuleSetting, Silence

SETTINGS = "alert/rules"  # where operators say how rules differ; every other alert/<name> is a receiver


class Rule(NamedTuple):
    """`own`: each node sees this of itself alone, and says so (fact `alarm`). `unit`: of figure and limit."""

    name: str
    means: str
    for_s: float
    clear_s: float
    limit: float = 0.0
    unit: str = ""
    own: bool = False
    look: str = "skerry events"
    measure: Measure | None = None  # of operators' own

    def is_beyond(self, figure: float) -> bool:
        return figure < self.limit if self.measure is not None and self.measure.below else figure > self.limit


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("host-silent", "a host is down or can't be reached", 30.0, 30.0, look="skerry explain {subject}"),
        Rule("voters", "not enough voters answer: no exclusive slot starts, and what runs ends with its lease", 15.0, 15.0,
             look="skerry host voters ls"),
        Rule("no-replica", "slots of a service have no healthy replica", 60.0, 30.0, look="skerry explain {subject}"),
        Rule(
            "restart-loop", "a container was started anew more often than this in 10 minutes", 0.0, 300.0, 5.0,
            own=True, look="skerry logs {subject}",
        ),
        Rule("disk", "a host's disk is fuller than this", 300.0, 60.0, 0.9, "share", own=True, look="skerry status"),
        Rule(
            "memory", "something waited for memory for more than this share of the time (PSI)", 300.0, 60.0, 0.2,
            "share", own=True, look="skerry status",
        ),
        Rule("certificate", "a signed document expires in fewer days", 0.0, 0.0, 14.0, "days", look="skerry doctor"),
        Rule("clock", "a host's clock is further off its neighbours'", 60.0, 60.0, 10.0, "s", own=True, look="skerry doctor"),
        Rule("unknown-machine", "a machine bears the cloud's tag and belongs to no slot", 0.0, 60.0, own=True,
             look="skerry machine ls"),
        Rule("budget", "a pool's ceiling of money is reached", 0.0, 300.0, own=True, look="skerry machine pool ls"),
        Rule("misdeed", "a host or a client does what no honest one does", 0.0, 600.0, own=True,
             look="skerry events --kind misdeed"),
        Rule("refused", "a false signature was refused", 0.0, 600.0, own=True, look="skerry events --kind refused"),
    )
}  # fmt: skip


class Settings(NamedTuple):
    """What is in force: rules that are on, by name, and what is silenced."""

    rules: Mapping[str, Rule]
    silences: tuple[Silence, ...] = ()

    def silenced_until(self, rule: str, subject: str, wall: float) -> float:
        """Unix seconds; 0.0: it isn't."""
        meant = (
            q.until for q in self.silences if q.rule in ("", rule) and q.subject in ("", subject) and q.until > wall
        )
        return max(meant, default=0.0)


def settings_of(body: Alert | None) -> Settings:
    if body is None or body.deleted:
        return Settings(RULES)
    rules = {
        name: _changed(rule, body.rules.get(name))
        for name, rule in RULES.items()
        if not (name in body.rules and body.rules[name].off)
    }
    own = {name: _of_measure(name, it) for name, it in body.measures.items() if not it.off and name not in RULES}
    return Settings({**rules, **own}, body.silences)


def _of_measure(name: str, it: Measure) -> Rule:
    look = f"skerry metrics {{subject}} --name {it.metric}"
    return Rule(name, in_words(it), it.for_s, it.clear_s, it.limit, own=True, look=look, measure=it)


def in_words(it: Measure) -> str:
    of = {"": "a slot", "node/": "a host"}.get(it.of, it.of.removeprefix("node/"))
    return f"{it.metric} of {of} is {'below' if it.below else 'above'} {it.limit:g}"


def concerns(of: str, subject: str) -> bool:
    """Whether a measure looks at this slot ("shop.web/0") or host ("node/vps-1")."""
    if subject.startswith("node/"):
        return of in ("node/", subject)
    service = subject.partition("/")[0]
    return of in ("", subject, service, service.partition(".")[0])


def _changed(rule: Rule, by: RuleSetting | None) -> Rule:
    if by is None:
        return rule
    return rule._replace(
        limit=by.limit if by.limit >= 0 else rule.limit,
        for_s=by.for_s if by.for_s >= 0 else rule.for_s,
        clear_s=by.clear_s if by.clear_s >= 0 else rule.clear_s,
    )
