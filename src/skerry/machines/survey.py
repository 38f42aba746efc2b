"""What is found on a host before it joins, and what of that stands in the way. Pure but for `survey`, which asks."""

from __future__ import annotations

import msgspec

from skerry.errors import Refusal
from skerry.machines.ssh import Ssh


class Listener(msgspec.Struct, frozen=True):
    """Somebody listens: `protocol` is tcp or udp; `process` is "" where it can't be told."""

    protocol: str
    port: int
    process: str = ""


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What one host is. Memory and disk in bytes; `clock_offset_s`: its clock minus ours."""

    hostname: str = ""
    distribution: str = ""
    kernel: str = ""
    arch: str = ""
    user: str = ""
    systemd: int = 0  # version; 0: not pid 1
    cgroups: int = 0  # 1, 2; 0: none
    overlay: bool = False
    veth: bool = False
    nftables: bool = False
    tun: bool = False
    wireguard: bool = False  # in the kernel; without it the agent brings its own
    memory_bytes: int = 0
    cpus: int = 0
    disk_free_bytes: int = 0
    clock_offset_s: float = 0.0
    docker: bool = False
    ufw: bool = False
    listeners: tuple[Listener, ...] = ()
    skerry_version: str = ""  # installed, "" if none
    skerry_cloud: str = ""  # id of the cloud that it is enrolled in
    skerry_node: str = ""  # its path there: node/vps-1
    skerry_active: bool = False


def survey(ssh: Ssh) -> Survey:
    """Look at the host; changes nothing there."""
    raise NotImplementedError


def parse_survey(text: str, *, now_s: float) -> Survey:
    """Read what the survey script prints. Raises BadFormat."""
    raise NotImplementedError


def judge(survey: Survey, *, cloud: str = "", arch: str = "x86_64") -> list[Refusal]:
    """All that stands in the way of joining, each with its fix; empty if nothing does. `cloud`: id of the one to join."""
    raise NotImplementedError
