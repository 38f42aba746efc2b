"""`skerry.Client`: what `skerry.AsyncClient` does, for programs without an event loop; streams are iterators.

Made from the parts of the asynchronous client by tests/sdk/test_synchronous.py; not to be changed by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from skerry.client import join
from skerry.core.intent import Operator
from skerry.sdk import apps, hosts, machines, store
from skerry.sdk.apps import Compose
from skerry.sdk.beside import Beside
from skerry.sdk.connection import Progress
from skerry.sdk.values import (
    App,
    Change,
    Cost,
    Deployed,
    Drained,
    Host,
    HostRemoved,
    Image,
    Joined,
    Machine,
    Pool,
    PoolChanged,
    Removed,
    Replica,
    Role,
    RolledBack,
    Scaled,
    Volume,
)


class Apps:
    """`client.apps`."""

    def __init__(self, its: apps.Apps, beside: Beside) -> None:
        self._its, self._beside = its, beside

    def ls(self) -> list[App]:
        """All apps that are not removed, by name."""
        return self._beside.run(self._its.ls())

    def get(self, name: str) -> App:
        """One app. Raises NoSuchApp."""
        return self._beside.run(self._its.get(name))

    def replicas(self, name: str = "") -> list[Replica]:
        """Every replica of the app; of all apps without a name."""
        return self._beside.run(self._its.replicas(name))

    def deploy(
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
        return self._beside.run(
            self._its.deploy(
                compose,
                name=name,
                variables=variables,
                prev=prev,
                detach=detach,
                timeout_s=timeout_s,
                progress=progress,
            )
        )

    def diff(
        self,
        compose: Compose,
        *,
        name: str = "",
        variables: Mapping[str, str] | None = None,
        progress: Progress = lambda line: None,
    ) -> list[Change]:
        """What a deploy would change, field by field; nothing if it would change nothing. Images are built, nothing is signed."""
        return self._beside.run(self._its.diff(compose, name=name, variables=variables, progress=progress))

    def rollback(
        self, name: str, *, prev: str | None = None, timeout_s: float = 120.0, progress: Progress = lambda line: None
    ) -> RolledBack:
        """Go back to the release before. Raises NothingBefore, NoSuchApp, NotInTime, ChangedMeanwhile."""
        return self._beside.run(self._its.rollback(name, prev=prev, timeout_s=timeout_s, progress=progress))

    def scale(
        self,
        service: str,
        replicas: int,
        *,
        prev: str | None = None,
        detach: bool = False,
        timeout_s: float = 120.0,
        progress: Progress = lambda line: None,
    ) -> Scaled:
        """Set how many replicas APP.SERVICE has (SERVICE alone where only one app has it). Nothing is restarted."""
        return self._beside.run(
            self._its.scale(service, replicas, prev=prev, detach=detach, timeout_s=timeout_s, progress=progress)
        )

    def rm(
        self, name: str, *, prev: str | None = None, timeout_s: float = 60.0, progress: Progress = lambda line: None
    ) -> Removed:
        """Stop all of an app and remove its intent; its volumes stay. Raises NoSuchApp, NotInTime, ChangedMeanwhile."""
        return self._beside.run(self._its.rm(name, prev=prev, timeout_s=timeout_s, progress=progress))

    def wait_healthy(
        self, name: str, *, timeout_s: float = 120.0, progress: Progress = lambda line: None
    ) -> list[Replica]:
        """Wait until each replica runs what is wanted now and is healthy, or, a job, is done. Raises RolloutFailed, NotInTime."""
        return self._beside.run(self._its.wait_healthy(name, timeout_s=timeout_s, progress=progress))


class Hosts:
    """`client.hosts`. Hosts are named as in `skerry host ls`: `vps-1`, or, a machine of a pool, `burst/3`."""

    def __init__(self, its: hosts.Hosts, beside: Beside) -> None:
        self._its, self._beside = its, beside

    def ls(self) -> list[Host]:
        """All hosts, as the first one that answers sees them."""
        return self._beside.run(self._its.ls())

    def get(self, name: str) -> Host:
        """Raises NoSuchHost."""
        return self._beside.run(self._its.get(name))

    def add(
        self,
        target: str,
        *,
        name: str | None = None,
        labels: dict[str, str] | None = None,
        zone: str = "",
        address: str | None = None,
        ssh_config: Path | None = None,
        identity: Path | None = None,
        jump: str = "",
        host_keys: Sequence[str] = (),
        readmit: bool = False,
        timeout_s: float = join.JOIN_TIMEOUT_S,
        progress: Progress = lambda line: None,
    ) -> Joined:
        """Join the machine behind `target` ("root@198.51.100.7") by one SSH session; again, it mends a broken agent.

        `name`: else its own host name. `address`: where other hosts reach it, if not where ssh does. `identity`: ssh's private
        key; `jump`: the host on the way; `host_keys`: fingerprints of its key ("SHA256:…"), as nobody is asked.
        Raises NameTaken, HostBarred, HostUnfit, Unreachable, NotInTime.
        """
        return self._beside.run(
            self._its.add(
                target,
                name=name,
                labels=labels,
                zone=zone,
                address=address,
                ssh_config=ssh_config,
                identity=identity,
                jump=jump,
                host_keys=host_keys,
                readmit=readmit,
                timeout_s=timeout_s,
                progress=progress,
            )
        )

    def drain(
        self, name: str, *, prev: str | None = None, timeout_s: float = 120.0, progress: Progress = lambda line: None
    ) -> Drained:
        """Move every replica off, and wait until it is empty but for what stays with its data. Raises NoSuchHost, NotInTime."""
        return self._beside.run(self._its.drain(name, prev=prev, timeout_s=timeout_s, progress=progress))

    def undrain(self, name: str, *, prev: str | None = None) -> Drained:
        """Let it take replicas again. Raises NoSuchHost."""
        return self._beside.run(self._its.undrain(name, prev=prev))

    def rm(
        self,
        name: str,
        *,
        purge: bool = False,
        prev: str | None = None,
        target: str | None = None,
        ssh_config: Path | None = None,
        identity: Path | None = None,
        jump: str = "",
        host_keys: Sequence[str] = (),
        progress: Progress = lambda line: None,
    ) -> HostRemoved:
        """Take it out of the cloud by SSH and leave the machine as it was before. `purge`: its volumes and keys go, too."""
        return self._beside.run(
            self._its.rm(
                name,
                purge=purge,
                prev=prev,
                target=target,
                ssh_config=ssh_config,
                identity=identity,
                jump=jump,
                host_keys=host_keys,
                progress=progress,
            )
        )

    def wait(self, name: str, state: str = "up", *, timeout_s: float = 60.0) -> Host:
        """Wait until the cloud sees the host in this state. Raises NotInTime, NoSuchHost."""
        return self._beside.run(self._its.wait(name, state, timeout_s=timeout_s))


class Pools:
    """`client.pools`."""

    def __init__(self, its: machines.Pools, beside: Beside) -> None:
        self._its, self._beside = its, beside

    def ls(self) -> list[Pool]:
        """All pools that are not removed, by name."""
        return self._beside.run(self._its.ls())

    def get(self, name: str) -> Pool:
        """Raises NoSuchPool."""
        return self._beside.run(self._its.get(name))

    def add(
        self,
        name: str,
        provider: str,
        *,
        max: int,
        min: int = 0,
        size: str = "",
        cpus: float = 0.0,
        memory_bytes: int = 0,
        price_usd_month: float = 0.0,
        spend_usd_month: float = 0.0,
        regions: Sequence[str] = (),
        image: str = "",
        endpoint: str = "",
        options: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
        keepers: Sequence[str] | None = None,
        token: str | None = None,
        progress: Progress = lambda line: None,
    ) -> PoolChanged:
        """Let keepers rent up to `max` machines. `size`: the provider's name of one, else the cheapest with `cpus` and
        `memory_bytes` for at most `price_usd_month`. `spend_usd_month`: of all; 0: what so many cost at most.

        `keepers`: names of fixed hosts; None: the first two; (): operators rent by hand, and `options["meeting"]` names the host
        where machines wait. `token`: the provider's, else $<PROVIDER>_TOKEN. Raises PoolTaken, NoSuchSize, what the provider refuses.
        """
        return self._beside.run(
            self._its.add(
                name,
                provider,
                max=max,
                min=min,
                size=size,
                cpus=cpus,
                memory_bytes=memory_bytes,
                price_usd_month=price_usd_month,
                spend_usd_month=spend_usd_month,
                regions=regions,
                image=image,
                endpoint=endpoint,
                options=options,
                labels=labels,
                keepers=keepers,
                token=token,
                progress=progress,
            )
        )

    def set(
        self,
        name: str,
        *,
        changes: dict[str, Any],
        keepers: Sequence[str] | None = None,
        token: str = "",
        prev: str | None = None,
        progress: Progress = lambda line: None,
    ) -> PoolChanged:
        """Change fields of a pool (min, max, size, spend_usd_month, regions, image, creates_per_hour, down_s, join_s, drain_s, age_s,
        grace_s), its provider's token, or who keeps it. Raises NoSuchPool, NoSuchSize, ChangedMeanwhile."""
        return self._beside.run(
            self._its.set(name, changes=changes, keepers=keepers, token=token, prev=prev, progress=progress)
        )

    def rm(
        self,
        name: str,
        *,
        now: bool = False,
        token: str | None = None,
        prev: str | None = None,
        timeout_s: float = 600.0,
        progress: Progress = lambda line: None,
    ) -> None:
        """Return all its machines (drained first, unless `now`) and forget it. Raises NoSuchPool, NotInTime, ChangedMeanwhile."""
        return self._beside.run(
            self._its.rm(name, now=now, token=token, prev=prev, timeout_s=timeout_s, progress=progress)
        )

    def cost(self) -> list[Cost]:
        """What the machines of each pool cost now, as their keepers tell."""
        return self._beside.run(self._its.cost())


class Machines:
    """`client.machines`. A machine is named by its slot: `burst/3`. `token`: the provider's, where it is not sealed to operators."""

    def __init__(self, its: machines.Machines, beside: Beside) -> None:
        self._its, self._beside = its, beside

    def ls(self, pool: str = "") -> list[Machine]:
        """Of all pools, without a name. Raises NoSuchPool."""
        return self._beside.run(self._its.ls(pool))

    def get(self, slot: str) -> Machine:
        """Raises NoSuchMachine."""
        return self._beside.run(self._its.get(slot))

    def add(
        self, pool: str, *, token: str | None = None, timeout_s: float = 600.0, progress: Progress = lambda line: None
    ) -> Machine:
        """Rent one of a pool that no host keeps (POOL, or POOL/NUMBER), from here.

        Raises KeptPool, NotInTime, what the provider refuses.
        """
        return self._beside.run(self._its.add(pool, token=token, timeout_s=timeout_s, progress=progress))

    def rm(
        self,
        slot: str,
        *,
        now: bool = False,
        token: str | None = None,
        timeout_s: float = 300.0,
        progress: Progress = lambda line: None,
    ) -> None:
        """Drain it (unless `now`) and return it; where load wants it, its keeper rents another. Raises NoSuchMachine, NotInTime."""
        return self._beside.run(self._its.rm(slot, now=now, token=token, timeout_s=timeout_s, progress=progress))

    def reboot(
        self, slot: str, *, token: str | None = None, timeout_s: float = 300.0, progress: Progress = lambda line: None
    ) -> Machine:
        """Have it restarted and wait until its agent is back; other hosts run its replicas meanwhile.

        Raises NoSuchMachine, NotInTime, what the provider refuses.
        """
        return self._beside.run(self._its.reboot(slot, token=token, timeout_s=timeout_s, progress=progress))

    def resize(
        self,
        slot: str,
        size: str,
        *,
        token: str | None = None,
        timeout_s: float = 600.0,
        progress: Progress = lambda line: None,
    ) -> Machine:
        """Give it another of the provider's sizes: it is switched off and on, its disk stays. Raises as `reboot`."""
        return self._beside.run(self._its.resize(slot, size, token=token, timeout_s=timeout_s, progress=progress))

    def rebuild(
        self, slot: str, *, token: str | None = None, timeout_s: float = 900.0, progress: Progress = lambda line: None
    ) -> Machine:
        """Drain and return it, and have another one in its place: new disk, new keys. Raises NoSuchMachine, NotInTime."""
        return self._beside.run(self._its.rebuild(slot, token=token, timeout_s=timeout_s, progress=progress))


class Images:
    """`client.images`: the local store. Deploys take images from here; hosts get them by deploys alone."""

    def __init__(self, its: store.Images, beside: Beside) -> None:
        self._its, self._beside = its, beside

    def ls(self) -> list[Image]:
        """By name, those without one last."""
        return self._beside.run(self._its.ls())

    def names(self) -> dict[str, str]:
        """Name -> digest."""
        return self._its.names()

    def add(self, archive: str | Path, name: str) -> Image:
        """Import a docker-archive or an OCI layout under a name. Raises BadImage, BadInput for the name."""
        return self._beside.run(self._its.add(archive, name))

    def rm(self, name: str) -> str:
        """Take the name away; gives its digest. The image goes once nothing uses it (`skerry image gc`). Raises ImageNotFound."""
        return self._beside.run(self._its.rm(name))


class Volumes:
    """`client.volumes`."""

    def __init__(self, its: store.Volumes, beside: Beside) -> None:
        self._its, self._beside = its, beside

    def ls(self, *, warn: Callable[[str], None] = lambda line: None) -> list[Volume]:
        """Of all hosts that answer; `warn` hears of those that don't, as their volumes are missing. Raises Unreachable."""
        return self._beside.run(self._its.ls(warn=warn))

    def rm(self, node: str, app: str, volume: str) -> None:
        """Delete its data on that host, for good. Raises InUse, NoSuchSubject."""
        return self._beside.run(self._its.rm(node, app, volume))


class Roles:
    """`client.roles`. Operators are added and taken away with the root key at hand: `skerry role`."""

    def __init__(self, its: store.Roles, beside: Beside) -> None:
        self._its, self._beside = its, beside

    def ls(self) -> list[Role]:
        """Root, policy, then all roles of the policy."""
        return self._beside.run(self._its.ls())

    def add_ci(self, name: str, public: str | Path | Operator, apps: Sequence[str]) -> Role:
        """Let a key release the images of these apps, and nothing else. `public`: the file that `skerry key new` made."""
        return self._beside.run(self._its.add_ci(name, public, apps))

    def rm(self, name: str, *, turn_back: bool = False) -> tuple[str, ...]:
        """Take a role away: its keys are barred, what they signed is signed again; gives those paths.

        `turn_back`: of releases, not the last ones are taken for good but those before them. Raises NoSuchRole, LastOperator.
        """
        return self._beside.run(self._its.rm(name, turn_back=turn_back))
