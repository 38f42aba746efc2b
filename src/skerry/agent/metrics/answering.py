"""What is asked about figures, answered out of the rings: which subjects are meant and may be seen, which ring, which steps.

Bounded: an answer that would be too large is refused, and says what to ask for instead.
"""

from __future__ import annotations

import asyncio
import math
from typing import Annotated, Any

import msgspec

from skerry.agent.metrics.keeping import Metrics
from skerry.core.constraints import name_of
from skerry.core.records import is_meant, path_of
from skerry.errors import BadInput
from skerry.observe.metrics import OF_HOST, OF_SLOT
from skerry.observe.ringfile import Block
from skerry.observe.rings import RINGS, Column, finest
from skerry.trust.requests import Request

VALUES_MAX = 500_000
AT_ONCE = 20_000  # values that are read before others have their turn
DAY_S = 86400.0
KINDS = {metric.name: (metric.kind, metric.unit) for metric in (*OF_HOST, *OF_SLOT)}


class Query(msgspec.Struct, forbid_unknown_fields=True):
    """`since`, `until`: unix seconds; `since` 0 or less: seconds back from now; `until` 0: now. `step_s` 0: the finest there is.

    `subjects`: slots, services, apps, hosts; none: all that may be seen. `names`: none: all.
    """

    subjects: Annotated[list[str], msgspec.Meta(max_length=1000)] = []
    names: Annotated[list[str], msgspec.Meta(max_length=1000)] = []
    since: float = -900.0
    until: float = 0.0
    step_s: Annotated[int, msgspec.Meta(ge=0, le=30 * 86400)] = 0


class TooMuchAsked(BadInput):
    """The answer would be too large."""

    code = "too-much-asked"


async def answer(metrics: Metrics, query: Query, request: Request) -> dict[str, Any]:
    """Raises TooMuchAsked, BadInput, and VerbNotAllowed for a subject that is named and may not be seen."""
    if not all(math.isfinite(at) for at in (query.since, query.until)):
        raise BadInput("figures were not shown", "since and until have to be numbers", "")
    now_s = metrics.at_s + 1
    until_s = min(query.until, now_s) if query.until > 0 else now_s
    since_s = now_s + query.since if query.since <= 0 else query.since
    n = finest(now_s - since_s)
    while n + 1 < len(RINGS) and RINGS[n + 1].step_s <= query.step_s:
        n += 1
    ring = RINGS[n]
    many = max(1, query.step_s // ring.step_s)  # steps of the ring that become one
    step_s = ring.step_s * many
    since = max(math.floor(since_s / step_s) * many, math.floor(now_s / step_s) * many - ring.steps)
    until = max(since, math.floor(until_s / ring.step_s))
    seen = _seen(metrics, query, request)
    wanted = [(block, _columns(block, query.names)) for block in seen]
    count = sum(len(columns) for _, columns in wanted) * (until - since)
    if count > VALUES_MAX:
        raise TooMuchAsked(
            f"{name_of(metrics.me)} did not show its figures",
            f"they would be {count} values, {VALUES_MAX} are allowed at once",
            "ask for fewer subjects or names, or a shorter time: --name, --since, --until",
        )
    series, read = [], 0
    for block, columns in wanted:
        found = block.rings.read(n, since, until, columns)
        subject, kept, own = block.header.subject, block.header.columns, bool(block.header.part)
        series += [_series(subject, kept[at], values, many, own) for at, values in zip(columns, found, strict=True)]
        read += len(columns) * (until - since)
        if read > AT_ONCE:
            read = 0
            await asyncio.sleep(0)
    unknown = metrics.sampler.unknown()
    return {
        "node": name_of(metrics.me),
        "step_s": step_s,
        "start": since * ring.step_s,
        "series": series,
        "unknown": {name: why for name, why in unknown.items() if not query.names or name in query.names},
        "dropped": {
            s: why
            for s, why in metrics.troubles().items()
            if _is_asked(metrics.me, s, query.subjects) and _may(request, s)
        },
    }


def _seen(metrics: Metrics, query: Query, request: Request) -> list[Block]:
    """Who names what it may not see is refused; who names nothing, or a name that others have too, gets what it may see."""
    asked = [block for block in metrics.blocks() if _is_asked(metrics.me, block.header.subject, query.subjects)]
    seen = [block for block in asked if _may(request, block.header.subject)]
    for target in query.subjects:
        meant = [block.header.subject for block in asked if _is_asked(metrics.me, block.header.subject, [target])]
        if meant and not any(_may(request, subject) for subject in meant):
            request.must("observe", path_of(meant[0]))
    return seen


def _is_asked(me: str, subject: str, targets: list[str]) -> bool:
    if subject == me:
        return not targets or name_of(me) in targets or me in targets
    return is_meant(targets, subject)


def _may(request: Request, subject: str) -> bool:
    return request.may("observe", path_of(subject))


def _columns(block: Block, names: list[str]) -> list[int]:
    return [at for at, column in enumerate(block.header.columns) if not names or column.name in names]


def _series(subject: str, column: Column, values: list[float], many: int, own: bool) -> dict[str, Any]:
    if many > 1:
        values = [_mean(values[at : at + many]) for at in range(0, len(values), many)]
    kind, unit = (
        KINDS.get(column.name, ("gauge", "")) if not own else (column.kind, "1/s" if column.kind == "rate" else "")
    )
    return {
        "name": column.name,
        "subject": subject,
        "kind": kind,
        "unit": unit,
        "labels": dict(column.labels),
        "values": [None if value != value else value for value in values],
    }


def _mean(values: list[float]) -> float:
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else math.nan
