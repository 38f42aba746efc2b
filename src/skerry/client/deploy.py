"""From a compose file to signed intent: build, seal, push, sign. Whether it then runs is watched by `waiting`.

The order matters: images are on one host before anything names them, and the release goes before the app that it fits,
so that a node never starts a pair that wasn't meant (docs/decisions/0003).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from skerry.client import places
from skerry.client.changes import changed_fields
from skerry.client.compose.plan import ComposeApp
from skerry.client.enrolment import opened
from skerry.client.fitting import check_ports, check_room
from skerry.client.images import LocalImages
from skerry.client.push import push
from skerry.client.release_alone import release_alone
from skerry.client.session import Session
from skerry.client.voters import check_voters
from skerry.client.waiting import Progress, held_versions, is_known, wait_healthy
from skerry.core.history import earlier_of
from skerry.core.intent import App, Body, Release, Service, init_of
from skerry.core.knowledge import Knowledge
from skerry.core.versions import fallback_of
from skerry.trust import seal


async def deploy(
    session: Session,
    compose: ComposeApp,
    *,
    images: LocalImages,
    detach: bool = False,
    timeout_s: float = 120.0,
    progress: Progress = lambda line: None,
    signed: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Bring the app to what the file says. `signed`: called once all is signed and only waiting is left.

    Raises TooBig, PortTaken, NoVoters and ImageRefused before anything is changed, RolloutFailed, Superseded, NotInTime.
    """
    await session.sync()
    check_ports(session, compose)
    await check_room(session, compose)
    if few := check_voters(session, compose):
        progress(f"warning: {few}")
    for odd in places.warnings(session, compose):
        progress(f"warning: {odd}")
    digests = await asyncio.to_thread(images.resolve_all, compose, progress)
    rows = await session.request("ps", {"subject": compose.name})
    fallback = await _fallback(session, compose.name, rows)
    wanted, changes = _changes(session, compose, digests, fallback)
    failed = {row["service"] for row in rows if row["failed"] and is_known(row, held_versions(session, compose.name))}
    if failed and not changes:
        progress(f"this version failed before; trying {', '.join(sorted(failed))} again")
        wanted, changes = _changes(session, compose, digests, fallback, again=failed)
    started_s = time.monotonic()
    sent_bytes = await push(session, digests.values(), images, progress, _earlier(session, compose.name, digests))
    kept_by: list[str] = []
    if changes:
        progress(f"signing {', '.join(path for path, _ in changes)}")
        answer = await session.change(changes)
        if to_machines := opened(session):
            await session.change(to_machines)
        kept_by = [node.removeprefix("node/") for node in answer["kept_by"]]
        progress(f"accepted, kept by {', '.join(kept_by)}{' alone: no other host answers' if answer['alone'] else ''}")
    else:
        progress("nothing to change: this is what is wanted already")
    images.note_use(session.home.name, compose.name, digests)
    result = {
        "app": compose.name,
        "changed": [path for path, _ in changes],
        "images": digests,
        "sent_bytes": sent_bytes,
        "kept_by": kept_by,
    }
    signed()
    if not detach:
        versions = held_versions(session, compose.name)
        await wait_healthy(session, compose.name, wanted, versions, timeout_s, progress, images=digests)
    return result | {"seconds": round(time.monotonic() - started_s, 3)}


async def _fallback(session: Session, app: str, rows: list[dict[str, Any]]) -> tuple[str, str]:
    """Hashes of the app and the release to turn back to if what is deployed now fails: the newest that is not known to be bad.

    That is the one before, unless it failed itself, or its rollout had not ended: who is not there yet may still find it bad.
    """
    held_app, held_release = session.document(f"app/{app}"), session.document(f"release/{app}")
    if held_app is None or held_release is None or held_app.body.deleted:  # type: ignore[union-attr]
        return (held_app.hash if held_app is not None else "", "")
    if any(row["outdated"] or row["failed"] for row in rows):
        known = Knowledge()
        for document in (held_app, held_release):
            if document.body.fallback:  # type: ignore[union-attr]
                known.accept(await session.named(document.body.fallback))  # type: ignore[union-attr]
            known.accept(document)
        if (pair := fallback_of(known, held_app, held_release)) is not None:
            return pair[0].hash, pair[1].hash
    return held_app.hash, held_release.hash


def _changes(
    session: Session,
    compose: ComposeApp,
    digests: dict[str, str],
    fallback: tuple[str, str],
    again: Collection[str] = (),
) -> tuple[App, list[tuple[str, Body]]]:
    """What has to be signed anew, in the order in which it has to arrive. `again`: services to try once more as they are."""
    held_app, held_release = session.document(f"app/{compose.name}"), session.document(f"release/{compose.name}")
    if not session.may_sign(f"app/{compose.name}") and session.may_sign(f"release/{compose.name}"):
        return release_alone(compose, digests, held_app, held_release)
    old: App | None = held_app.body if held_app is not None else None  # type: ignore[assignment]
    changes: list[tuple[str, Body]] = []
    environments = {name: s.environment for name, s in compose.services.items()}
    key: bytes | None = None
    if any(environments.values()) or compose.ship:
        secret = session.document(f"secret/{compose.name}")
        if secret is None:
            key = secrets.token_bytes(seal.KEY_BYTES)
            changes.append((f"secret/{compose.name}", session.seal_for_all(key)))
        else:
            key = session.content_key(secret)
    services: dict[str, Service] = {}
    for name, planned in compose.services.items():
        sealed = seal.seal_environment(key, environments[name]) if key is not None else {}
        attempt = old.services[name].attempt if old is not None and name in old.services else 0
        services[name] = msgspec.structs.replace(
            planned.service, environment=sealed, attempt=attempt + (name in again), init=init_of(name) in digests
        )
    receivers = {f"receiver-{n}": url for n, url in enumerate(compose.ship)}
    ship = seal.seal_environment(key, receivers) if key is not None else {}
    app = App(services=services, volumes=dict(compose.volumes), fallback=fallback[0], pools=compose.pools, ship=ship)
    app_changed = old is None or msgspec.structs.replace(app, fallback="") != msgspec.structs.replace(old, fallback="")
    version = (held_app.version if held_app is not None else 0) + (1 if app_changed else 0)
    old_release: Release | None = held_release.body if held_release is not None else None  # type: ignore[assignment]
    if old_release is None or old_release.images != digests or app_changed:
        changes.append(
            (
                f"release/{compose.name}",
                Release(images=digests, fits=version, fallback=fallback[1], earlier=earlier_of(old_release, digests)),
            )
        )
    if app_changed:
        changes.append((f"app/{compose.name}", app))
    return app, changes


def _earlier(session: Session, app: str, digests: dict[str, str]) -> dict[str, list[str]]:
    """digest -> what its service ran before, as far as this machine knows: hosts that have it get an update as a bundle."""
    held = session.document(f"release/{app}")
    before: dict[str, str] = held.body.images if held is not None else {}  # type: ignore[union-attr]
    earlier: dict[str, list[str]] = {}
    for service, digest in digests.items():
        if service in before:
            earlier.setdefault(digest, []).append(before[service])
    return earlier


async def diff(
    session: Session, compose: ComposeApp, images: LocalImages, progress: Progress = lambda line: None
) -> list[dict[str, Any]]:
    """What a deploy of this file would change: a list of {path, field, old, new}."""
    await session.sync(1)
    digests = await asyncio.to_thread(images.resolve_all, compose, progress)
    _, changes = _changes(session, compose, digests, ("", ""))
    rows: list[dict[str, Any]] = []
    for path, body in changes:
        held = session.document(path)
        for field, old, new in changed_fields(held.body if held is not None else None, body):
            if field.startswith(("fallback", "fits", "earlier", "boxes", "key_id")):
                continue
            if ".environment." in field or field.startswith(
                "ship."
            ):  # nobody reads the sealed value, and the plain one is nobody's business
                old, new = ("(sealed)" if old else None), ("(sealed, another)" if old else "(sealed)") if new else None
            rows.append({"path": path, "field": field, "old": old, "new": new})
    return rows
