"""What this machine is and has left: memory, cpus, disk, load, and what its kernel offers containers and tunnels.

Pure parsers of /proc texts first, then thin readers. Features are found by looking, never by loading or changing
anything; whether a runtime really works is tried elsewhere (runtime/probe.py).
Sources: proc(5), Linux Documentation/filesystems/proc.rst.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
from pathlib import Path
from typing import Literal

import msgspec

from skerry.errors import BadFormat

PROC = Path("/proc")
READ_MAX_BYTES = 1 << 20


class Memory(msgspec.Struct, frozen=True):
    total_bytes: int
    available_bytes: int


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel has now. `wireguard`: built in or loaded; one that could be loaded is not seen here."""

    overlay: bool
    tun: bool
    wireguard: bool
    nftables: bool
    seccomp: bool
    pressure: bool
    cgroups: Literal["v1", "hybrid", "v2", "none"]


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """`load`: runnable and waiting tasks, means of 1, 5 and 15 minutes. `disk_*`: of the file system asked about."""

    cpus: int
    memory: Memory
    disk_free_bytes: int
    disk_total_bytes: int
    load: tuple[float, float, float]
    kernel: str


def parse_meminfo(text: str) -> Memory:
    """Read /proc/meminfo (kB). Raises BadFormat when MemTotal or MemAvailable is missing or no number."""
    values: dict[str, int] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        number = rest.split()[:1]
        if name in ("MemTotal", "MemAvailable"):
            if not number or not (number[0].isascii() and number[0].isdigit()) or len(number[0]) > 18:
                raise BadFormat("/proc/meminfo can't be read", f"line {line[:80]!r:.100}")
            values[name] = int(number[0]) << 10
    if len(values) != 2:
        raise BadFormat("/proc/meminfo can't be read", "MemTotal or MemAvailable is missing")
    return Memory(values["MemTotal"], min(values["MemAvailable"], values["MemTotal"]))


def parse_loadavg(text: str) -> tuple[float, float, float]:
    """Read /proc/loadavg. Raises BadFormat."""
    try:
        one, five, fifteen = (float(word) for word in text.split()[:3])
    except ValueError as error:
        raise BadFormat("/proc/loadavg can't be read", f"{text[:80]!r:.100}") from error
    return one, five, fifteen


def parse_filesystems(text: str) -> frozenset[str]:
    """Names in /proc/filesystems; "nodev" is not one of them."""
    return frozenset(line.split("\t")[-1].strip() for line in text.splitlines() if line.strip())


def parse_cgroup_mounts(mountinfo: str) -> Literal["v1", "hybrid", "v2", "none"]:
    """Which cgroup trees a /proc/self/mountinfo shows. v1 trees without any controller (systemd's) don't count."""
    v1 = v2 = False
    for line in mountinfo.splitlines():
        _, separator, after = line.partition(" - ")
        fields = after.split(" ")
        if not separator or not fields[0].startswith("cgroup"):
            continue
        if fields[0] == "cgroup2":
            v2 = True
        elif fields[0] == "cgroup":
            v1 = v1 or "name=" not in fields[-1]
    if v1:
        return "hybrid" if v2 else "v1"
    return "v2" if v2 else "none"


def read_host(directory: Path, proc: Path = PROC) -> Host:
    """Figures of now; `directory` says which file system's room is meant."""
    disk = shutil.disk_usage(directory)
    return Host(
        cpus=len(os.sched_getaffinity(0)),
        memory=parse_meminfo(_text(proc / "meminfo")),
        disk_free_bytes=disk.free,
        disk_total_bytes=disk.total,
        load=parse_loadavg(_text(proc / "loadavg")),
        kernel=os.uname().release,
    )


def read_features(proc: Path = PROC) -> Features:
    """The kernel's features, seen from the network namespace and mount namespace of the caller."""
    return Features(
        overlay="overlay" in parse_filesystems(_text(proc / "filesystems")),
        tun=Path("/dev/net/tun").exists() or Path("/sys/class/misc/tun").exists(),
        wireguard=Path("/sys/module/wireguard").exists(),
        nftables=_has_netfilter(),
        seccomp=(proc / "sys/kernel/seccomp/actions_avail").exists(),
        pressure=(proc / "pressure/memory").exists(),
        cgroups=parse_cgroup_mounts(_text(proc / "self/mountinfo")),
    )


def _has_netfilter() -> bool:
    """Whether a nftables netlink socket can be opened and answers; a kernel without it refuses the protocol."""
    netlink_netfilter = 12
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, netlink_netfilter):
            return Path("/sys/module/nf_tables").exists() or _answers_generation()
    except OSError as error:
        if error.errno in (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT):
            return False
        raise


def _answers_generation() -> bool:
    """Ask nf_tables for its generation number (NFT_MSG_GETGEN), which changes nothing."""
    nfnl_subsys_nftables, get_generation, request = 10, 16, 1
    kind = (nfnl_subsys_nftables << 8) | get_generation
    message = (20).to_bytes(4, "little") + kind.to_bytes(2, "little") + request.to_bytes(2, "little") + bytes(12)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 12) as asked:
        asked.settimeout(1.0)
        asked.sendto(message, (0, 0))
        answer = asked.recv(4096)
    error = 2
    return int.from_bytes(answer[4:6], "little") != error


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(READ_MAX_BYTES).decode("utf-8", "replace")
