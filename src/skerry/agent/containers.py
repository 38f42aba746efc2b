"""Starting and stopping a slot's container: image tree, address, volumes, environment, runtime, in that order, and back.

The only place that knows how a service's intent becomes a ContainerSpec. It never decides whether or when.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import msgspec

from skerry.core.effects import Start, Stop
from skerry.core.events import (
    ContainerExited,
    ContainerFound,
    ContainerStarted,
    ContainerStopped,
    Event,
    StartFailed,
)
from skerry.core.records import Slot
from skerry.errors import Passing, SkerryError
from skerry.image.oci import ImageConfig
from skerry.image.trees import Images
from skerry.net.network import Network
from skerry.observe.logs import tail
from skerry.runtime.contract import Container, ContainerSpec, Mount, Runtime

log = logging.getLogger(__name__)
KEPT_MAX = 100  # ended containers that are remembered for their logs
LAST_LINES = 10  # of an exited container's log, for `events` and `explain`


class Environment(Protocol):
    """Opens what the app's document keeps sealed."""

    def __call__(self, app: str, sealed: dict[str, str]) -> dict[str, str]: ...


class Labels(msgspec.Struct, frozen=True):
    """What the runtime keeps beside a container, so that the next agent recognises it."""

    slot: str
    spec: str
    image: str
    address: str

    def as_dict(self) -> dict[str, str]:
        return dict(msgspec.to_builtins(self))


class Containers:
    """The containers of this host. `post` takes the event that answers an effect; `routed` waits until wanted routes are in force."""

    def __init__(
        self,
        runtime: Runtime,
        network: Network,
        images: Images,
        volumes: Path,
        *,
        boot: int,
        post: Callable[[Event], None],
        environment: Environment,
        routed: Callable[[], Awaitable[None]],
    ) -> None:
        self._runtime = runtime
        self._network = network
        self._images = images
        self._volumes = volumes
        self._boot = boot
        self._post = post
        self._environment = environment
        self._routed = routed
        self._made = 0
        self._known: dict[str, Labels] = {}
        self._stopping: set[str] = set()
        self._gone: set[str] = set()
        self._mounted: dict[str, tuple[tuple[str, str], ...]] = {}

    async def adopt(self) -> None:
        """Tell core what an earlier agent left running; clear away what ended meanwhile."""
        for container in await self._runtime.list_containers():
            labels = _labels(container)
            if labels is None:
                await self._clear(container.id)
                continue
            self._known[container.id] = labels
            if container.running:
                self._network.adopt(container.id, labels.address)
            else:
                await self._clear(container.id)
            self._post(
                ContainerFound(
                    Slot.parse(labels.slot), labels.spec, labels.image, labels.address, container.id,
                    container.running, container.exit_code,
                )
            )  # fmt: skip

    async def start(self, effect: Start) -> None:
        """Answers with ContainerStarted or StartFailed; what a failed start made is taken away again."""
        self._made += 1
        slot = effect.slot
        id = f"{slot.app}-{slot.service}-{slot.index}-{self._boot}-{self._made}"
        try:
            labels = await self._make(id, effect)
        except SkerryError as error:
            log.warning("%s did not start: %s", slot, error)
            await self._network.detach(id)
            self._post(StartFailed(slot, effect.spec, str(error), isinstance(error, Passing)))
            return
        self._known[id] = labels
        self._post(ContainerStarted(slot, effect.spec, labels.address, id))

    async def _make(self, id: str, effect: Start) -> Labels:
        service, slot = effect.service, effect.slot
        root = self._images.root(effect.image)
        if root is None:
            raise NotHere(effect.image)
        config = self._images.config(effect.image)
        attachment = await self._network.attach(id)
        labels = Labels(str(slot), effect.spec, effect.image, attachment.address)
        user = service.user or config.user or "0:0"
        hostname = service.hostname or f"{slot.service}-{slot.index}"
        environment = dict(config.env) | self._environment(slot.app, service.environment)
        mounts = [Mount(target=path) for path in service.writable]
        mounts += [
            Mount(target=v.target, source=str(self._volume(slot.app, v.volume)), read_only=v.read_only)
            for v in service.volumes
        ]
        self._mounted[id] = tuple((slot.app, v.volume) for v in service.volumes)
        await self._runtime.start(
            ContainerSpec(
                id=id,
                root=root,
                args=_arguments(service.entrypoint, service.command, config),
                environment=tuple(sorted(environment.items())),
                user=user,
                working_dir=service.working_dir or config.working_dir or "/",
                hostname=hostname,
                netns=attachment.netns,
                mounts=tuple(mounts),
                capabilities=service.capabilities,
                memory_bytes=service.needs.memory_limit_bytes,
                cpus=service.needs.cpus_limit,
                pids=service.needs.pids_limit,
                files=(
                    ("/etc/hosts", f"127.0.0.1 localhost\n{attachment.address} {hostname}\n".encode()),
                    ("/etc/hostname", f"{hostname}\n".encode()),
                    ("/etc/resolv.conf", self._network.resolv_conf(slot.app)),
                ),
                labels=labels.as_dict(),
            )
        )
        return labels

    async def stop(self, effect: Stop) -> None:
        """Out of the routes first, then drained, then signalled, then cleared away. Answers with ContainerStopped."""
        self._stopping.add(effect.container)
        await self._routed()
        await asyncio.sleep(effect.drain_s)
        await self._runtime.stop(effect.container, signal=effect.signal, grace_s=effect.grace_s)
        await self._clear(effect.container)
        self._stopping.discard(effect.container)
        self._post(ContainerStopped(effect.slot, effect.spec, effect.container))

    async def watch_exits(self) -> None:
        """Runs for ever: tells core of each container that ended without being told to."""
        async for gone in self._runtime.exits():
            labels = self._known.get(gone.id)
            if labels is None or gone.id in self._stopping:
                continue
            lines = "\n".join(line.text for line in tail(self._runtime.logs(gone.id), LAST_LINES))
            await self._clear(gone.id)
            slot = Slot.parse(labels.slot)
            self._post(ContainerExited(slot, labels.spec, gone.id, gone.exit_code, gone.oom, lines))

    def running(self) -> dict[str, str]:
        """Container id -> slot of what runs here now."""
        return {id: labels.slot for id, labels in self._known.items() if id not in self._gone}

    def with_logs(self) -> list[tuple[str, str]]:
        """(container id, slot) of what runs or ran here and still has logs."""
        return [(id, labels.slot) for id, labels in self._known.items()]

    def count(self) -> int:
        return len(self.running())

    def users_of(self, app: str, volume: str) -> list[str]:
        """Slots whose containers have this volume mounted now."""
        return [slot for id, slot in self.running().items() if (app, volume) in self._mounted.get(id, ())]

    def remove_volume(self, app: str, volume: str) -> bool:
        """Delete its data on this host. False: there was none."""
        path = self._volumes / app / volume
        if not path.is_dir():
            return False
        shutil.rmtree(path)
        return True

    def logs(self, id: str) -> list[Path]:
        return self._runtime.logs(id)

    async def _clear(self, id: str) -> None:
        await self._runtime.stop(id, signal="SIGKILL", grace_s=0.0)
        await self._network.detach(id)
        self._gone.add(id)
        while len(self._gone) > KEPT_MAX:  # their logs are rotated away by then
            oldest = next(id for id in self._known if id in self._gone)
            self._gone.discard(oldest)
            del self._known[oldest]

    def _volume(self, app: str, name: str) -> Path:
        """The volume's directory on this host, made empty when it isn't there; the runtime gives it to its user."""
        path = self._volumes / app / name
        path.mkdir(parents=True, exist_ok=True)
        return path


class NotHere(Passing):
    """Core asked to start what isn't here (any more): the image was removed between the two."""

    code = "image-not-here"

    def __init__(self, image: str) -> None:
        super().__init__(f"image {image[:19]} can't be started", "its tree is not on this host", "it is fetched again")


def _arguments(entrypoint: tuple[str, ...], command: tuple[str, ...], config: ImageConfig) -> tuple[str, ...]:
    """As OCI and compose say: an own entrypoint drops the image's command, too."""
    if entrypoint:
        return (*entrypoint, *command)
    return (*config.entrypoint, *(command or config.cmd))


def _labels(container: Container) -> Labels | None:
    try:
        return msgspec.convert(container.labels, Labels)
    except msgspec.ValidationError:
        return None
