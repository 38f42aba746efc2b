"""From a compose file to signed intent, and waiting until it runs: build, seal, push, sign, watch. Also its undoing.

The order matters: images are on one host before anything names them, and the release goes before the app that it fits,
so that a node never starts a pair that wasn't meant (docs/decisions/0003).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Any

import msgspec

from skerry.client.changes import changed_fields
from skerry.client.compose.plan import ComposeApp
from skerry.client.images import LocalImages
from skerry.client.session import Session
from skerry.core.intent import App, Body, Release, Service
from skerry.core.records import Document
from skerry.errors import BadInput, NotInTime, Refusal, TrustRefusal
from skerry.mesh.streams import offer_objects
from skerry.trust import seal

POLL_S = 0.05
Progress = Callable[[str], None]


class NoSuchApp(BadInput):
    code = "no-such-app"


class NotForThisKey(TrustRefusal):
    """This key may change an app's images and nothing else, and more was asked for."""

    code = "not-for-this-key"


class TooBig(Refusal):
    """No host has that much room, now or empty."""

    code = "too-big-for-hosts"
    exit_code = 2


class RolloutFailed(Refusal):
    """The new version failed; the nodes have turned back to the one before."""

    code = "rollout-failed"


class NothingBefore(Refusal):
    """There is no earlier version to go back to."""

    code = "nothing-before"
    exit_code = 2


async def plan(session: Session | None, compose: ComposeApp, images: LocalImages, progress: Progress) -> dict[str, str]:
    """Build or find each service's image; service -> digest. Nothing leaves this machine."""
    return {
        name: await asyncio.to_thread(images.resolve, compose.name, name, s, compose.folder, progress)
        for name, s in compose.services.items()
    }


async def deploy(
    session: Session,
    compose: ComposeApp,
    *,
    images: LocalImages,
    detach: bool = False,
    timeout_s: float = 120.0,
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Bring the app to what the file says. Raises TooBig before anything is changed, RolloutFailed, NotInTime."""
    digests = await plan(session, compose, images, progress)
    await session.sync()
    await _check_room(session, compose)
    wanted, changes = _changes(session, compose, digests)
    started_s = time.monotonic()
    sent_bytes = await push(session, set(digests.values()), images, progress)
    if changes:
        progress(f"signing {', '.join(path for path, _ in changes)}")
        answer = await session.change(changes)
        progress(f"accepted, kept by {', '.join(n.removeprefix('node/') for n in answer['kept_by'])}")
    else:
        progress("nothing to change: this is what runs")
    result = {"app": compose.name, "changed": [p for p, _ in changes], "images": digests, "sent_bytes": sent_bytes}
    if not detach:
        await wait_healthy(session, compose.name, wanted, digests, timeout_s, progress)
    return result | {"seconds": round(time.monotonic() - started_s, 3)}


def _changes(session: Session, compose: ComposeApp, digests: dict[str, str]) -> tuple[App, list[tuple[str, Body]]]:
    """What has to be signed anew, in the order in which it has to arrive."""
    held_app, held_release = session.document(f"app/{compose.name}"), session.document(f"release/{compose.name}")
    if not session.may_sign(f"app/{compose.name}") and session.may_sign(f"release/{compose.name}"):
        return _release_alone(compose, digests, held_app, held_release)
    old: App | None = held_app.body if held_app is not None else None  # type: ignore[assignment]
    changes: list[tuple[str, Body]] = []
    environments = {name: s.environment for name, s in compose.services.items()}
    key: bytes | None = None
    if any(environments.values()):
        secret = session.document(f"secret/{compose.name}")
        if secret is None:
            key = secrets.token_bytes(seal.KEY_BYTES)
            changes.append((f"secret/{compose.name}", session.seal_for_all(key)))
        else:
            key = session.content_key(secret)
    services: dict[str, Service] = {}
    for name, planned in compose.services.items():
        sealed = seal.seal_environment(key, environments[name]) if key is not None else {}
        services[name] = msgspec.structs.replace(planned.service, environment=sealed)
    app = App(services=services, volumes=dict(compose.volumes), fallback=held_app.hash if held_app is not None else "")
    app_changed = old is None or msgspec.structs.replace(app, fallback="") != msgspec.structs.replace(old, fallback="")
    version = (held_app.version if held_app is not None else 0) + (1 if app_changed else 0)
    old_images = held_release.body.images if held_release is not None else {}  # type: ignore[union-attr]
    if old_images != digests or app_changed:
        fallback = held_release.hash if held_release is not None and not (old is not None and old.deleted) else ""
        changes.append((f"release/{compose.name}", Release(images=digests, fits=version, fallback=fallback)))
    if app_changed:
        changes.append((f"app/{compose.name}", app))
    return app, changes


def _release_alone(
    compose: ComposeApp, digests: dict[str, str], held_app: Document | None, held_release: Document | None
) -> tuple[App, list[tuple[str, Body]]]:
    """For a key that may change images and nothing else (CI): the rest of the file must be what operators have signed.

    Of the environment only the names can be compared: the values are sealed, and not to this key.
    """
    if held_app is None or not isinstance(held_app.body, App) or held_app.body.deleted:
        raise NotForThisKey(
            f"{compose.name} was not deployed",
            "this key may release images of an app that is there, and no operator has signed this one",
            "let an operator deploy it first",
        )
    app = held_app.body
    services = {
        name: msgspec.structs.replace(planned.service, environment=dict.fromkeys(planned.environment, "sealed"))
        for name, planned in compose.services.items()
    }
    signed = {
        name: msgspec.structs.replace(service, environment=dict.fromkeys(service.environment, "sealed"))
        for name, service in app.services.items()
    }
    asked = App(services=services, volumes=dict(compose.volumes))
    differs = changed_fields(msgspec.structs.replace(app, services=signed, fallback=""), asked)
    if differs:
        raise NotForThisKey(
            f"{compose.name} was not deployed",
            "this key may change its images and nothing else, and the file differs from what operators have signed in "
            + ", ".join(field for field, _, _ in differs),
            "let an operator deploy the changed file",
        )
    old = held_release.body.images if held_release is not None and isinstance(held_release.body, Release) else {}
    if old == digests:
        return app, []
    fallback = held_release.hash if held_release is not None else ""
    return app, [(f"release/{compose.name}", Release(images=digests, fits=held_app.version, fallback=fallback))]


async def _check_room(session: Session, compose: ComposeApp) -> None:
    """Refuse what no host could ever run, before anything is changed."""
    rows = [row for row in await session.request("hosts") if row["state"] == "up"]
    if not rows or not all(row["capacity"] for row in rows):  # one that just came has not told yet how large it is
        return
    for name, planned in compose.services.items():
        needs = planned.service.needs
        most = max(row["capacity"]["memory_bytes"] for row in rows)
        if needs.reserve_memory_bytes > most:
            raise TooBig(
                f"{compose.name}.{name} was not deployed",
                f"it reserves {needs.reserve_memory_bytes >> 20} MiB of memory; the largest host has {most >> 20} MiB",
                "lower deploy.resources.reservations.memory, or join a larger host",
            )
        if needs.reserve_cpus > max(row["capacity"]["cpus"] for row in rows):
            raise TooBig(
                f"{compose.name}.{name} was not deployed",
                f"it reserves {needs.reserve_cpus} cpus; no host has as many",
                "lower deploy.resources.reservations.cpus, or join a larger host",
            )


async def push(session: Session, digests: set[str], images: LocalImages, progress: Progress) -> int:
    """Hand what is missing to ONE host; the others fetch it from there. Gives the bytes sent."""
    sent = 0
    node: str | None = None
    for digest in sorted(digests):
        while missing := (await session.request("image-missing", {"image": digest}, node=node))["missing"]:
            node = session.preferred  # the one that answered: all parts go to the same host
            stream, node = await session.open("/objects/put", node)
            try:
                sent += await offer_objects(stream, missing, images.objects)
            finally:
                await stream.close()
            progress(f"{digest[7:19]}: {sent / 1e6:.1f} MB handed to {node.removeprefix('node/')}")
    return sent


async def wait_healthy(
    session: Session, app: str, wanted: App, digests: dict[str, str], timeout_s: float, progress: Progress
) -> list[dict[str, Any]]:
    """Wait until each replica runs the wanted image and is healthy. Raises RolloutFailed, NotInTime (it goes on by itself)."""
    total = sum(s.replicas for s in wanted.services.values())
    deadline_s = time.monotonic() + timeout_s
    told = -1
    while True:
        rows = await session.request("ps", {"subject": app})
        done = [r for r in rows if r["healthy"] and r["image"] == digests.get(r["service"]) and not r.get("outdated")]
        if len(done) != told:
            told = len(done)
            progress(f"{told} of {total} replicas healthy")
        if len(done) >= total and not any(r.get("outdated") for r in rows):
            return list(rows)
        if failed := [r for r in rows if r.get("verdict")]:
            raise RolloutFailed(
                f"{app}: the new version failed and was turned back",
                "; ".join(sorted({f"{r['service']}: {r['verdict']}" for r in failed})),
                f"look at it: skerry explain {failed[0]['slot']}; skerry logs {failed[0]['service']}",
            )
        if time.monotonic() > deadline_s:
            late = [f"{r['slot']} {r['state']}{': ' + r['why'] if r.get('why') else ''}" for r in rows if r not in done]
            raise NotInTime(
                f"{app} is not healthy yet after {timeout_s:.0f} s",
                "; ".join(late),
                "it goes on by itself: skerry ps --watch; why: skerry explain SLOT",
            )
        await asyncio.sleep(POLL_S)


async def diff(
    session: Session, compose: ComposeApp, images: LocalImages, progress: Progress = lambda line: None
) -> list[dict[str, Any]]:
    """What a deploy of this file would change: a list of {path, field, old, new}."""
    digests = await plan(session, compose, images, progress)
    await session.sync(1)
    _, changes = _changes(session, compose, digests)
    rows: list[dict[str, Any]] = []
    for path, body in changes:
        held = session.document(path)
        for field, old, new in changed_fields(held.body if held is not None else None, body):
            if not field.startswith(("fallback", "fits", "boxes", "key_id")):
                rows.append({"path": path, "field": field, "old": old, "new": new})
    return rows


async def scale(session: Session, app: str, service: str, replicas: int) -> dict[str, Any]:
    """Change one service's number of replicas: a new version of the app, signed; nothing is restarted."""
    await session.sync()
    body = _app(session, app)
    if service not in body.services:
        raise NoSuchApp(f"{app} has no service {service}", f"it has: {', '.join(body.services)}", "see skerry ps")
    before = body.services[service].replicas
    changed = msgspec.structs.replace(body.services[service], replicas=replicas)
    if before != replicas:
        await session.change(
            [(f"app/{app}", msgspec.structs.replace(body, services={**body.services, service: changed}))]
        )
    return {"app": app, "service": service, "from": before, "to": replicas}


async def rollback(
    session: Session, app: str, *, progress: Progress = lambda line: None, timeout_s: float = 120.0
) -> dict[str, Any]:
    """Go back to the release (and app version) before: signed anew as the newest. Kept images move no byte."""
    await session.sync()
    _app(session, app)
    held = session.document(f"release/{app}")
    assert held is not None
    release: Release = held.body  # type: ignore[assignment]
    document = session.document(f"app/{app}")
    assert document is not None
    current: App = document.body  # type: ignore[assignment]
    if not release.fallback:
        raise NothingBefore(
            f"{app} was not rolled back", "this is its first release", "deploy an earlier version of the file"
        )
    before = await session.named(release.fallback)
    earlier: Release = before.body  # type: ignore[assignment]
    changes: list[tuple[str, Body]] = []
    fits = document.version
    app_before = await session.named(current.fallback) if current.fallback and earlier.fits < document.version else None
    body = current
    if app_before is not None:
        assert isinstance(app_before.body, App)
        body = msgspec.structs.replace(app_before.body, fallback=document.hash)
        fits = document.version + 1
        changes.append((f"app/{app}", body))
    changes.insert(0, (f"release/{app}", Release(images=earlier.images, fits=fits, fallback=held.hash)))
    progress(f"signing {', '.join(path for path, _ in changes)}")
    await session.change(changes)
    await wait_healthy(session, app, body, earlier.images, timeout_s, progress)
    return {"app": app, "images": earlier.images}


async def rm(
    session: Session, app: str, *, timeout_s: float = 60.0, progress: Progress = lambda line: None
) -> dict[str, Any]:
    """Stop everything of an app and remove its intent; volumes stay until `skerry volume rm`."""
    await session.sync()
    body = _app(session, app)
    await session.change([(f"app/{app}", msgspec.structs.replace(body, deleted=True, services={}, fallback=""))])
    deadline_s = time.monotonic() + timeout_s
    while rows := [r for r in await session.request("ps", {"subject": app}) if r["state"] != "waiting"]:
        if time.monotonic() > deadline_s:
            raise NotInTime(f"{app} is still stopping", ", ".join(r["slot"] for r in rows), "it goes on: skerry ps")
        await asyncio.sleep(POLL_S)
    progress(f"{app} is gone; its volumes are kept")
    return {"app": app, "volumes_kept": list(body.volumes)}


def _app(session: Session, app: str) -> App:
    document = session.document(f"app/{app}")
    if document is None or document.body.deleted:  # type: ignore[union-attr]
        known = sorted(d.path.removeprefix("app/") for d in session.documents("app") if not d.body.deleted)  # type: ignore[union-attr]
        raise NoSuchApp(f"there is no app {app}", f"this cloud has: {', '.join(known) or 'none'}", "see skerry ps")
    return document.body  # type: ignore[return-value]
