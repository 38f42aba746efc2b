"""Figures of slots and hosts, asked of all hosts at once and laid together; who did not answer is told beside them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from skerry.client.apps import live
from skerry.client.session import Session
from skerry.core.records import Slot
from skerry.errors import BadFormat, NoSuchSubject, Refusal, SkerryError

VALUES_MAX = 1_000_000  # of one host
_NAME = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]{0,199}")


class Series(msgspec.Struct, frozen=True):
    """`subject`: a slot ("guestbook.web/0") or a host ("node/vps-1"). `values`: from `start` (unix s) on, one each `step_s`; None
    where it is unknown. A slot that moved has a series on each host that it was on.
    """

    host: str
    subject: str
    name: str
    start: float
    step_s: int
    values: list[float | None]
    kind: Literal["gauge", "rate"] = "gauge"
    unit: str = ""
    labels: dict[str, str] = {}

    @property
    def last(self) -> float | None:
        """The newest that is known."""
        return next((value for value in reversed(self.values) if value is not None), None)


class Answer(msgspec.Struct, frozen=True):
    """`missing`: host -> why nothing of it is here. `unknown`: host -> figure -> why it can't be known there. `dropped`: host ->
    subject -> why its history is not there any more.
    """

    series: list[Series]
    missing: dict[str, str] = {}
    unknown: dict[str, dict[str, str]] = {}
    dropped: dict[str, dict[str, str]] = {}

    def as_dict(self) -> dict[str, Any]:
        return dict(msgspec.to_builtins(self))


class _Told(msgspec.Struct):
    name: str
    subject: str
    values: list[float | None]
    kind: Literal["gauge", "rate"] = "gauge"
    unit: str = ""
    labels: dict[str, str] = {}


class _Answer(msgspec.Struct):
    step_s: int
    start: float
    series: list[_Told]
    unknown: dict[str, str] = {}
    dropped: dict[str, str] = {}


async def query(
    session: Session,
    subjects: Sequence[str] = (),
    names: Sequence[str] = (),
    *,
    since: float = -900.0,
    until: float = 0.0,
    step_s: int = 0,
) -> Answer:
    """`since` 0 or less: seconds back from now. `step_s` 0: the finest that goes back so far.

    Raises Unreachable when no host answered, what all of them refused, and NoSuchSubject for a subject that none of them knows,
    if all answered.
    """
    args = {"subjects": [*subjects], "names": [*names], "since": since, "until": until, "step_s": step_s}
    answers = await session.everywhere("metrics", args)
    found: list[Series] = []
    missing: dict[str, str] = {}
    unknown: dict[str, dict[str, str]] = {}
    dropped: dict[str, dict[str, str]] = {}
    refused: list[SkerryError] = []
    for node, told in answers.items():
        host = node.removeprefix("node/")
        try:
            answer = _read(told, host)
        except SkerryError as error:
            missing[host] = str(error)
            refused += [error] if isinstance(error, Refusal) else []
            continue
        found += [
            Series(host, s.subject, s.name, answer.start, answer.step_s, s.values, s.kind, s.unit, s.labels)
            for s in answer.series
        ]
        unknown |= {host: answer.unknown} if answer.unknown else {}
        dropped |= {host: answer.dropped} if answer.dropped else {}
    if len(missing) == len(answers):
        raise refused[0] if refused else session.unreached([f"{host}: {why}" for host, why in missing.items()])
    if subjects and not names and not found and not missing and not dropped:
        raise NoSuchSubject(
            f"there are no figures of {', '.join(subjects)}",
            "no slot, service, app or host is called so, or it never ran where it is asked about",
            "see skerry ps and skerry host ls",
        )
    return Answer(found, missing, unknown, dropped)


def endpoints(session: Session) -> dict[tuple[str, str], tuple[int, str]]:
    """(app, service) -> port and path, of those whose replicas tell figures of their own; as far as is known here."""
    return {
        (app, name): (service.metrics.port, service.metrics.path)
        for app, body in live(session).items()
        for name, service in body.services.items()
        if service.metrics is not None
    }


def _read(told: Any, host: str) -> _Answer:
    """What a host answered; a captured one may answer anything. Raises BadFormat, or the error that it is."""
    if isinstance(told, SkerryError):
        raise told
    try:
        answer = msgspec.convert(told, _Answer)
    except (msgspec.ValidationError, RecursionError) as error:
        raise BadFormat(f"{host} was not understood", str(error), "it may be of another version, or captured") from None
    if sum(len(series.values) for series in answer.series) > VALUES_MAX or answer.step_s < 1:
        raise BadFormat(f"{host} was not understood", "it told more values than any host keeps", "it may be captured")
    for series in answer.series:
        if not (_NAME.fullmatch(series.name) and (series.subject == f"node/{host}" or Slot.read(series.subject))):
            why = f"it told {series.name[:40]!r} of {series.subject[:80]!r}"
            raise BadFormat(f"{host} was not understood", why, "it may be captured")
    return answer
