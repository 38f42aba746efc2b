"""`skerry alert`: receivers, rules and silences, as documents that operators sign; and what fires, asked of a host.

What it takes to reach a receiver, its address included, is sealed to every fixed host and every operator, and to nobody else.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection
from typing import Any

import msgspec

from skerry.client.session import Session
from skerry.client.widening import HostsTooOld, hosts_know, narrow, widened
from skerry.core.alerting.rules import RULES, SETTINGS, in_words
from skerry.core.intent import Alert, Body, Node, Receiver, RuleSetting, Silence
from skerry.core.records import MachineSlot
from skerry.errors import BadInput, NoSuchSubject, Refusal, Unreachable
from skerry.observe.metrics import OF_HOST, OF_SLOT
from skerry.outside import UNREADABLE
from skerry.trust import seal
from skerry.trust.bounds import NAME, SUBJECT
from skerry.trust.refusals import CannotOpen

RESERVED = SETTINGS.removeprefix("alert/")


class ReceiverTaken(Refusal):
    code = "receiver-taken"
    exit_code = 2


async def add(
    session: Session, name: str, receiver: Receiver, reach: dict[str, str], *, replace: bool = False
) -> dict[str, Any]:
    """Raises BadInput, ReceiverTaken, HostsTooOld."""
    await session.sync()
    if not NAME.fullmatch(name) or name == RESERVED:
        why = "that name is for the rules" if name == RESERVED else "a name has 1 to 63 of a-z, 0-9 and -, no - first"
        raise BadInput(f"receiver {name} was not added", why, "choose another name, such as ops")
    if name in receivers(session) and not replace:
        raise ReceiverTaken(
            f"receiver {name} was not added", "there is one of that name", "add --replace, or another name"
        )
    body = Alert(receiver=receiver, boxes=sealed(session, {**reach, "cloud": session.name}))
    await _change(session, f"alert/{name}", body)
    return {"receiver": name, "kind": receiver.kind, "at": receiver.at, "opened_to": _holders(body)}


async def rm(session: Session, name: str) -> dict[str, Any]:
    """Raises NoSuchSubject."""
    await session.sync()
    if name not in receivers(session):
        known = ", ".join(receivers(session)) or "none"
        raise NoSuchSubject(f"there is no receiver {name}", f"this cloud has: {known}", "see skerry alert ls")
    await session.change([(f"alert/{name}", Alert(deleted=True))])
    return {"receiver": name, "removed": True}


async def silence(session: Session, rule: str, subject: str, until: float) -> dict[str, Any]:
    """Until then (unix seconds) nothing is sent of it; 0: no silence any more. Raises BadInput."""
    await session.sync()
    _known_rule(rule, settings(session).measures)
    if subject and not SUBJECT.fullmatch(subject):
        raise BadInput(f"{subject!r} was not silenced", "it is no subject of an alert", "see skerry alert ls")
    body, now_s = settings(session), time.time()
    kept = tuple(q for q in body.silences if q.until > now_s and (q.rule, q.subject) != (rule, subject))
    new = (Silence(until=round(until), rule=rule, subject=subject),) if until else ()
    await _change(session, SETTINGS, msgspec.structs.replace(body, silences=(*kept, *new)))
    return {"rule": rule, "subject": subject, "until": until}


async def set_rule(session: Session, rule: str, changes: dict[str, Any], *, reset: bool = False) -> dict[str, Any]:
    """`changes`: fields of RuleSetting. Raises BadInput."""
    await session.sync()
    _known_rule(rule)
    body = settings(session)
    held = RuleSetting() if reset else body.rules.get(rule, RuleSetting())
    changed = msgspec.structs.replace(held, **changes)
    others = {name: setting for name, setting in body.rules.items() if name != rule}
    rules = others if changed == RuleSetting() else {**others, rule: changed}
    if rules != body.rules:
        await _change(session, SETTINGS, msgspec.structs.replace(body, rules=rules))
    return next(row for row in rules_of(session) if row["rule"] == rule)


async def firing(session: Session) -> dict[str, Any]:
    """What fires, as the first host that answers sees it; the receivers and the silences."""
    await session.sync(1)
    whys: list[str] = []
    for seen_by in _all_fixed(session):
        try:
            rows = [row for row in await session.request("alerts", node=seen_by) if isinstance(row, dict)]
            break
        except Unreachable as error:
            whys.append(f"{seen_by.removeprefix('node/')}: {error.why or error}")
    else:
        raise session.unreached(whys)
    now_s = time.time()
    return {
        "seen_by": seen_by.removeprefix("node/"),
        "firing": rows,
        "receivers": receiver_rows(session),
        "silences": [msgspec.to_builtins(q) for q in settings(session).silences if q.until > now_s],
    }


async def test(session: Session, name: str = "", host: str = "") -> list[dict[str, Any]]:
    """What the receivers answered. Raises NoSuchSubject."""
    await session.sync(1)
    if not receivers(session):
        raise NoSuchSubject("there is no receiver to test", "", "add one: skerry alert add ops --webhook URL")
    return list(
        await session.request("alert-test", {"subject": name}, node=f"node/{host}" if host else _fixed(session))
    )


def rules_of(session: Session) -> list[dict[str, Any]]:
    """All rules as they are in force: built-in ones, then those of one's own."""
    body = settings(session)
    rows = _built_in(body)
    units = {metric.name: metric.unit for metric in (*OF_HOST, *OF_SLOT)}
    for name, it in body.measures.items():
        rows.append(
            {
                "rule": name, "on": not it.off, "limit": it.limit, "unit": units.get(it.metric, ""), "for_s": it.for_s,
                "clear_s": it.clear_s, "means": in_words(it), "metric": it.metric, "of": it.of, "below": it.below,
            }
        )  # fmt: skip
    return rows


def _built_in(body: Alert) -> list[dict[str, Any]]:
    rows = []
    for name, rule in RULES.items():
        by = body.rules.get(name, RuleSetting())
        rows.append(
            {
                "rule": name, "on": not by.off, "limit": by.limit if by.limit >= 0 else rule.limit, "unit": rule.unit,
                "for_s": by.for_s if by.for_s >= 0 else rule.for_s,
                "clear_s": by.clear_s if by.clear_s >= 0 else rule.clear_s, "means": rule.means,
            }
        )  # fmt: skip
    return rows


def receivers(session: Session) -> dict[str, Alert]:
    return {
        d.path.removeprefix("alert/"): d.body
        for d in session.documents("alert")
        if isinstance(d.body, Alert) and d.body.receiver is not None and not d.body.deleted
    }


def receiver_rows(session: Session) -> list[dict[str, Any]]:
    return [
        {
            "receiver": name,
            "kind": body.receiver.kind,
            "at": body.receiver.at,
            "not_opened_to": not_opened_to(session, body),
        }
        for name, body in receivers(session).items()
        if body.receiver is not None
    ]


def settings(session: Session) -> Alert:
    document = session.document(SETTINGS)
    return document.body if document is not None and isinstance(document.body, Alert) else Alert()


# --- who may read an address ------------------------------------------------------------------------------------------


def sealed(session: Session, reach: dict[str, str]) -> dict[str, str]:
    """For every fixed host and every operator."""
    holders = {operator.key: operator.sealing for operator in session.trusted.operators()}
    holders |= {
        path: d.body.sealing
        for path, d in session.nodes.items()
        if isinstance(d.body, Node) and MachineSlot.of_path(path) is None
    }
    data = msgspec.json.encode(reach, order="sorted")
    return {holder: seal.make_box(data, key, secrets.token_bytes(32)) for holder, key in holders.items()}


def opened_to(session: Session, holder: str, sealing: str) -> list[tuple[str, Body]]:
    """The receivers, opened to one more fixed host or operator. Those that this operator can't open are left as they are."""
    changes: list[tuple[str, Body]] = []
    for name, body in receivers(session).items():
        if (box := body.boxes.get(session.signer.key)) is not None:
            data = seal.open_token(session.own.sealing, box).encode()
            boxes = {**body.boxes, holder: seal.make_box(data, sealing, secrets.token_bytes(32))}
            changes.append((f"alert/{name}", msgspec.structs.replace(body, boxes=boxes)))
    return changes


def reach_of(session: Session, name: str) -> dict[str, str]:
    """What it takes to reach a receiver. Raises CannotOpen where it is not opened to this operator."""
    box = receivers(session)[name].boxes.get(session.signer.key)
    if box is None:
        raise CannotOpen(f"what reaches {name} was not read", "it is not opened to this operator", "another one has to")
    try:
        return msgspec.json.decode(seal.open_token(session.own.sealing, box), type=dict[str, str])
    except UNREADABLE:
        raise CannotOpen(
            f"what reaches {name} was not read", "what is in its box is no address", "add it again"
        ) from None


def readable_by(session: Session, holder: str) -> list[str]:
    """Receivers whose address this host or operator could read."""
    return sorted(name for name, body in receivers(session).items() if holder in body.boxes)


def _holders(body: Alert) -> list[str]:
    return sorted(holder.removeprefix("node/") for holder in body.boxes if holder.startswith("node/"))


def not_opened_to(session: Session, body: Alert) -> list[str]:
    """Fixed hosts that can't reach this receiver."""
    fixed = [path for path in session.nodes if MachineSlot.of_path(path) is None]
    return sorted(path.removeprefix("node/") for path in fixed if path not in body.boxes)


def _all_fixed(session: Session) -> list[str]:
    """A machine of a pool looks at nothing but itself, and can open no address."""
    return [path for path in session.candidates() if MachineSlot.of_path(path) is None]


def _fixed(session: Session) -> str | None:
    return next(iter(_all_fixed(session)), None)


def _known_rule(rule: str, more: Collection[str] = ()) -> None:
    if rule and rule not in RULES and rule not in more:
        raise BadInput(f"there is no rule {rule}", f"there are: {', '.join([*RULES, *more])}", "see skerry alert rules")


async def change_settings(session: Session, body: Alert) -> None:
    """Sign the rules and silences anew. Raises HostsTooOld."""
    await _change(session, SETTINGS, body)


async def _change(session: Session, path: str, body: Alert) -> None:
    """In a cloud that is older than alerts the operators' role is widened in the same step. Raises HostsTooOld."""
    changes: list[tuple[str, Body]] = [(path, body)]
    if "alert" in narrow(session.policy):
        said: list[str] = []
        if not await hosts_know(session, ["alert"], said.append):
            raise HostsTooOld(
                f"{path} was not signed", "; ".join(said), "upgrade the hosts' agents: skerry host upgrade --all"
            )
        changes.insert(0, ("policy", widened(session.policy)))
    await session.change(changes)
