"""`skerry.Client`: what `skerry.AsyncClient` does, for programs without an event loop; streams are iterators.

Made from the parts of the asynchronous client by tests/sdk/test_synchronous.py; not to be changed by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from skerry.client import (
    join,
    upgrade,
)
from skerry.sdk import hosts
from skerry.sdk.beside import Beside
from skerry.sdk.connection import Progress
from skerry.sdk.values import (
    Check,
    Drained,
    Expelled,
    Host,
    HostRemoved,
    Joined,
    Upgraded,
)


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
        slot: str = "",
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

        `name`: else its own host name. `slot`: as that machine of a pool ("burst/3"), which somebody has brought. `address`: where
        other hosts reach it, if not where ssh does. `identity`: ssh's private key; `jump`: the host on the way; `host_keys`:
        fingerprints of its key ("SHA256:…"), as nobody is asked.
        Raises NameTaken, HostBarred, HostUnfit, Unreachable, NotInTime.
        """
        return self._beside.run(
            self._its.add(
                target,
                name=name,
                labels=labels,
                zone=zone,
                slot=slot,
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

    def doctor(
        self,
        target: str,
        *,
        ssh_config: Path | None = None,
        identity: Path | None = None,
        jump: str = "",
        host_keys: Sequence[str] = (),
    ) -> list[Check]:
        """What `target` is, what stands in the way of its joining, and what reaches it; nothing is changed anywhere."""
        return self._beside.run(
            self._its.doctor(target, ssh_config=ssh_config, identity=identity, jump=jump, host_keys=host_keys)
        )

    def set(
        self,
        name: str,
        *,
        labels: dict[str, str] | None = None,
        zone: str | None = None,
        address: str = "",
        image_budget_bytes: int | None = None,
        prev: str | None = None,
    ) -> Host:
        """Sign its enrolment anew; what isn't given stays. `labels`: exactly these. `address`: where other hosts reach it.

        `image_budget_bytes`: of its disk, for images; 0: what the host itself thinks right. Raises NoSuchHost, ChangedMeanwhile.
        """
        return self._beside.run(
            self._its.set(
                name, labels=labels, zone=zone, address=address, image_budget_bytes=image_budget_bytes, prev=prev
            )
        )

    def upgrade(
        self,
        names: Sequence[str] = (),
        *,
        limit_s: float = upgrade.REJOIN_LIMIT_S,
        progress: Progress = lambda line: None,
    ) -> list[Upgraded]:
        """Give hosts (none named: all) the agent that this skerry ships, one after the other; containers run on.

        Raises TurnedBack for the first that did not rejoin within `limit_s` and went back; those after it are left alone.
        """
        return self._beside.run(self._its.upgrade(names, limit_s=limit_s, progress=progress))

    def expel(self, name: str, *, prev: str | None = None) -> Expelled:
        """Cut a captured host off everywhere: no host talks to it any more. Tells what it could read. Raises NoSuchHost."""
        return self._beside.run(self._its.expel(name, prev=prev))

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
