"""A whole lab: hosts, their network, their faults. Each public method is one thing that a person can ask for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess

import msgspec


class Machine(msgspec.Struct, frozen=True):
    """One lab host. `state`: "on" or "off" or "cut"; `pid` is its pid 1 as this machine sees it, 0 when off."""

    name: str
    state: str
    address: str
    pid: int


class Lab:
    """Hosts `vps-1`, `vps-2` ... of one lab. Several labs fit side by side: each has its own name and /24 network.

    The hosts outlive the caller; every later `Lab(name)` finds them again. Raises LabError and its subclasses.
    """

    def __init__(self, name: str = "lab", directory: Path | None = None) -> None:
        """`directory`: where the lab keeps its disks; default `$SKERRY_LAB`, else `/var/lib/skerry-lab/<name>`."""
        raise NotImplementedError

    def up(self, hosts: int = 3, base: str = "host") -> list[Machine]:
        """Make and boot the hosts; returns when every SSH server answers. `base`: "host" or "minimal"."""
        raise NotImplementedError

    def status(self) -> list[Machine]:
        """All hosts, in order. Empty when the lab is not up."""
        raise NotImplementedError

    def exec(
        self,
        host: str,
        argv: Sequence[str],
        *,
        input: bytes | None = None,
        capture: bool = True,
        timeout_s: float | None = None,
    ) -> CompletedProcess[bytes]:
        """Run `argv` inside, as root, in all namespaces of the host. Without `capture` it has the caller's terminal."""
        raise NotImplementedError

    def kill(self, host: str) -> None:
        """A power cut: link first, then pid 1; returns when it has really ended. Already off counts as killed."""
        raise NotImplementedError

    def boot(self, host: str) -> Machine:
        """Power it on again, with the disk that it had. Returns when its SSH server answers."""
        raise NotImplementedError

    def cut(self, host: str) -> None:
        """Pull its network cable; it goes on running."""
        raise NotImplementedError

    def heal(self, host: str) -> None:
        """Undo `cut`, `slow` and `partition` for this host."""
        raise NotImplementedError

    def slow(self, host: str, *, rate: str | None = None, loss: str | None = None, delay: str | None = None) -> None:
        """Make its network worse, both ways: rate "10mbit", loss "1%", delay "20ms" (only where the kernel has netem)."""
        raise NotImplementedError

    def partition(self, *groups: Sequence[str]) -> None:
        """Hosts of different groups no longer reach one another; this machine reaches all. Undone by `heal`."""
        raise NotImplementedError

    def down(self) -> list[str]:
        """Remove everything of it, also after an interruption. Returns what was removed, in words."""
        raise NotImplementedError

    def leftovers(self) -> list[str]:
        """What of this lab is on the machine now: processes, mounts, namespaces, interfaces, cgroups. Empty after `down`."""
        raise NotImplementedError

    def ssh_config(self) -> Path:
        """An ssh configuration with key and known host keys: `ssh -F PATH root@vps-1`, or by address."""
        raise NotImplementedError
