"""What a tool that looks into a container may do and see: who is looked at → the OCI runtime's config.json. Pure.

Decision 17: the tool is the looked-at process's own user with its capabilities, so that by the kernel's own rules it may trace that
process and nothing that is more; beside that it reads what file modes forbid. It shares the pid namespace that it is started in, and
nothing else with anybody, but for the target's network namespace where that was asked for (class *joined*). For a whole host it is
root with what tracing takes, in the host's pid and network namespaces.
Source: OCI runtime specification 1.0.2; capabilities(7); ptrace(2), "Ptrace access mode checking".
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from skerry.runtime.contract import RuntimeRefused, ToolSpec
from skerry.runtime.seccomp import Argument, Profile, Rule, seccomp_for
from skerry.runtime.spec import CPU_PERIOD_US, MASKED, PATH, READ_ONLY, MountPoint

TARGET = "/target"
TRACING = "/sys/kernel/tracing"
TMP_BYTES = 256 << 20
MEMORY_BYTES = 768 << 20  # with what is in /tmp
PIDS = 128
CPUS = 1.0
PID_WORD = "{pid}"  # in a command: the looked-at process, as the tool's /proc numbers it
# In the order of their numbers: capability.h.
_NAMES = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
    NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT
    SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP
    MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
CAPABILITIES = tuple(f"CAP_{name}" for name in _NAMES.split())
READING = ("CAP_DAC_READ_SEARCH",)
WRITING = ("CAP_DAC_OVERRIDE", "CAP_CHOWN", "CAP_FOWNER")
NEVER_JOINED = (
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
)  # in the target's network: it opens sockets, and changes or overhears nothing
NAMES = ("/etc/hosts", "/etc/resolv.conf")  # by which a joined tool finds names as its target does
# SYS_ADMIN: without it Debian's kernel opens no perf event (kernel.perf_event_paranoid 3), for perf or bpftrace. What else it would
# open the filter leaves out, and who traces any process of a host is its root anyway.
OF_HOST = (
    *("CAP_BPF", "CAP_KILL", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_PERFMON", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE"),
    "CAP_SYSLOG",
)
# Beside what containers don't see: DAC_READ_SEARCH would open these.
_MASKED = (*MASKED, "/proc/kpagecgroup", "/proc/kpagecount", "/proc/kpageflags", "/proc/slabinfo", "/proc/vmallocinfo")
# Capabilities that the filter takes no notice of: what they open would make more of the others.
_NEVER = {"CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_BOOT", "CAP_SYS_RAWIO", "CAP_SYS_TIME"}
_PID_MAX = 0x7FFF_FFFF
_BY_CGROUP = 4  # PERF_FLAG_PID_CGROUP


class Looked(NamedTuple):
    """Who is looked at: its numbers as /proc/PID/status tells them. `number`: its pid in the outer namespace.

    `capabilities`: those that a tool may have as well. Not CAP_SYS_PTRACE: inside it reaches the container's own processes,
    out here also the monitor and the runtime, which are this host's root.
    """

    uid: int
    gid: int
    groups: tuple[int, ...]
    capabilities: tuple[str, ...]
    number: int


def parse_looked(status: str, number: int) -> Looked:
    """Of the text of /proc/PID/status. Raises ValueError, KeyError for what is none."""
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    held = int(fields["CapPrm"], 16)
    return Looked(
        uid=int(fields["Uid"].split()[1]),
        gid=int(fields["Gid"].split()[1]),
        groups=tuple(int(group) for group in fields["Groups"].split()),
        capabilities=tuple(
            name for bit, name in enumerate(CAPABILITIES) if held >> bit & 1 and name != "CAP_SYS_PTRACE"
        ),
        number=number,
    )


def as_root() -> Looked:
    """Who a whole host is looked at as."""
    return Looked(0, 0, (), OF_HOST, 1)


def rights(looked: Looked, spec: ToolSpec) -> list[str]:
    """The tool's capabilities."""
    held = {*looked.capabilities, *READING, *(WRITING if spec.write else ())}
    return sorted(held - {*NEVER_JOINED} if spec.join_net else held)


def tools_seccomp(profile: Profile, machine: str, capabilities: Iterable[str], *, host: bool) -> dict[str, Any] | None:
    """The filter: as a container's, with tracing, and without what would make more of the tool's capabilities."""
    held = {*capabilities, "CAP_SYS_PTRACE"} - _NEVER
    names = {"perf_event_open", "bpf"} if host else {"perf_event_open"}
    rules = [
        msgspec.structs.replace(rule, names=tuple(n for n in rule.names if n not in names)) for rule in profile.rules
    ]
    if host:
        rules.append(Rule(("perf_event_open", "bpf"), "allow"))
    else:
        # Of processes that are named: not of all, nor of a cgroup.
        named = Argument(1, _PID_MAX, "SCMP_CMP_LE")
        rules.append(
            Rule(("perf_event_open",), "allow", args=(named, Argument(4, _BY_CGROUP, "SCMP_CMP_MASKED_EQ", 0)))
        )
    return seccomp_for(
        msgspec.structs.replace(profile, rules=tuple(r for r in rules if r.names)), machine, sorted(held)
    )


def tools_points() -> list[MountPoint]:
    """Paths that must exist in the root."""
    return [MountPoint("/tmp", True, 0o1777), *(MountPoint(path, True) for path in ("/proc", "/dev", TARGET, "/sys"))]


def tools_config(
    spec: ToolSpec,
    looked: Looked,
    *,
    root: Path,
    target: Path,
    cgroup: str,
    seccomp: dict[str, Any] | None,
    host: bool = False,
    net: Path | None = None,
    tracing: bool = False,
    swap: bool = True,
    open_files: int = 65536,
) -> dict[str, Any]:
    """The whole config.json. `root`, `target`: where both are mounted for the runtime; `net`: the network namespace that is
    joined, as a file there; `tracing`: the kernel's events are mounted for it, too. Raises RuntimeRefused without a command.
    """
    if not spec.argv or not spec.argv[0]:
        raise RuntimeRefused("no tool was started", "no command is named", "name one: skerry debug SLOT -- ls /target")
    identity: dict[str, Any] = {"uid": looked.uid, "gid": looked.gid}
    if looked.groups:
        identity["additionalGids"] = list(looked.groups)
    capabilities = rights(looked, spec)
    environment = {"PATH": PATH, "HOME": "/tmp", "TERM": spec.term, "LANG": "C.UTF-8"}
    namespaces = [{"type": kind} for kind in ("mount", "ipc", "uts", "cgroup")]
    if not host:
        namespaces.append({"type": "network", **({"path": str(net)} if net else {})})
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": spec.tty,
            **({"consoleSize": {"height": spec.rows, "width": spec.cols}} if spec.tty else {}),
            "user": identity,
            "args": [word.replace(PID_WORD, str(looked.number)) for word in spec.argv],
            "env": [f"{name}={value}" for name, value in environment.items()],
            "cwd": "/tmp",
            "capabilities": dict.fromkeys(
                ("bounding", "effective", "permitted", "inheritable", "ambient"), capabilities
            ),
            "noNewPrivileges": True,
            "oomScoreAdj": 1000,  # before anything that serves
            "rlimits": [
                {"type": "RLIMIT_NOFILE", "soft": open_files, "hard": open_files},
                {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
            ],
        },
        "root": {"path": str(root), "readonly": True},
        "hostname": "tools",
        "mounts": _mounts(target, host, tracing),
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": namespaces,
            "resources": {
                "devices": [{"allow": False, "access": "rwm"}],
                "memory": {"limit": MEMORY_BYTES, **({"swap": MEMORY_BYTES} if swap else {})},
                "cpu": {"period": CPU_PERIOD_US, "quota": round(CPUS * CPU_PERIOD_US)},
                "pids": {"limit": PIDS},
            },
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(READ_ONLY),
            "rootfsPropagation": "private",
            **({"seccomp": seccomp} if seccomp else {}),
        },
    }


def _mounts(target: Path, host: bool, tracing: bool) -> list[dict[str, Any]]:
    def mount(at: str, kind: str, *options: str, source: str = "") -> dict[str, Any]:
        return {"destination": at, "type": kind, "source": source or kind, "options": list(options)}

    quiet = ("nosuid", "noexec", "nodev")
    return [
        mount("/proc", "proc", *quiet),
        mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
        mount("/tmp", "tmpfs", *quiet, "mode=1777", f"size={TMP_BYTES}"),
        *([mount("/sys", "bind", "rbind", "rprivate", *quiet, "ro", source="/sys")] if host else []),
        *([mount(TRACING, "tracefs", *quiet, "ro")] if tracing else []),
        mount(TARGET, "bind", "rbind", "rprivate", source=str(target)),
    ]
