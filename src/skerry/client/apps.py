"""What can be done to an app that runs: more or fewer replicas, back to the release before, away with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from skerry.client import views
from skerry.client.numbers import bounded, pinned, told
from skerry.client.session import Session
from skerry.client.waiting import Progress, held_versions, wait_healthy
from skerry.core.history import earlier_of
from skerry.core.intent import App, Body, Release
from skerry.errors import BadInput, NotInTime, Refusal

if TYPE_CHECKING:
    from skerry.client.images import LocalImages


class NoSuchApp(BadInput):
    code = "no-such-app"


class NothingBefore(Refusal):
    """There is no earlier version to go back to."""

    code = "nothing-before"
    exit_code = 2


async def scale(
    session: Session,
    name: str,
    replicas: int | None = None,
    *,
    least: int | None = None,
    most: int | None = None,
    schedules: Sequence[str] | None = None,
    detach: bool = False,
    timeout_s: float = 120.0,
    progress: Progress = lambda line: None,
    signed: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Change one service's number of replicas, or its bounds: a new version of the app, signed; nothing is restarted.

    `name`: APP.SERVICE, or SERVICE where only one app has it. `signed`: called once only waiting is left. Raises NoSuchApp,
    NotScaled, BadBounds.
    """
    await session.sync()
    app, service = of_service(session, name)
    body = the_app(session, app)
    before = body.services[service]
    full = f"{app}.{service}"
    changed = pinned(before, replicas) if replicas is not None else bounded(full, before, body, least, most, schedules)
    wanted = msgspec.structs.replace(body, services={**body.services, service: changed})
    if before != changed:
        await session.change([(f"app/{app}", wanted)])
    signed()
    if not detach:
        versions = held_versions(session, app)
        await wait_healthy(session, app, wanted, versions, timeout_s, progress, only=service)
    result: dict[str, Any] = {"app": app, "service": service, "from": before.replicas, "to": changed.replicas}
    if before.scale is not None:
        dropped = before.scale.schedules and not (changed.scale is not None and changed.scale.schedules)
        result |= {"bounds": {"from": told(before), "to": told(changed)}} | (
            {"dropped": "schedules"} if dropped else {}
        )
    return result


async def rollback(
    session: Session,
    app: str,
    *,
    images: LocalImages | None = None,
    progress: Progress = lambda line: None,
    timeout_s: float = 120.0,
    signed: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Go back to the release (and app version) before: signed anew as the newest. Kept images move no byte.

    As many replicas as now, updated in the way that holds now: that is also what a node turns back to by itself. `images`: the
    store of this machine, which then keeps what runs again. `signed`: called once only waiting is left.
    """
    await session.sync()
    current = the_app(session, app)
    document, held = session.document(f"app/{app}"), session.document(f"release/{app}")
    if document is None or held is None or not isinstance(held.body, Release) or not held.body.fallback:
        raise NothingBefore(
            f"{app} was not rolled back", "this is its first release", "deploy an earlier version of the file"
        )
    earlier = (await session.named(held.body.fallback)).body
    assert isinstance(earlier, Release)
    changes: list[tuple[str, Body]] = []
    body, fits = current, document.version
    if current.fallback and earlier.fits < document.version:
        before = (await session.named(current.fallback)).body
        assert isinstance(before, App)
        body, fits = _with_numbers_of(current, before, document.hash), document.version + 1
        changes.append((f"app/{app}", body))
    ways = any(service.rollback is not None or service.canary for service in current.services.values())
    release = Release(
        images=earlier.images,
        fits=fits,
        fallback=held.hash,
        earlier=earlier_of(held.body, earlier.images),
        back=ways and session.may_sign(f"app/{app}"),  # CI's goes as any new version does
    )
    changes.insert(0, (f"release/{app}", release))
    progress(f"signing {', '.join(path for path, _ in changes)}")
    await session.change(changes)
    if images is not None:
        images.note_use(session.home.name, app, release.images)
    signed()
    await wait_healthy(session, app, body, held_versions(session, app), timeout_s, progress)
    return {"app": app, "images": earlier.images}


def _with_numbers_of(current: App, before: App, fallback: str) -> App:
    services = {
        name: msgspec.structs.replace(
            service, replicas=now.replicas, update=now.update, rollback=now.rollback, canary=now.canary, scale=now.scale
        )
        if (now := current.services.get(name)) is not None
        else service
        for name, service in before.services.items()
    }
    return msgspec.structs.replace(before, services=services, fallback=fallback)


async def rm(
    session: Session,
    app: str,
    *,
    images: LocalImages | None = None,
    timeout_s: float = 60.0,
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Stop everything of an app and remove its intent; volumes stay until `skerry volume rm`. `images`: the store of this
    machine, which then no longer keeps them for its sake."""
    await session.sync()
    body = the_app(session, app)
    await session.change([(f"app/{app}", App(deleted=True))])
    if images is not None:
        images.note_use(session.home.name, app, {})
    deadline_s = time.monotonic() + timeout_s
    async with aclosing(views.changes(session, app)) as changes:
        async for rows in changes:
            left = [row["slot"] for row in rows if row["state"] != "waiting"]
            if not left:
                break
            if time.monotonic() > deadline_s:
                raise NotInTime(f"{app} is still stopping", ", ".join(left), f"it goes on: skerry ps {app}")
    progress(f"{app} is gone" + ("; its volumes are kept" if body.volumes else ""))
    return {"app": app, "volumes_kept": sorted(body.volumes)}


def of_service(session: Session, name: str) -> tuple[str, str]:
    """APP.SERVICE, or SERVICE alone -> (app, service)."""
    app, dot, service = name.partition(".")
    if dot:
        services = the_app(session, app).services
        if service not in services:
            raise NoSuchApp(f"{app} has no service {service}", f"it has: {', '.join(services)}", "see skerry ps")
        return app, service
    having = [app for app, body in live(session).items() if name in body.services]
    if len(having) != 1:
        why = f"these apps have one: {', '.join(having)}" if having else "no app has one of that name"
        raise NoSuchApp(f"which service {name!r} is meant is not clear", why, "write APP.SERVICE; see skerry ps")
    return having[0], name


def live(session: Session) -> dict[str, App]:
    """Those that are not removed."""
    bodies = {d.path.removeprefix("app/"): d.body for d in session.documents("app")}
    return {app: body for app, body in bodies.items() if isinstance(body, App) and not body.deleted}


def the_app(session: Session, app: str) -> App:
    apps = live(session)
    if app not in apps:
        raise NoSuchApp(f"there is no app {app}", f"this cloud has: {', '.join(apps) or 'none'}", "see skerry ps")
    return apps[app]
