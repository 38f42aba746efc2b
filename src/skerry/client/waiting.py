"""Watching a version become what runs, or fail. What is asked is a host's `ps`; told apart by version, never by image alone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any

from skerry.client import views
from skerry.client.numbers import scalings
from skerry.client.session import Session
from skerry.core.canary import steps_of
from skerry.core.intent import App, Service
from skerry.errors import NotInTime, Refusal, SkerryError

LOOK_S = 0.5  # between two looks at who has an image
TROUBLED = ("exited", "failed")
ASLEEP = "asleep"
Progress = Callable[[str], None]
Versions = tuple[int, int]  # of the app document and of the release


class Superseded(Refusal):
    """A newer release of the app was signed while this one rolled out: nobody will see it run everywhere."""

    code = "superseded"


class RolloutFailed(Refusal):
    """The new version failed: what the hosts saw of it, and what they did then."""

    code = "rollout-failed"


def held_versions(session: Session, app: str) -> Versions:
    """Of the newest documents that this operator has verified."""
    documents = (session.document(f"app/{app}"), session.document(f"release/{app}"))
    first, second = (document.version if document is not None else 0 for document in documents)
    return first, second


def is_known(row: dict[str, Any], versions: Versions) -> bool:
    """Whether the host that answered knows these documents: until then it tells of what was before."""
    parts = row["wanted"].split(".")
    return len(parts) == 2 and all(int(part) >= version for part, version in zip(parts, versions, strict=True))


async def wait_healthy(
    session: Session,
    app: str,
    wanted: App,
    versions: Versions,
    timeout_s: float,
    progress: Progress,
    *,
    only: str = "",
    images: Mapping[str, str] = {},
) -> list[dict[str, Any]]:
    """Wait until each replica runs that version and is healthy, or, a job, is done. `only`: the service to wait for, else all.
    `images`: service -> digest; which hosts have it by now is told, too.

    `timeout_s`: beside what the holds of a canary take. Raises RolloutFailed and Superseded as soon as the hosts say so,
    NotInTime (it goes on by itself).
    """
    every = {name for name, s in wanted.services.items() if only in ("", name) and s.placement.every_node}
    fixed = sum(
        s.replicas
        for name, s in wanted.services.items()
        if only in ("", name) and s.scale is None and name not in every
    )
    scaled = {name for name, s in wanted.services.items() if only in ("", name) and s.scale is not None}
    deadline_s = time.monotonic() + timeout_s + holds_s(wanted, only)
    said: set[str] = set()

    def say(line: str) -> None:
        if line not in said:
            said.add(line)
            progress(line)

    spreading = _Spreading(session, images, say)
    async with aclosing(views.changes(session, app)) as changes:
        async for told in changes:
            rows = [row for row in told if only in ("", row["service"])]
            numbers = await _numbers(session, app, versions) if scaled else {}
            total = (
                fixed
                + sum(row["service"] in every and not _is_away(row) for row in rows)
                + sum(numbers.get(name, 1) for name in scaled)
            )
            known = bool(rows or not total) and all(is_known(row, versions) for row in rows if row["wanted"])
            done = [row for row in rows if known and (row["healthy"] or row["finished"]) and not row["outdated"]]
            if newer := next((row for row in rows if known and _release_of(row) > versions[1]), None):
                raise Superseded(
                    f"{app}: a newer release was signed while this one rolled out",
                    f"version {newer['wanted']} is wanted now, and not {versions[0]}.{versions[1]}",
                    f"see how it goes: skerry ps {app}",
                )
            if known:
                for row in rows:
                    if row["state"] == ASLEEP:
                        say(f"{row['service']} is at zero: this version starts at its next connection")
                    if row["state"] in TROUBLED and not row["finished"]:
                        say(f"{row['slot']} on {row['node']} {row['state']}: {row['why']}")
                _judge(app, wanted, rows, say)
                await spreading.look(rows)
                for row in rows:
                    if row.get("canary"):
                        say(trying(row))
                say(f"{len(done)} of {total} replicas healthy")
                for name, service in wanted.services.items():
                    if line := _waits_for_monitor(
                        name, service, [row for row in rows if row["service"] == name], versions
                    ):
                        say(line)
            if known and len(done) >= total and not any(row["outdated"] for row in rows):
                return rows
            if time.monotonic() > deadline_s:
                late = [_late(row) for row in rows if row not in done]
                raise NotInTime(
                    f"{app} is not healthy yet after {timeout_s:.0f} s",
                    "\n".join(late) or "the hosts do not know of it yet",
                    f"it goes on by itself: skerry ps {app} --watch; why: skerry explain {app}",
                )
    raise AssertionError("rows are followed until one of these")


def _waits_for_monitor(name: str, service: Service, rows: list[dict[str, Any]], versions: Versions) -> str:
    """What is told while only the last replica is left to go, which stops first (core/turns.py); "" at any other time."""
    update, left = service.update, [row for row in rows if row["outdated"]]
    if update.order != "stop-first" or not 0 < update.parallelism < len(rows) or len(left) != 1 or not update.monitor_s:
        return ""
    if left[0].get("canary") or not (
        left[0]["healthy"] and all(row["healthy"] or row in left for row in rows) and is_known(left[0], versions)
    ):
        return ""
    return f"the last of {name} stays until another has been well for {duration(update.monitor_s)}"


def holds_s(wanted: App, only: str = "") -> float:
    """How long the canaries of an app hold it, all in all, the longest of them."""
    services = [service for name, service in wanted.services.items() if only in ("", name)]
    holds = [sum(step.hold_s for step in steps_of(service.canary, service.replicas)) for service in services]
    return max(holds, default=0.0)


def trying(row: dict[str, Any]) -> str:
    """Where a canary stands. The time left is told in steps, or there would be a line each second."""
    at = row["canary"]
    told = f"canary of {row['service']}, step {at['step']} of {at['steps']}: {at['slots']} of {at['replicas']} slots"
    if at["left_s"] is None:
        return f"{told} get version {row['wanted']}"
    left_s = at["left_s"]
    grid_s = next((grid for over, grid in ((3600, 1800), (600, 300), (60, 60), (10, 10)) if left_s > over), 5)
    left_s = min(-(-left_s // grid_s) * grid_s, max(left_s, round(at["hold_s"])))
    return f"{told} well in version {row['wanted']}, {duration(left_s)} to go"


def duration(seconds: float) -> str:
    """ "1h30m", "45s"."""
    whole = round(seconds)
    parts = [(whole // 3600, "h"), (whole % 3600 // 60, "m"), (whole % 60, "s")]
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0s"


def _release_of(row: dict[str, Any]) -> int:
    _, _, release = row["wanted"].partition(".")
    return int(release or 0)


async def _numbers(session: Session, app: str, versions: Versions) -> dict[str, int]:
    """How many replicas the services that follow the load have now, as far as the host that answers knows these documents."""
    rows = await scalings(session, app)
    return {row["service"]: row["replicas"] for row in rows if is_known({"wanted": row["version"]}, versions)}


class _Spreading:
    """How far an image has got among the hosts that are to run it."""

    def __init__(self, session: Session, images: Mapping[str, str], say: Progress) -> None:
        self._session = session
        self._images = dict(images)
        self._say = say
        self._looked_s = time.monotonic()  # a deploy that is done by then doesn't need the connection that a look takes

    async def look(self, rows: list[dict[str, Any]]) -> None:
        if not self._images or time.monotonic() - self._looked_s < LOOK_S:
            return
        self._looked_s = time.monotonic()
        for service, digest in list(self._images.items()):
            nodes = {row["node"] for row in rows if row["service"] == service and row["node"]}
            with contextlib.suppress(SkerryError):  # it is only told
                there = nodes & set(await self._session.request("image-hosts", {"image": digest}))
                if nodes and there:
                    self._say(f"image of {service} on {len(there)} of {len(nodes)} hosts: {', '.join(sorted(there))}")
                if nodes == there:
                    self._images.pop(service)


def _is_away(row: dict[str, Any]) -> bool:
    """Of a service with one on every host: whether this one's host is down (view.py says so first). Nobody waits for that."""
    return not row["node"] and " is down: " in row["why"].partition(";")[0]


def _late(row: dict[str, Any]) -> str:
    told = f"{row['slot']} {row['state']}{' in an earlier version' if row['outdated'] else ''}"
    return f"{told}: {row['why']}" if row["why"] else told


def _judge(app: str, wanted: App, rows: list[dict[str, Any]], say: Progress) -> None:
    """Raises RolloutFailed unless the service says to go on in spite of failures; then it is only said."""
    for row in rows:
        service = wanted.services.get(row["service"])
        if not row["failed"] or service is None:
            continue
        if service.update.failure_action == "continue":
            say(row["verdict"])
            continue
        raise RolloutFailed(
            f"{app}: {row['service']} failed in its new version",
            row["verdict"],
            f"look at it: skerry logs {app}.{row['service']}; skerry explain {row['slot']}",
        )
