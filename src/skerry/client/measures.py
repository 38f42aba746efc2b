"""Rules of one's own over figures: `skerry alert rule NAME --metric …`. Checked against what there is before they are signed."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Any

import msgspec

from skerry.client import metrics
from skerry.client.alerts import change_settings, rules_of, settings
from skerry.client.apps import live
from skerry.client.session import Session
from skerry.core.alerting.rules import RULES, concerns
from skerry.core.intent import Endpoint, Measure
from skerry.core.records import Slot
from skerry.errors import BadInput, NoSuchSubject
from skerry.observe.metrics import OF_HOST, OF_SLOT
from skerry.trust.bounds import NAME
from skerry.trust.checks_alert import MEASURES_MAX

HOSTS = "node/"
_HOST, _SLOT = frozenset(m.name for m in OF_HOST), frozenset(m.name for m in OF_SLOT)


async def set_measure(session: Session, name: str, changes: dict[str, Any]) -> dict[str, Any]:
    """`changes`: fields of Measure; a new one needs `metric` and `limit`. Raises BadInput, NoSuchSubject, HostsTooOld."""
    await session.sync()
    body = settings(session)
    held = body.measures.get(name)
    if held is None:
        _may_begin(session, name, changes)
    measure = msgspec.structs.replace(held, **changes) if held is not None else Measure(**changes)
    if held is None or (held.metric, held.of) != (measure.metric, measure.of):
        measure = await _checked(session, name, measure)
    if measure != held:
        measures = {**body.measures, name: measure}
        await change_settings(session, msgspec.structs.replace(body, measures=measures))
    return next(row for row in rules_of(session) if row["rule"] == name)


async def rm(session: Session, name: str) -> dict[str, Any]:
    """Raises BadInput."""
    await session.sync()
    body = settings(session)
    if name not in body.measures:
        why = "it is built in: --off, or --reset" if name in RULES else f"there are: {_list(body.measures)}"
        raise BadInput(f"rule {name} was not removed", why, "see skerry alert rules")
    measures = {other: it for other, it in body.measures.items() if other != name}
    await change_settings(session, msgspec.structs.replace(body, measures=measures))
    return {"rule": name, "removed": True}


def refuse_for_built_in(name: str, fields: Collection[str]) -> None:
    """Raises BadInput where a built-in rule is to look at a figure."""
    if fields:
        raise BadInput(
            f"rule {name} is unchanged", "it is built in, and looks at no figure", "change its limit or times"
        )


def _may_begin(session: Session, name: str, changes: dict[str, Any]) -> None:
    what = f"rule {name[:80]} was not added"
    if not NAME.fullmatch(name):
        raise BadInput(what, "a name has 1 to 63 of a-z, 0-9 and -, no - first", "choose another name")
    if name in RULES:
        raise BadInput(what, "that is the name of a built-in rule, which looks at no figure", "choose another name")
    if changes.get("metric") is None or changes.get("limit") is None:
        known = f"there is no rule {name[:80]}; there are: {_list([*RULES, *settings(session).measures])}"
        raise BadInput(what, known, "a rule of your own needs --metric, and --above or --below")
    if len(settings(session).measures) >= MEASURES_MAX:
        raise BadInput(what, f"there are {MEASURES_MAX} already", "remove one: skerry alert rule NAME --rm")


async def _checked(session: Session, name: str, measure: Measure) -> Measure:
    """What it looks at is there. A figure that only hosts have is looked at on every host, where nothing else was said."""
    metric, of = measure.metric, measure.of
    what = f"rule {name} was not signed"
    if of == "" and metric in _HOST - _SLOT:
        measure, of = msgspec.structs.replace(measure, of=HOSTS), HOSTS
    on_host = of.startswith(HOSTS)
    _known_subject(session, what, of)
    if metric in (_HOST if on_host else _SLOT):
        return measure
    if metric in _HOST | _SLOT:
        raise BadInput(
            what, f"{metric} is a figure of {'slots' if on_host else 'hosts'} alone", "docs/metrics.md has all"
        )
    told = {} if on_host else _endpoints(session, of)
    named = {figure for endpoint in told.values() for figure in endpoint.names}
    if metric in named:
        return measure
    if any(not endpoint.names for endpoint in told.values()):  # then only who runs it can say
        answer = await metrics.query(session, [], [metric])
        if any(concerns(of, series.subject) for series in answer.series):
            return measure
    known = sorted({*(_HOST if on_host else _SLOT), *named})
    near = difflib.get_close_matches(metric[:200], known, 3, 0.6)
    raise BadInput(
        what,
        f"nothing tells a figure {metric[:80]!r}",
        f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known)}",
    )


def _known_subject(session: Session, what: str, of: str) -> None:
    if of in ("", HOSTS):
        return
    if of.startswith(HOSTS):
        known = sorted(path.removeprefix(HOSTS) for path in session.nodes)
        there = of in session.nodes
    else:
        apps = live(session)
        services = [f"{name}.{service}" for name, app in apps.items() for service in app.services]
        known = sorted([*apps, *services])
        there = of in known or ((slot := Slot.read(of)) is not None and f"{slot.app}.{slot.service}" in services)
    if not there:
        raise NoSuchSubject(what, f"nothing is called {of.removeprefix(HOSTS)[:80]!r}; there are: {_list(known)}", "")


def _endpoints(session: Session, of: str) -> dict[str, Endpoint]:
    """Service -> where its replicas tell figures of their own."""
    return {
        f"{app}.{name}": service.metrics
        for app, body in live(session).items()
        for name, service in body.services.items()
        if service.metrics is not None and _overlap(of, f"{app}.{name}")
    }


def _overlap(of: str, service: str) -> bool:
    return concerns(of, f"{service}/0") or of.startswith(f"{service}/")


def _list(names: Any) -> str:
    return ", ".join(names) or "none"
