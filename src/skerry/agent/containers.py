"""Starting and stopping a slot's container: image tree, address, volumes, environment, runtime, in that order, and back.

The only place that knows how a service's intent becomes a ContainerSpec. It never decides whether or when.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import msgspec

from skerry.agent.guarding.guarded import Guarded
from skerry.agent.inits import Ended, Inits
from skerry.agent.leases import doors
from skerry.agent.looking.beginnings import Beginnings
from skerry.agent.volumes import Volumes
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
from skerry.runtime.contract import ContainerSpec, Exited, Mount, Runtime

log = logging.getLogger(__name__)
KEPT_MAX = 100  # ended containers that are remembered for their logs
FENCING_NUMBER = "SKERRY_FENCING_NUMBER"  # in a container of an exclusive slot: its lease's number
LAST_LINES = 10  # of the log of a container that exited or ails, for `events` and `explain`


class Environment(Protocol):
    """Opens what the app's document keeps sealed."""

    def __call__(self, app: str, sealed: dict[str, str]) -> dict[str, str]: ...


class Labels(msgspec.Struct, frozen=True):
    """What the runtime keeps beside a container, so that the next agent recognises it."""

    slot: str
    spec: str
    image: str
    address: str
    volumes: str = ""  # names, with commas between
    init: str = ""  # the container whose data it makes; "" for a service's own
    fencing: str = ""  # the number of the lease under which it runs, "" if it needs none

    def as_dict(self) -> dict[str, str]:
        return dict(msgspec.to_builtins(self))


class Containers:
    """The containers of this host. `post` takes the event that answers an effect; `routed` waits until wanted routes are in force;
    `crashed` is called before what crashed is cleared away (container, slot, image), `leaves_cores` before one starts whose cores are
    asked for.
    """

    def __init__(
        self,
        runtime: Runtime,
        network: Network,
        images: Images,
        volumes: Volumes,
        beginnings: Beginnings,
        guarded: Guarded,
        *,
        scratch: Path,
        boot: int,
        post: Callable[[Event], None],
        environment: Environment,
        routed: Callable[[], Awaitable[None]],
        crashed: Callable[[Exited, Slot, str], None],
        leaves_cores: Callable[[], None],
        leases: doors.LeaseDoors,
    ) -> None:
        self._runtime = runtime
        self._network = network
        self._images = images
        self._volumes = volumes
        self._beginnings = beginnings
        self._guarded = guarded
        self._inits = Inits(images, volumes, scratch, once=self._once, post=post)
        self._boot = boot
        self._post = post
        self._environment = environment
        self._routed = routed
        self._crashed = crashed
        self._leaves_cores = leaves_cores
        self._leases = leases
        self._made = 0
        self._known: dict[str, Labels] = {}
        self._starting: dict[str, asyncio.Event] = {}
        self._awaited: dict[str, asyncio.Future[Exited]] = {}  # containers that run once
        self._called_off: set[str] = set()
        self._ended_early: dict[str, Exited] = {}  # before its start was told
        self._stopping: set[str] = set()
        self._gone: set[str] = set()

    async def adopt(self) -> None:
        """Tell core what an earlier agent left running, and what ended meanwhile; that is cleared away."""
        for id, kept in self._runtime.ended().items():
            if (labels := _labels(kept)) is not None:
                self._known[id] = labels
                self._gone.add(id)
        containers = await self._runtime.list_containers()
        self._inits.forget_all_but({container.id for container in containers})
        self._beginnings.forget_all_but({container.id for container in containers})
        read = {container.id: _labels(container.labels) for container in containers}
        guarded = {id: Slot.parse(labels.slot) for id, labels in read.items() if labels is not None and labels.fencing}
        living = await self._guarded.recall(guarded)
        for container in containers:
            labels = _labels(container.labels)
            if labels is not None:
                self._known[container.id] = labels
            # An init goes with the agent that asked for it; an exclusive slot's container, if no guard says that it may live.
            if labels is None or labels.init or container.id in guarded.keys() - living.keys():
                await self._clear(container.id)
                continue
            if container.running:
                self._network.adopt(container.id, labels.address, _service(labels.slot))
                await self._leases.adopt(Slot.parse(labels.slot).app, container.id)
            else:
                self._keep(Exited(id=container.id, exit_code=container.exit_code or 0, oom=container.oom), labels)
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
        self._starting[id] = asyncio.Event()
        try:
            address = await self._make(id, effect)
            if id in self._called_off:
                await self._runtime.stop(id, signal="SIGKILL", grace_s=0.0)
                raise CalledOff(slot)
        except SkerryError as error:
            log.warning("%s did not start: %s", slot, error)
            self._known.pop(id, None)
            await self._network.detach(id)
            await self._leases.close(id)
            await self._guarded.let_go(id)
            await asyncio.to_thread(self._forget, id)
            self._post(StartFailed(slot, effect.spec, str(error), isinstance(error, Passing)))
            return
        finally:
            self._starting.pop(id).set()
            self._called_off.discard(id)
        self._post(ContainerStarted(slot, effect.spec, address, id))
        if (ended := self._ended_early.pop(id, None)) is not None:
            await self._tell_exit(ended)

    async def _make(self, id: str, effect: Start) -> str:
        """Its address."""
        service, slot = effect.service, effect.slot
        root = self._images.root(effect.image)
        if root is None:
            raise NotHere(effect.image)
        config = self._images.config(effect.image)
        attachment = await self._network.attach(id, _service(str(slot)))
        volumes = ",".join(v.volume for v in service.volumes)
        fencing = str(effect.fencing) if effect.fencing else ""
        labels = self._known[id] = Labels(
            str(slot), effect.spec, effect.image, attachment.address, volumes, fencing=fencing
        )
        user = service.user or config.user or "0:0"
        hostname = service.hostname or f"{slot.service}-{slot.index}"
        own = self._environment(slot.app, service.environment)
        environment = dict(config.env) | own
        if fencing:
            environment[FENCING_NUMBER] = fencing
        mounts = [
            Mount(target=path, source=str(self._inits.scratch(id, n)) if effect.init else "")
            for n, path in enumerate(service.writable)
        ]
        mounts += [
            Mount(target=v.target, source=str(self._volumes.path(slot.app, v.volume)), read_only=v.read_only)
            for v in service.volumes
        ]
        if service.leases:
            await self._leases.open(slot.app, id)
            mounts.append(Mount(target=doors.INSIDE, source=str(self._leases.place(id)), read_only=True))
            environment[doors.VARIABLE] = f"{doors.INSIDE}/{doors.SOCKET}"
        spec = ContainerSpec(
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
            core_bytes=service.core_bytes,
            files=(
                ("/etc/hosts", f"127.0.0.1 localhost\n{attachment.address} {hostname}\n".encode()),
                ("/etc/hostname", f"{hostname}\n".encode()),
                ("/etc/resolv.conf", self._network.resolv_conf(slot.app)),
            ),
            labels=labels.as_dict(),
        )
        if spec.core_bytes:
            self._leaves_cores()
        if effect.init:
            await self._inits.run(effect, spec, own)
        volumes_here = {mount.target: Path(mount.source) for mount in mounts if mount.source and not mount.read_only}
        await asyncio.to_thread(self._beginnings.note, id, volumes_here)
        if effect.fencing:
            await self._guarded.hold(id, slot, effect.fencing, attachment.address)
        await self._runtime.start(spec)
        return attachment.address

    def _forget(self, id: str) -> None:
        """What was made for it on the disk."""
        self._inits.forget(id)
        self._beginnings.forget(id)

    async def _once(self, spec: ContainerSpec, within_s: float) -> Ended:
        """See inits.Once."""
        labels = self._known[spec.id] = msgspec.convert(spec.labels, Labels)
        ended = self._awaited[spec.id] = asyncio.get_running_loop().create_future()
        try:
            if spec.labels["init"] in self._called_off:
                raise CalledOff(Slot.parse(spec.labels["slot"]))
            if labels.fencing:
                number = int(labels.fencing)
                await self._guarded.hold(spec.id, Slot.parse(labels.slot), number, labels.address, wire_of=labels.init)
            await self._runtime.start(spec)
            async with asyncio.timeout(within_s):
                gone = await ended
            lines = self._last_lines(spec.id)
            return Ended(gone.exit_code, gone.oom, lines)
        finally:
            del self._awaited[spec.id]
            await self._clear(spec.id)

    async def _call_off(self, id: str) -> None:
        """Until nothing of a start that is still under way is left."""
        over = self._starting[id]
        self._called_off.add(id)
        for init, ended in self._awaited.items():
            if self._known[init].init == id and not ended.done():
                ended.set_exception(CalledOff(Slot.parse(self._known[id].slot)))
        await over.wait()

    async def stop(self, effect: Stop) -> None:
        """Out of the routes first, then drained, then signalled, then cleared away. Answers with ContainerStopped."""
        if effect.container in self._starting:
            await self._call_off(effect.container)
        self._stopping.add(effect.container)
        await self._routed()
        await asyncio.sleep(effect.drain_s)
        await self._runtime.stop(effect.container, signal=self._signal(effect), grace_s=effect.grace_s)
        await self._clear(effect.container)
        self._stopping.discard(effect.container)
        self._post(ContainerStopped(effect.slot, effect.spec, effect.container))

    async def watch_exits(self) -> None:
        """Runs for ever: tells core of each container that ended without being told to."""
        async for gone in self._runtime.exits():
            if (awaited := self._awaited.get(gone.id)) is not None:
                if not awaited.done():
                    awaited.set_result(gone)
            elif gone.id in self._starting:
                self._ended_early[gone.id] = gone
            elif gone.id in self._known and gone.id not in self._stopping:
                await self._tell_exit(gone)

    async def _tell_exit(self, gone: Exited) -> None:
        labels = self._known[gone.id]
        lines = self._last_lines(gone.id)
        self._keep(gone, labels)
        await self._clear(gone.id)
        self._post(ContainerExited(Slot.parse(labels.slot), labels.spec, gone.id, gone.exit_code, gone.oom, lines))

    def _last_lines(self, id: str) -> str:
        return "\n".join(line.text for line in tail(self._runtime.logs(id), LAST_LINES))

    def last_lines_of(self, slot: Slot, spec: str) -> str:
        """What a slot's container said last that runs here in that version; "" if none does."""
        ids = (
            id for id, labels in self._known.items() if (labels.slot, labels.spec, labels.init) == (str(slot), spec, "")
        )
        return next((self._last_lines(id) for id in ids if id not in self._gone), "")

    def _keep(self, gone: Exited, labels: Labels) -> None:
        """Of one that ended badly, what would be gone with it; nothing waits for that."""
        if gone.exit_code or gone.oom:
            self._crashed(gone, Slot.parse(labels.slot), labels.image)

    def _signal(self, effect: Stop) -> str:
        """The service's own, else what its image says."""
        labels = self._known.get(effect.container)
        if effect.signal or labels is None or self._images.root(labels.image) is None:
            return effect.signal or "SIGTERM"
        return self._images.config(labels.image).stop_signal or "SIGTERM"

    def running(self) -> dict[str, str]:
        """Container id -> slot of what runs here now."""
        return {id: labels.slot for id, labels in self._known.items() if id not in self._gone}

    def addresses(self) -> dict[str, tuple[Slot, str]]:
        """Container id -> slot and address of what runs here now."""
        return {id: (Slot.parse(slot), self._known[id].address) for id, slot in self.running().items()}

    def with_logs(self) -> list[tuple[str, str]]:
        """(container id, slot) of what runs or ran here and still has logs."""
        return [(id, labels.slot) for id, labels in self._known.items()]

    def count(self) -> int:
        return len(self.running())

    def users_of(self, app: str, volume: str) -> list[str]:
        """Slots whose containers have this volume mounted now, or are about to."""
        return [
            slot
            for id, slot in self.running().items()
            if Slot.parse(slot).app == app and volume in self._known[id].volumes.split(",")
        ]

    def logs(self, id: str) -> list[Path]:
        return self._runtime.logs(id)

    def missing_lines(self, id: str) -> int:
        return self._runtime.missing_lines(id)

    async def _clear(self, id: str) -> None:
        await self._runtime.stop(id, signal="SIGKILL", grace_s=0.0)
        await self._leases.close(id)
        await self._network.detach(id)
        await self._guarded.let_go(id)
        await asyncio.to_thread(self._forget, id)
        if id in self._known:
            self._gone.add(id)
        while len(self._gone) > KEPT_MAX:  # their logs are rotated away by then
            oldest = next(id for id in self._known if id in self._gone)
            self._gone.discard(oldest)
            del self._known[oldest]


class CalledOff(Passing):
    """Its slot was let go of while its data was being made."""

    code = "called-off"

    def __init__(self, slot: Slot) -> None:
        super().__init__(f"{slot} is not started", "it was to be stopped before it had begun", "")


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


def _service(slot: str) -> str:
    """ "app.service" of "app.service/0"."""
    return slot.rpartition("/")[0]


def _labels(kept: dict[str, str]) -> Labels | None:
    try:
        return msgspec.convert(kept, Labels)
    except msgspec.ValidationError:
        return None
