"""Apps as programs see them: what is signed, and changing it. The work itself is client.deploy's and client.apps'."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from skerry.client import apps, numbers, views
from skerry.client import deploy as deploying
from skerry.client.compose import load, load_text
from skerry.client.compose.plan import ComposeApp
from skerry.client.session import Session
from skerry.client.waiting import held_versions, wait_healthy
from skerry.core import intent
from skerry.sdk.connection import Connection, Progress
from skerry.sdk.values import App, Change, Deployed, Removed, Replica, RolledBack, Scaled, Service

Compose = str | Path | Mapping[str, Any] | ComposeApp


class Apps:
    """`client.apps`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def ls(self) -> list[App]:
        """All apps that are not removed, by name."""
        session = self._connection.session
        await session.sync(1)
        return [app_of(session, name) for name in sorted(apps.live(session))]

    async def get(self, name: str) -> App:
        """One app. Raises NoSuchApp."""
        session = self._connection.session
        await session.sync(1)
        apps.the_app(session, name)
        return app_of(session, name)

    async def replicas(self, name: str = "") -> list[Replica]:
        """Every replica of the app; of all apps without a name."""
        return msgspec.convert(await views.ps(self._connection.session, name or None), list[Replica])

    async def deploy(
        self,
        compose: Compose,
        *,
        name: str = "",
        variables: Mapping[str, str] | None = None,
        prev: str | None = None,
        detach: bool = False,
        timeout_s: float = 120.0,
        progress: Progress = lambda line: None,
    ) -> Deployed:
        """Bring an app to what a compose file says, and wait until it is healthy.

        `compose`: the file, the folder that holds it, or what stands in it as a mapping. `name`: else the file's, else the
        folder's. `variables`: for ${NAME} in it, else the environment and .env. `prev`: the app's etag that this rests on.
        `progress` gets a line for each step. Raises ComposeErrors with every mistake, ImageRefused, RolloutFailed, NotInTime,
        ChangedMeanwhile.
        """
        app = await asyncio.to_thread(read, compose, name, variables)
        async with self._connection.changing_first(f"app/{app.name}", prev, self._etag(app.name)) as (session, signed):
            done = await deploying.deploy(
                session,
                app,
                images=self._connection.images,
                detach=detach,
                timeout_s=timeout_s,
                progress=progress,
                signed=signed,
            )
        return msgspec.convert(done, Deployed)

    async def diff(
        self,
        compose: Compose,
        *,
        name: str = "",
        variables: Mapping[str, str] | None = None,
        progress: Progress = lambda line: None,
    ) -> list[Change]:
        """What a deploy would change, field by field; nothing if it would change nothing. Images are built, nothing is signed."""
        app = await asyncio.to_thread(read, compose, name, variables)
        session = self._connection.session
        rows = await deploying.diff(session, app, self._connection.images, progress)
        return msgspec.convert(rows, list[Change])

    async def rollback(
        self,
        name: str,
        *,
        prev: str | None = None,
        timeout_s: float = 120.0,
        progress: Progress = lambda line: None,
    ) -> RolledBack:
        """Go back to the release before. Raises NothingBefore, NoSuchApp, NotInTime, ChangedMeanwhile."""
        async with self._connection.changing_first(f"app/{name}", prev, self._etag(name)) as (session, signed):
            images = self._connection.images
            done = await apps.rollback(
                session, name, images=images, timeout_s=timeout_s, progress=progress, signed=signed
            )
        return msgspec.convert(done, RolledBack)

    async def scale(
        self,
        service: str,
        replicas: int | None = None,
        *,
        min: int | None = None,
        max: int | None = None,
        schedules: Sequence[str] | None = None,
        prev: str | None = None,
        detach: bool = False,
        timeout_s: float = 120.0,
        progress: Progress = lambda line: None,
    ) -> Scaled:
        """Set how many replicas APP.SERVICE has (SERVICE alone where only one app has it), or between how many it follows the load.

        `schedules`: other bounds at set times, "weekdays 8-20 Europe/Berlin: min 3", instead of those that it has; () for none.
        Nothing is restarted. Raises NoSuchApp, NotScaled, BadBounds, NotInTime, ChangedMeanwhile.
        """
        if (replicas is None) == (min is None and max is None and schedules is None):
            raise numbers.BadBounds(f"{service} was not scaled", "", "say how many, or bounds: min, max, schedules")
        session = self._connection.session
        await session.sync(1)
        app, _ = apps.of_service(session, service)
        async with self._connection.changing_first(f"app/{app}", prev, self._etag(app)) as (_, signed):
            done = await apps.scale(
                session,
                service,
                replicas,
                least=min,
                most=max,
                schedules=schedules,
                detach=detach,
                timeout_s=timeout_s,
                progress=progress,
                signed=signed,
            )
        return msgspec.convert(done, Scaled)

    async def rm(
        self,
        name: str,
        *,
        prev: str | None = None,
        timeout_s: float = 60.0,
        progress: Progress = lambda line: None,
    ) -> Removed:
        """Stop all of an app and remove its intent; its volumes stay. Raises NoSuchApp, NotInTime, ChangedMeanwhile."""
        async with self._connection.changing(f"app/{name}", prev, self._etag(name)) as session:
            images = self._connection.images
            done = await apps.rm(session, name, images=images, timeout_s=timeout_s, progress=progress)
        return msgspec.convert(done, Removed)

    async def wait_healthy(
        self, name: str, *, timeout_s: float = 120.0, progress: Progress = lambda line: None
    ) -> list[Replica]:
        """Wait until each replica runs what is wanted now and is healthy, or, a job, is done. Raises RolloutFailed, NotInTime."""
        session = self._connection.session
        await session.sync(1)
        body = apps.the_app(session, name)
        await wait_healthy(session, name, body, held_versions(session, name), timeout_s, progress)
        return await self.replicas(name)

    def _etag(self, name: str) -> Any:
        return lambda: etag_of(self._connection.session, name)


def read(compose: Compose, name: str, variables: Mapping[str, str] | None) -> ComposeApp:
    """Raises ComposeErrors, NoComposeFile."""
    if isinstance(compose, ComposeApp):
        return compose
    environ = os.environ if variables is None else variables
    if isinstance(compose, Mapping):
        text = msgspec.json.format(msgspec.json.encode(dict(compose))).decode()
        return load_text(text, Path(), environ=environ, name=name)
    return load(Path(compose), environ=environ, name=name)


def etag_of(session: Session, name: str) -> str:
    """Of the newest app and release that are known here; "" for none."""
    held = [session.document(f"{kind}/{name}") for kind in ("app", "release")]
    return hashlib.sha256("".join(d.hash for d in held if d).encode()).hexdigest()[:16] if any(held) else ""


def app_of(session: Session, name: str) -> App:
    body = apps.the_app(session, name)
    release = session.document(f"release/{name}")
    images = release.body.images if release is not None and isinstance(release.body, intent.Release) else {}
    services = tuple(_service(key, service, images.get(key, "")) for key, service in body.services.items())
    version = "{}.{}".format(*held_versions(session, name))
    return App(name=name, version=version, services=services, pools=body.pools, etag=etag_of(session, name))


def _service(name: str, service: intent.Service, image: str) -> Service:
    return Service(
        name=name,
        replicas=service.replicas,
        image=image,
        ports=tuple(f"{port.published}:{port.target}/{port.protocol}" for port in service.ports),
        volumes=tuple(mount.volume for mount in service.volumes),
    )
