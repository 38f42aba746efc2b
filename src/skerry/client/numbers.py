"""How many replicas, by hand: of a service that follows the load another number means other bounds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from skerry.client.compose.scaling import REPLICAS_MAX, conflicts
from skerry.client.compose.schedule import in_words, line
from skerry.client.session import Session
from skerry.core.intent import App, Scale, Service
from skerry.core.scaling import bounds
from skerry.errors import BadInput, NoSuchSubject, SkerryError


class NotScaled(BadInput):
    """It does not follow the load, so it has a number and no bounds."""

    code = "not-scaled"


class BadBounds(BadInput):
    """A service can't be scaled within these bounds."""

    code = "bad-bounds"


def pinned(service: Service, replicas: int) -> Service:
    """So many, whatever the load is. Where it follows the load: until other bounds are set, or the file is deployed again.

    Schedules would move it, and go. None at all is not for a scale to say: a connection would wake it.
    """
    scale = service.scale
    if scale is not None:
        scale = msgspec.structs.replace(scale, min=replicas, max=replicas, schedules=()) if replicas else None
    return msgspec.structs.replace(service, replicas=replicas, scale=scale)


def bounded(
    name: str, service: Service, app: App, least: int | None, most: int | None, schedules: Sequence[str] | None = None
) -> Service:
    """Between other bounds; `schedules`: lines such as "weekdays 8-20: min 3", instead of those that it has.

    Raises NotScaled, BadBounds.
    """
    scale = service.scale
    if scale is None:
        raise NotScaled(
            f"{name} was not scaled",
            "it does not follow the load",
            f"give a number: skerry scale {name}={max(least or 1, 1)}; or write x-skerry: scale: and deploy",
        )
    low, high = scale.min if least is None else least, scale.max if most is None else most
    if not low <= high or not 1 <= high <= REPLICAS_MAX:
        raise BadBounds(
            f"{name} was not scaled", f"{low} to {high} are no bounds", f"min ≤ max, and max is 1 to {REPLICAS_MAX}"
        )
    try:
        times = scale.schedules if schedules is None else tuple(line(text) for text in schedules)
    except ValueError as error:
        raise BadBounds(f"{name} was not scaled", str(error), "such as: weekdays 8-20: min 3") from None
    changed = msgspec.structs.replace(
        service,
        scale=msgspec.structs.replace(scale, min=low, max=high, schedules=times),
        replicas=max(low, min(high, service.replicas)),
    )
    for what, fix in conflicts(changed, app.volumes):
        raise BadBounds(f"{name} was not scaled", what, fix)
    return changed


def told(service: Service) -> str:
    """In words: "3", or "2 to 8"."""
    scale = service.scale
    if scale is None:
        return str(service.replicas)
    return str(scale.min) if scale.min == scale.max else f"{scale.min} to {scale.max}"


async def scalings(session: Session, subject: str = "") -> list[dict[str, Any]]:
    """Every service that follows the load (of an app, or the one that is meant): how many replicas it has now, and why."""
    try:
        return [dict(row) for row in await session.request("scaling", {"subject": subject})]
    except SkerryError as error:
        if error.code != "unknown-verb":  # an agent of before there was this
            raise
        return []


async def explain_scale(session: Session, subject: str) -> dict[str, Any]:
    """{service: figures, wishes, bounds, number}. Raises NoSuchSubject."""
    rows = await scalings(session, subject)
    if not rows:
        raise NoSuchSubject(
            f"there is nothing to explain about the scale of {subject}",
            "it is no service or app here that follows the load",
            "x-skerry: scale: in the compose file makes it one; see skerry ps",
        )
    return {
        f"{row['app']}.{row['service']}": row | {"in_force": _in_force(msgspec.convert(row["scale"], Scale))}
        for row in rows
    }


def _in_force(scale: Scale) -> list[str]:
    """Which schedules hold now, in words."""
    on, off = 1, 2
    return [
        in_words(schedule)
        for schedule in scale.schedules
        if bounds(Scale(min=0, max=off, schedules=(msgspec.structs.replace(schedule, min=-1, max=on),)), time.time())[1]
        == on
    ]
