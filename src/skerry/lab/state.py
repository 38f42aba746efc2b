"""What a lab remembers between two commands: one small file, one lock. What the kernel knows better is asked there."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from skerry.lab.errors import LabBadInput, LabNotInTime, LabNotUp

MAX_HOSTS = 50
MAX_INDEX = 200  # of hosts that come and go; the last addresses of the network are the lab's own
NAME = re.compile(r"[a-z][a-z0-9-]{0,23}")
HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}")


class Host(msgspec.Struct, kw_only=True):
    """One host. `pid` and `started` (ticks since boot) name its pid 1; 0 when off. `group` of a partition: None, in none."""

    name: str
    index: int
    pid: int = 0
    started: int = 0
    cut: bool = False
    group: int | None = None
    loss: float = 0.0  # share of packets dropped each way, 0.0 to 1.0
    cloud: bool = False  # a rented machine: cloud-init is on it, its base is this machine's root

    @property
    def link(self) -> str:
        """Our end of its wire, in the lab's own network namespace."""
        return f"h{self.index}"


class State(msgspec.Struct, kw_only=True):
    """One lab. `network`: the number from which its interface and its /24 follow."""

    name: str
    base: str
    network: int
    hosts: list[Host]

    @property
    def interface(self) -> str:
        return f"sklab{self.network}"

    @property
    def subnet(self) -> str:
        """The first three bytes of the /24, as text."""
        return f"10.{90 + (3 + self.network // 256) % 10}.{self.network % 256}"

    def address(self, host: Host) -> str:
        return f"{self.subnet}.{10 + host.index}"

    @property
    def provider(self) -> str:
        """Where the lab's provider of machines answers, if it has one; our own end of the wire is .254."""
        return f"{self.subnet}.253"

    @property
    def provider_mac(self) -> str:
        return f"02:5b:{self.network // 256:02x}:{self.network % 256:02x}:00:fd"

    def free_index(self) -> int | None:
        """The lowest that no host has: addresses are given again, as providers do. None: the network is full."""
        taken = {host.index for host in self.hosts}
        return next((index for index in range(1, MAX_INDEX + 1) if index not in taken), None)

    def mac(self, host: Host) -> str:
        """02: given locally, to one machine."""
        return f"02:5b:{self.network // 256:02x}:{self.network % 256:02x}:00:{host.index:02x}"


def check_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise LabBadInput(
            f"{name!r} can't be the name of a lab",
            "a name is a letter and then at most 23 letters, digits and dashes, all lower case",
        )
    return name


def check_host(name: str) -> str:
    if not HOST.fullmatch(name):
        raise LabBadInput(
            f"{name!r} can't be the name of a host",
            "a name is at most 63 letters, digits, dots and dashes, the first a letter or a digit",
        )
    return name


def load(directory: Path, name: str) -> State:
    """Raises LabNotUp."""
    try:
        return msgspec.json.decode((directory / "state.json").read_bytes(), type=State)
    except FileNotFoundError:
        raise LabNotUp(name, sorted(other.parent.name for other in directory.parent.glob("*/state.json"))) from None


def save(directory: Path, state: State) -> None:
    new = directory / "state.json.new"
    new.write_bytes(msgspec.json.format(msgspec.json.encode(state), indent=1) + b"\n")
    new.replace(directory / "state.json")


@contextlib.contextmanager
def locked(directory: Path, *, timeout_s: float = 60.0) -> Iterator[None]:
    """One change at a time. The lock ends with its holder, however that ends. Raises LabNotInTime."""
    import fcntl  # not on Windows, where the lab must still be able to say why it won't run

    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "lock"
    end = time.monotonic() + timeout_s
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.fstat(handle).st_ino == path.stat().st_ino:  # `down` removes it while it holds it
                yield
                return
        except BlockingIOError:
            if time.monotonic() > end:
                raise LabNotInTime(
                    "the lab is busy",
                    f"another command has held {path} for {timeout_s:.0f} s",
                    "wait for it, or end it",
                ) from None
            time.sleep(0.02)
        finally:
            os.close(handle)
