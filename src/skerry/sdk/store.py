"""Images of this machine's store, tools, volumes of the hosts, and roles, as programs see them. The work itself is client's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from skerry.client import delivery, kits, roles, views
from skerry.client.identity import read_public
from skerry.client.library.listing import listing
from skerry.core.intent import Operator
from skerry.sdk.connection import Connection
from skerry.sdk.seen import ToolsImage
from skerry.sdk.values import Image, Role, Volume


class Images:
    """`client.images`: the local store. Deploys take images from here; hosts get them by deploys alone."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def ls(self) -> list[Image]:
        """By name, those without one last."""
        rows = await asyncio.to_thread(listing, self._connection.images)
        return msgspec.convert(rows, list[Image])

    def names(self) -> dict[str, str]:
        """Name -> digest."""
        return self._connection.images.names

    async def add(self, archive: str | Path, name: str) -> Image:
        """Import a docker-archive or an OCI layout under a name. Raises BadImage, BadInput for the name."""
        done = await asyncio.to_thread(self._connection.images.bring, Path(archive), name)
        return next(image for image in await self.ls() if (image.name, image.digest) == (name, done.digest))

    async def rm(self, name: str) -> str:
        """Take the name away; gives its digest. The image goes once nothing uses it (`skerry image gc`). Raises ImageNotFound."""
        return await asyncio.to_thread(self._connection.images.untag, name)


class Tools:
    """`client.tools`: images whose programs hosts run beside containers (docs/tools.md)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def ls(self) -> list[ToolsImage]:
        """Those that operators have signed, and those that Skerry brings along."""
        await self._connection.session.sync(1)
        return msgspec.convert(await kits.ls(self._connection.session), list[ToolsImage])

    async def add(self, name: str, image: str, *, about: str = "") -> ToolsImage:
        """Let hosts run an image of the local store (a name, or a digest) as these tools. Raises ImageNotFound, BadInput."""
        images = self._connection.images
        digest = await asyncio.to_thread(images.find, image)
        async with self._connection.changing(f"tools/{name}") as session:
            await session.sync()
            done = await kits.add(session, images, name, digest, about or f"image {image}"[: kits.ABOUT_MAX])
        return msgspec.convert(done, ToolsImage)

    async def build(
        self, name: str, folder: str | Path | None = None, *, progress: Callable[[str], None] = lambda line: None
    ) -> ToolsImage:
        """Build those that Skerry brings along (base, python, perf, bpf), or by the image.toml in `folder`, and sign them."""
        at = Path(folder) if folder is not None else None
        async with self._connection.changing(f"tools/{name}") as session:
            await session.sync()
            made = await delivery.make(session, self._connection.images, name, progress, folder=at)
        return ToolsImage(name=name, image=made.image, size_bytes=made.size_bytes, about=made.about)

    async def rm(self, name: str) -> None:
        """No host runs them any more. Raises NoSuchTools."""
        async with self._connection.changing(f"tools/{name}") as session:
            await session.sync()
            await kits.rm(session, name)


class Volumes:
    """`client.volumes`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def ls(self, *, warn: Callable[[str], None] = lambda line: None) -> list[Volume]:
        """Of all hosts that answer; `warn` hears of those that don't, as their volumes are missing. Raises Unreachable."""
        return msgspec.convert(await views.volumes(self._connection.session, warn), list[Volume])

    async def rm(self, node: str, app: str, volume: str) -> None:
        """Delete its data on that host, for good. Raises InUse, NoSuchSubject."""
        async with self._connection.changing(f"volume/{node}/{app}/{volume}") as session:
            await views.volume_rm(session, node, app, volume)


class Roles:
    """`client.roles`. Operators are added and taken away with the root key at hand: `skerry role`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def ls(self) -> list[Role]:
        """Root, policy, then all roles of the policy."""
        return msgspec.convert(await roles.ls(self._connection.session), list[Role])

    async def add_ci(self, name: str, public: str | Path | Operator, apps: Sequence[str]) -> Role:
        """Let a key release the images of these apps, and nothing else. `public`: the file that `skerry key new` made."""
        key = public if isinstance(public, Operator) else read_public(Path(public))
        async with self._connection.changing("policy") as session:
            await roles.add_ci(session, name, key, apps)
        return next(role for role in await self.ls() if role.name == name)

    async def add_right(
        self,
        right: str,
        name: str,
        public: str | Path | Operator,
        *,
        apps: Sequence[str] = (),
        hosts: Sequence[str] = (),
        until_s: float = 0.0,
    ) -> Role:
        """Let a key ask `observe`, `debug` or `debug-host` about these apps or hosts ("*": all), until then (unix seconds, 0: for
        good). It signs nothing. Raises BadInput, RoleTaken.
        """
        key = public if isinstance(public, Operator) else read_public(Path(public))
        async with self._connection.changing("policy") as session:
            await roles.add_right(session, right, name, key, apps=apps, hosts=hosts, until=until_s)
        return next(role for role in await self.ls() if role.name == name)

    async def rm(self, name: str, *, turn_back: bool = False) -> tuple[str, ...]:
        """Take a role away: its keys are barred, what they signed is signed again; gives those paths.

        `turn_back`: of releases, not the last ones are taken for good but those before them. Raises NoSuchRole, LastOperator.
        """
        async with self._connection.changing("policy") as session:
            done = await roles.rm(session, name, turn_back=turn_back)
        return tuple(done["signed_again"])
