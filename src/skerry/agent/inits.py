"""The init of a service: an image that makes its data, once, before its first start. Which is when is decided here, how is too.

An init never touches what a service has run on. A volume that is empty is shown to it as an empty folder beside, and only
when it has ended well does the content move in, all of it or nothing (`Volumes.begin`, `keep`). A volume with content is
shown read-only. So a crash at any moment leaves an empty volume, and the init runs again from the start. A service without a
writable volume gets its data anew at each start, in folders that live as long as its container. See docs/decisions/0009.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import NamedTuple

import msgspec

from skerry.agent.volumes import Volumes
from skerry.core.effects import Start
from skerry.core.events import Event, Initialising
from skerry.core.restarts import told
from skerry.core.words import with_words
from skerry.errors import Passing
from skerry.image.oci import ImageConfig
from skerry.image.trees import Images
from skerry.runtime.contract import ContainerSpec, Mount
from skerry.store.disk import full_disk_told

WITHIN_S = 600.0
WORDS_MAX = 300


class InitFailed(Passing):
    """A service's data could not be made: the service is not started, and its init is tried again."""

    code = "init-failed"


class Ended(NamedTuple):
    """How a container that ran once has ended, and the end of its log."""

    exit_code: int
    oom: bool
    last_lines: str


Once = Callable[[ContainerSpec, float], Awaitable[Ended]]
"""Runs a container until it ends by itself; raises TimeoutError after so many seconds. Nothing of it is left then."""


class Inits:
    """`scratch`: folder for the data of services without volumes; whose container is gone has nothing there."""

    def __init__(
        self, images: Images, volumes: Volumes, scratch: Path, *, once: Once, post: Callable[[Event], None]
    ) -> None:
        self._images = images
        self._volumes = volumes
        self._scratch = scratch
        self._once = once
        self._post = post

    async def run(self, effect: Start, service: ContainerSpec, own: Collection[str]) -> None:
        """Make the data of a service that is about to be started as `service`, if it has none. Raises InitFailed, DiskFull.

        `own`: names of the variables that the app sets; for others the init's image goes before the service's.
        """
        drafts: dict[str, Path] = {}
        try:
            await asyncio.to_thread(self._begin, effect, drafts)
            await self._run(effect, service, own, drafts)
        except OSError as error:
            raise _failed(effect, f"{error.strerror}: {error.filename}", "") from error
        finally:
            for volume in drafts:
                await asyncio.to_thread(self._volumes.drop, effect.slot, volume)

    async def _run(self, effect: Start, service: ContainerSpec, own: Collection[str], drafts: dict[str, Path]) -> None:
        if not drafts and any(not mount.read_only for mount in effect.service.volumes):
            return
        self._post(Initialising(effect.slot, effect.spec, service.id))
        root = self._images.root(effect.init)
        if root is None:
            raise InitFailed(
                f"the data of {effect.slot} was not made", "its init image is not on this host", "it is fetched again"
            )
        config = self._images.config(effect.init)
        try:
            ended = await self._once(self._spec(effect, service, drafts, config, root, own), WITHIN_S)
        except TimeoutError:
            raise _failed(effect, f"its init was ended: it ran for more than {WITHIN_S:g} s", "") from None
        if ended.exit_code != 0 or ended.oom:
            raise _failed(effect, f"its init {told(ended.exit_code, ended.oom)}", ended.last_lines)
        for volume in drafts:
            await asyncio.to_thread(self._volumes.keep, effect.slot, volume)

    def _begin(self, effect: Start, drafts: dict[str, Path]) -> None:
        """Make a draft of each volume that has no content yet."""
        for mount in effect.service.volumes:
            if not mount.read_only and (draft := self._volumes.begin(effect.slot, mount.volume)) is not None:
                drafts[mount.volume] = draft

    def _spec(
        self, effect: Start, service: ContainerSpec, drafts: dict[str, Path], config: ImageConfig, root: Path,
        own: Collection[str],
    ) -> ContainerSpec:  # fmt: skip
        """The same user, environment, limits and places as the service's, but no network and none of its rights."""
        mounts = [mount for mount in service.mounts if mount.target not in {m.target for m in effect.service.volumes}]
        for mount in effect.service.volumes:
            draft = drafts.get(mount.volume)
            source = draft or self._volumes.path(effect.slot.app, mount.volume)
            mounts.append(Mount(target=mount.target, source=str(source), read_only=draft is None))
        environment = dict(service.environment) | {name: value for name, value in config.env if name not in own}
        return msgspec.structs.replace(
            service,
            id=f"{service.id}-init",
            root=root,
            args=(*config.entrypoint, *config.cmd),
            environment=tuple(sorted(environment.items())),
            working_dir=config.working_dir or "/",
            netns="",
            isolated=True,
            capabilities=(),
            mounts=tuple(mounts),
            files=(("/etc/hosts", b"127.0.0.1 localhost\n"),),
            labels={**service.labels, "image": effect.init, "address": "", "init": service.id},
        )

    def scratch(self, container: str, number: int) -> Path:
        """A folder for one writable path of a container: its init and itself see the same. Raises DiskFull."""
        path = self._scratch / container / str(number)
        with full_disk_told(self._scratch.parent):
            path.mkdir(parents=True, exist_ok=True)
        return path

    def forget(self, container: str) -> None:
        shutil.rmtree(self._scratch / container, ignore_errors=True)

    def forget_all_but(self, containers: Collection[str]) -> None:
        for folder in self._scratch.glob("*"):
            if folder.name not in containers:
                shutil.rmtree(folder, ignore_errors=True)


def _failed(effect: Start, why: str, last_lines: str) -> InitFailed:
    return InitFailed(
        f"the data of {effect.slot} was not made",
        with_words(why, last_lines, WORDS_MAX),
        f"all it said: skerry logs {effect.slot}",
    )
