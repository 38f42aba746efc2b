"""receivers.yaml and rules.yaml: who is told when something is wrong, and of what. Read, compared, written.

What reaches a receiver is plain in the file or, better, a variable; in the cloud it is sealed.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

from skerry.client import alerts, receivers
from skerry.client.compose import values
from skerry.client.compose.section import Section, Value
from skerry.client.folder.compose_out import number, seconds
from skerry.client.folder.steps import Field, Step
from skerry.client.measures import HOSTS
from skerry.client.session import Session
from skerry.core.alerting.rules import RULES
from skerry.core.intent import Receiver, RuleSetting
from skerry.errors import BadInput
from skerry.trust.bounds import NUMBER_MAX
from skerry.trust.refusals import CannotOpen

PLAIN = (
    "to",
    "tls",
    "telegram",
)  # of what reaches a receiver, these stand in its document for all to read, or tell nothing


class ReceiverWish(msgspec.Struct, frozen=True, kw_only=True):
    """`reach`: as it will be sealed."""

    receiver: Receiver
    reach: dict[str, str]


class RuleWish(msgspec.Struct, frozen=True, kw_only=True):
    """`changes`: those fields of RuleSetting that were said."""

    changes: dict[str, Any] = {}


class Written(NamedTuple):
    """`values`: of the variables in the file."""

    said: dict[str, Any]
    values: dict[str, str]
    lost: list[str]


# --- receivers --------------------------------------------------------------------------------------------------------


def read_receiver(value: Value, section: Section) -> ReceiverWish:
    name = value.key.partition(".")[2]
    if name == alerts.RESERVED:
        value.mistake("is a name for the rules", "choose another")
    words = {key: (found.text() or "") if (found := section.get(key)) is not None else "" for key in _TEXTS}
    to = section.get("to")
    said = {kind: words[kind] for kind in receivers.KINDS}
    more = {key: words[key] for key in ("secret", "user", "tls", "api")}
    try:
        receiver, reach = receivers.receiver_of(
            name, said, sender=words["from"], to=to.texts(str) if to is not None else (), **more
        )
    except BadInput as error:
        if not any(
            told.key.startswith(f"{value.key}.") for told in value.findings.mistakes
        ):  # else it says why already
            value.mistake(error.why, error.fix)
        return ReceiverWish(receiver=Receiver(kind="webhook"), reach={})
    return ReceiverWish(receiver=receiver, reach=reach)


_TEXTS = (*receivers.KINDS, "secret", "from", "user", "tls", "api")


def receiver_steps(session: Session, wishes: dict[str, ReceiverWish]) -> list[Step]:
    """What reaches one is never shown, only that it differs."""
    there, made = alerts.receivers(session), list[Step]()
    for name, wish in wishes.items():
        if (held := there.get(name)) is None:
            made.append(Step(action="add", kind="receiver", name=name))
            continue
        fields: list[Field] = []
        if held.receiver is not None and held.receiver != wish.receiver:
            fields.append(Field("kind", _shown(held.receiver), _shown(wish.receiver)))
        if _reach(session, name) != wish.reach:
            fields.append(Field("address", "(sealed)", "(sealed, another)"))
        if missing := alerts.not_opened_to(session, held):
            fields.append(Field("not opened to", missing, []))
        if fields:
            made.append(Step(action="change", kind="receiver", name=name, fields=tuple(fields)))
    return made


def _shown(receiver: Receiver) -> str:
    return f"{receiver.kind} {receiver.at}".strip()


def _reach(session: Session, name: str) -> dict[str, str] | None:
    """None: it is not opened to this operator."""
    try:
        reach = alerts.reach_of(session, name)
    except CannotOpen:
        return None
    return {key: value for key, value in reach.items() if key != "cloud"}


def receivers_written(session: Session) -> Written:
    """What is sealed is left to variables: OPS_WEBHOOK, OPS_SECRET."""
    out = Written({}, {}, [])
    for name, body in alerts.receivers(session).items():
        assert body.receiver is not None
        reach = _reach(session, name)
        if reach is None:
            out.lost.append(f"{name}: what reaches it is not opened to this operator")
        words = receivers.in_words(body.receiver.kind, reach or {})
        said: dict[str, Any] = {}
        for key, value in words.items() if reach is not None else [(body.receiver.kind, "")]:
            if key in PLAIN:
                said[key] = (
                    value.replace("$", "$$") if isinstance(value, str) else [to.replace("$", "$$") for to in value]
                )
                continue
            variable = _variable(f"{name}_{key}", out.values)
            said[key] = f"${{{variable}}}"
            out.values[variable] = value
        out.said[name] = said
    return out


def _variable(of: str, taken: dict[str, str]) -> str:
    name = re.sub(r"[^A-Z0-9]", "_", of.upper())
    name = f"_{name}" if name[0].isdigit() else name
    while name in taken:
        name += "_"
    return name


# --- rules ------------------------------------------------------------------------------------------------------------


def read_rule(value: Value, section: Section) -> RuleWish:
    name = value.key.partition(".")[2]
    changes: dict[str, Any] = {}
    if (on := section.get("on")) is not None and (flag := on.flag()) is not None:
        changes["off"] = not flag
    for key in ("for", "clear"):
        if (time := section.get(key)) is not None and (time_s := time.read(values.duration_s)) is not None:
            changes[f"{key}_s"] = time_s
    limits = {key: found for key in ("limit", "above", "below") if (found := section.get(key)) is not None}
    for key, found in limits.items():
        if (figure := found.read(_figure if key == "limit" else _number)) is not None:
            changes["limit"] = figure
    if len(limits) > 1:
        value.mistake(f"has more than one of {', '.join(f'`{key}`' for key in limits)}", "keep one")
    if name in RULES:
        for key in OF_MEASURE:
            if (found := section.get(key)) is not None:
                found.mistake("is for rules of your own, and this one is built in", "leave it out")
        return RuleWish(changes=changes)
    return RuleWish(changes=changes | _measure(value, section))


OF_MEASURE = ("metric", "of", "host", "above", "below")


def _measure(value: Value, section: Section) -> dict[str, Any]:
    """All that a rule of one's own is: what isn't said of it is as it begins."""
    metric, of, host = section.get("metric"), section.get("of"), section.get("host")
    if metric is None:
        value.mistake("is no built-in rule, and one of your own has a `metric`", f"there are: {', '.join(RULES)}")
    elif section.get("above") is None and section.get("below") is None:
        value.mistake("has no limit", "add above: or below:")
    if of is not None and host is not None:
        host.mistake("stands beside `of`", "keep one")
    found = {"metric": metric.text() if metric is not None else "", "below": section.get("below") is not None}
    if host is not None and (word := host.text()) is not None:
        return found | {"of": HOSTS if word == "all" else f"{HOSTS}{word}"}
    return found | ({"of": of.text() or ""} if of is not None else {})


def _number(text: str) -> float:
    try:
        figure = float(text)
    except ValueError:
        figure = float("nan")
    if not -NUMBER_MAX <= figure <= NUMBER_MAX:
        raise ValueError(f"{text[:40]!r} is no figure: write it as 0.9 or 20")
    return figure


def _figure(text: str) -> float:
    try:
        figure = float(text)
    except ValueError:
        figure = -1.0
    if not 0 <= figure <= NUMBER_MAX:
        raise ValueError(f"{text[:40]!r} is no figure: write it as 0.9 or 20")
    return figure


def rule_steps(session: Session, wishes: dict[str, RuleWish]) -> list[Step]:
    body, made = alerts.settings(session), list[Step]()
    for name, wish in wishes.items():
        held = body.rules.get(name, RuleSetting()) if name in RULES else body.measures.get(name)
        if held is None:
            made.append(Step(action="add", kind="rule", name=name))
            continue
        fields = tuple(Field(f, getattr(held, f), new) for f, new in wish.changes.items() if getattr(held, f) != new)
        if fields:
            made.append(Step(action="change", kind="rule", name=name, fields=fields))
    return made


def rules_written(session: Session) -> dict[str, Any]:
    """Those that are other than built in, and those of one's own."""
    body, out = alerts.settings(session), dict[str, Any]()
    for name, by in sorted(body.rules.items()):
        said: dict[str, Any] = {"on": False} if by.off else {}
        said |= {"limit": float(number(by.limit))} if by.limit >= 0 else {}
        said |= {key: seconds(getattr(by, f"{key}_s")) for key in ("for", "clear") if getattr(by, f"{key}_s") >= 0}
        out[name] = said
    for name, it in sorted(body.measures.items()):
        said = {"on": False} if it.off else {}
        said |= {"metric": it.metric, "below" if it.below else "above": it.limit}
        if it.of.startswith(HOSTS):
            said["host"] = it.of.removeprefix(HOSTS) or "all"
        elif it.of:
            said["of"] = it.of
        out[name] = said | {"for": seconds(it.for_s), "clear": seconds(it.clear_s)}
    return out
