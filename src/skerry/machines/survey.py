"""What is found on a host before it joins, and what of that stands in the way. Pure but for `survey`, which asks.

The host runs one script (survey.sh, data) that reads and tries and changes nothing; its answer is lines of `key value`.
"""

from __future__ import annotations

import json
import re
import time
from importlib import resources

import msgspec

from skerry.errors import BadFormat, Refusal
from skerry.machines.errors import DiskFull, HostLacks, NotRoot, OtherEnrolment, PortTaken
from skerry.machines.ssh import Ssh

PORT = 7077
DISK_BYTES = 500 << 20
CLOCK_LIMIT_S = 60.0
MAX_TEXT = 256 << 10
MAX_LINES = 4000
NAMESPACES = ("mount", "process", "network", "name", "message")
CONTROLLERS = ("cpu", "memory", "pids")
CONTAINERS = {"openvz": "an OpenVZ container", "lxc": "an LXC container", "lxc-libvirt": "an LXC container"}
KNOWN = {"nginx", "apache2", "caddy", "haproxy", "lighttpd", "traefik", "httpd"}
_SS = re.compile(
    r"(?P<protocol>tcp|udp)\s+\S+\s+\d+\s+\d+\s+\S*:(?P<port>\d{1,5})\s+\S+(?:\s+(?P<users>users:\S.*))?\s*"
)
_USER = re.compile(r'\(\("(?P<name>[^"]{0,64})",pid=(?P<pid>\d+)')


class Listener(msgspec.Struct, frozen=True):
    """Somebody listens: `protocol` is tcp or udp; `process` "" and `pid` 0 where they can't be told."""

    protocol: str
    port: int
    process: str = ""
    pid: int = 0


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What one host is. Memory and disk in bytes; `clock_offset_s`: its clock minus ours."""

    hostname: str = ""
    address: str = ""  # where our SSH connection reached it, as the host sees it
    distribution: str = ""
    kernel: str = ""
    arch: str = ""
    user: str = ""
    systemd: int = 0  # version; 0: not pid 1
    no_sudo: str = ""  # why the user that is not root can't become it
    container: str = ""  # what it is itself a container of, in systemd's words: openvz, lxc
    cgroups: int = 0  # 1, 2; 0: none
    cgroups_writable: bool = False
    controllers: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
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
    ptrace_scope: int = 0  # of Yama; above 0 no tool may trace
    listeners: tuple[Listener, ...] = ()
    skerry_version: str = ""  # installed, "" if none
    skerry_cloud: str = ""  # id of the cloud that it is enrolled in
    skerry_node: str = ""  # its path there: node/vps-1
    skerry_pid: int = 0  # of the running agent

    def lines(self) -> list[str]:
        """For a person: what it is, and what of it stays untouched."""
        kind = f"{self.distribution or 'unknown system'}, kernel {self.kernel}, {self.arch}"
        size = (
            f"{self.cpus} cpus, {self.memory_bytes / 2**30:.1f} GiB memory, {self.disk_free_bytes / 2**30:.1f} GiB free"
        )
        found = [f"{self.hostname}: {kind}", size]
        if self.container:
            found.append(f"it is {_container(self)}: its kernel is its host's")
        if self.docker:
            found.append("Docker is here: its containers and rules stay as they are")
        if self.ufw:
            found.append(
                f"ufw is active: let {PORT}/tcp and {PORT}/udp in (ufw allow {PORT}), it is not changed for you"
            )
        if servers := sorted({other.process for other in self.listeners if other.process in KNOWN}):
            found.append(f"{', '.join(servers)} is here and stays as it is")
        if ports := sorted({other.port for other in self.listeners if other.protocol == "tcp" and other.port < 32768}):
            found.append("taken TCP ports: " + ", ".join(map(str, ports)))
        if not self.wireguard:
            found.append("no WireGuard in the kernel: the agent brings its own")
        if self.ptrace_scope:
            found.append(
                "its kernel lets no tool trace (strace, gdb, py-spy): opened by `sysctl kernel.yama.ptrace_scope=0` "
                f"(it is {self.ptrace_scope})"
            )
        if abs(self.clock_offset_s) > CLOCK_LIMIT_S:
            found.append(f"its clock is {self.clock_offset_s:+.0f} s off ours")
        if self.skerry_version:
            found.append(
                f"agent {self.skerry_version} is here already, {'running' if self.skerry_pid else 'not running'}"
            )
        return found


def survey(ssh: Ssh) -> Survey:
    """Look at the host; changes nothing there. Raises what Ssh.run raises, and BadFormat."""
    script = resources.files("skerry.machines").joinpath("survey.sh").read_bytes()
    sent_s = time.time()
    answer = ssh.run(["sh", "-s"], input=script, timeout_s=60.0, what=f"{ssh.target} could not be looked at")
    found = parse_survey(answer.decode(errors="replace"), sent_s=sent_s, now_s=time.time())
    return msgspec.structs.replace(found, no_sudo=ssh.no_root)


def parse_survey(text: str, *, now_s: float, sent_s: float | None = None) -> Survey:
    """Read what the survey script prints. The host's clock counts as read between `sent_s` and `now_s` (unix seconds).

    A key that is not known, or missing, is no error: the script may be of another version. Raises BadFormat.
    """
    lines = text.splitlines()
    if len(text) > MAX_TEXT or len(lines) > MAX_LINES or not lines or lines[0] != "skerry-survey 1":
        raise BadFormat(
            "the host's answer can't be read",
            "what came back is not a survey: " + repr(text[:80]),
            "its shell profile may print text: try ssh HOST true",
        )
    values: dict[str, str] = {}
    listeners: set[Listener] = set()
    namespaces: list[str] = []
    for line in lines[1:]:
        key, _, value = line.partition(" ")
        value = value.strip()[:4096]
        if key == "ss":
            listeners |= _from_ss(value)
        elif key in ("tcp", "udp"):
            listeners |= _from_proc(key, value)
        elif key == "namespace" and value in NAMESPACES:
            namespaces.append(value)
        elif value:
            values.setdefault(key, value)
    node = _json(values.get("node", ""))
    clock_s = _number(values, "clock", float, 0.0)
    middle_s = now_s if sent_s is None else (now_s + sent_s) / 2
    return Survey(
        hostname=values.get("hostname", ""),
        address=values.get("address", ""),
        distribution=values.get("distribution", ""),
        kernel=values.get("kernel", ""),
        arch=values.get("arch", ""),
        user=values.get("user", ""),
        systemd=int(_number(values, "systemd", int, 0)),
        container=values.get("container", ""),
        cgroups=int(_number(values, "cgroups", int, 0)),
        cgroups_writable=values.get("cgroups_writable") == "yes",
        controllers=tuple(values.get("controllers", "").split()),
        namespaces=tuple(namespaces),
        overlay=values.get("overlay") == "yes",
        veth=values.get("veth") == "yes",
        nftables=values.get("nftables") == "yes",
        tun=values.get("tun") == "yes",
        wireguard=values.get("wireguard") == "yes",
        memory_bytes=int(_number(values, "memory_kib", int, 0)) * 1024,
        cpus=int(_number(values, "cpus", int, 0)),
        disk_free_bytes=int(_number(values, "disk_kib", int, 0)) * 1024,
        clock_offset_s=clock_s - middle_s if clock_s else 0.0,
        docker=values.get("docker") == "yes",
        ufw=values.get("ufw") == "yes",
        ptrace_scope=int(_number(values, "ptrace_scope", int, 0)),
        listeners=tuple(sorted(listeners, key=lambda one: (one.port, one.protocol, one.process, one.pid))),
        skerry_version=values.get("version", ""),
        skerry_cloud=node.get("cloud", ""),
        skerry_node=node.get("node", ""),
        skerry_pid=int(_number(values, "pid", int, 0)),
    )


def judge(survey: Survey, *, cloud: str = "", arch: str = "x86_64") -> list[Refusal]:
    """All that stands in the way of joining, each with its fix; empty if nothing does. `cloud`: id of the one to join."""
    name = survey.hostname or "the host"
    what = f"{name} can't join"
    problems: list[Refusal] = []
    if survey.arch != arch:
        problems.append(
            HostLacks(
                what,
                f"its processor is {survey.arch or 'unknown'}, the agent is built for {arch}",
                "use another machine",
            )
        )
    if not survey.systemd:
        problems.append(HostLacks(what, "systemd is not what runs it", "use a distribution with systemd"))
    # What only root may try says nothing about the host if it was not root who tried.
    problems += _kernel(survey, what) if survey.user == "root" else [_not_root(survey, what)]
    if survey.disk_free_bytes < DISK_BYTES and not survey.skerry_version:
        problems.append(
            DiskFull(
                what,
                f"{survey.disk_free_bytes >> 20} MiB are free under /opt and /var/lib, {DISK_BYTES >> 20} are needed",
                "make room there: df -h",
            )
        )
    for other in survey.listeners:
        if other.port == PORT and not _ours(survey, other):
            whose = f"{other.process} (pid {other.pid})" if other.process else "another program"
            problems.append(
                PortTaken(what, f"{whose} listens on {PORT}/{other.protocol}", f"stop it, or move it off port {PORT}")
            )
    if survey.skerry_cloud and cloud and survey.skerry_cloud != cloud:
        problems.append(
            OtherEnrolment(
                what,
                f"it is {survey.skerry_node} of another cloud ({survey.skerry_cloud[:12]})",
                "remove it there first (skerry host rm), or take it over: skerry host adopt",
            )
        )
    return problems


def _not_root(survey: Survey, what: str) -> Refusal:
    user = survey.user or "somebody unknown"
    if not survey.no_sudo:
        return NotRoot(what, f"we came in as {user}", "use root: skerry host add root@HOST")
    return NotRoot(
        what,
        f"we came in as {user}, who can't become root by sudo without a password: {survey.no_sudo}",
        f"use root, or let {user} do so, there as root: echo '{user} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/{user}",
    )


def _kernel(survey: Survey, what: str) -> list[Refusal]:
    """What containers need and this kernel, or the host of which this is a container, does not give."""
    missing = [name for name in NAMESPACES if name not in survey.namespaces]
    lacks = [f"{', '.join(missing)} namespaces"] if missing else []
    if not survey.cgroups:
        lacks.append("cgroups")
    else:
        lacks += [f"cgroup controller {name}" for name in CONTROLLERS if name not in survey.controllers]
        lacks += [] if survey.cgroups_writable else ["cgroups that can be written"]
    for here, feature in (
        (survey.overlay, "overlayfs"),
        (survey.veth, "veth"),
        (survey.nftables, "nftables"),
        (survey.tun or survey.wireguard, "TUN devices or WireGuard"),
    ):
        if not here:
            lacks.append(feature)
    if survey.container:
        whose = f"it is {_container(survey)}, whose host gives it no"
        fix = "ask its provider for nesting and TUN, or take a machine with a kernel of its own (KVM)"
    else:
        whose, fix = f"its kernel {survey.kernel} has no", "use a machine with its own, recent kernel"
    return [HostLacks(what, f"{whose} {feature}", _FIXES.get(feature, fix)) for feature in lacks]


_FIXES = {"cgroup controller memory": "add cgroup_enable=memory to its kernel's command line"}  # as on a Raspberry Pi


def _container(survey: Survey) -> str:
    return CONTAINERS.get(survey.container, f"a container ({survey.container})")


def _ours(survey: Survey, other: Listener) -> bool:
    """The running agent's own sockets: TCP is its own, UDP is its tunnel's, which outlives it (the kernel's has no process)."""
    if other.protocol == "udp":
        return bool(survey.skerry_node) and other.process in ("", "wireguard-go")
    return bool(survey.skerry_pid) and other.pid == survey.skerry_pid


def _from_ss(line: str) -> set[Listener]:
    match = _SS.fullmatch(line)
    if match is None or not 0 < int(match["port"]) < 65536:
        return set()
    user = _USER.search(match["users"] or "")
    return {
        Listener(match["protocol"], int(match["port"]), user["name"] if user else "", int(user["pid"]) if user else 0)
    }


def _from_proc(protocol: str, line: str) -> set[Listener]:
    """A line of /proc/net/{tcp,udp}[6], for a host without ss: no process names. State 0A listens, 07 is any UDP."""
    fields = line.split()
    if len(fields) < 4 or fields[3] != ("0A" if protocol == "tcp" else "07"):
        return set()
    port = re.fullmatch(r"[0-9A-F]{8,32}:([0-9A-F]{4})", fields[1])
    return {Listener(protocol, int(port[1], 16))} if port and int(port[1], 16) else set()


def _number(values: dict[str, str], key: str, kind: type[int] | type[float], default: float) -> float:
    text = values.get(key, "")
    if not text:
        return default
    try:
        number = kind(text)
    except ValueError:
        raise BadFormat("the host's answer can't be read", f"{key} {text[:80]!r} is not a number") from None
    if not 0 <= number < 2**53:
        raise BadFormat("the host's answer can't be read", f"{key} {text[:80]!r} is out of range")
    return number


def _json(text: str) -> dict[str, str]:
    """The agent's node.json; anything else counts as none: `join` on the host is the judge of it."""
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return {k: v for k, v in found.items() if isinstance(v, str)} if isinstance(found, dict) else {}
