"""What a container may do and see: ContainerSpec → the OCI runtime's config.json. Pure; golden files hold it.

The rules: the root is never writable; no capability but the declared ones, and those can't grow; no new privileges; own
pid, mount, ipc, uts and cgroup namespaces; what the kernel shows of the host is masked as Docker masks it.
Source: OCI runtime specification 1.0.2, config.md and config-linux.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from skerry.runtime.contract import ContainerSpec, Mount, RuntimeRefused
from skerry.runtime.cores.asking import UNLIMITED

CPU_PERIOD_US = 100_000
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
# Writable in every container, as hardly a program runs without them; lost with the container.
ALWAYS_TMPFS = (Mount(target="/tmp"), Mount(target="/run", size_bytes=16 << 20))
TMPFS_MAX_BYTES = 1 << 40
TMPFS_MODE = 0o1777  # the program may be any user, and may change to another


class MountPoint(NamedTuple):
    """A path that must exist in the root. `mode`: what it must have; None: whatever it has."""

    path: str
    directory: bool
    mode: int | None = None


class User(NamedTuple):
    """`home`: where the image's /etc/passwd says that it lives, "/" if it doesn't."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"


class BoundFile(NamedTuple):
    """One file of the host at one path inside, read-only."""

    target: str
    source: Path


class Limits(NamedTuple):
    """What the host can do. `swap`: its kernel can limit swap; `open_files`, `core_bytes`: the most that a process may be given."""

    swap: bool = True
    open_files: int = 65536
    core_bytes: int = UNLIMITED


def oci_config(
    spec: ContainerSpec,
    *,
    root: Path,
    user: User,
    cgroup: str,
    files: Sequence[BoundFile] = (),
    seccomp: dict[str, Any] | None = None,
    limits: Limits = Limits(),  # noqa: B008  a frozen value
) -> dict[str, Any]:
    """The whole config.json. `root`: where the container's root is to be found on the host; `cgroup`: its path.

    Raises RuntimeRefused for what can't be said in it: no program, a path that isn't absolute, a size that isn't one.
    """
    if not spec.args or not spec.args[0]:
        raise RuntimeRefused(
            f"container {spec.id} was not made", "neither the image nor the service names a program", "give a command"
        )
    return {
        "ociVersion": "1.0.2",
        "process": _process(spec, user, limits),
        "root": {"path": str(root), "readonly": True},
        "hostname": spec.hostname or spec.id[:63],
        "mounts": [*_system_mounts(), *(_mount(m) for m in all_mounts(spec)), *(_file(f) for f in files)],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": _namespaces(spec),
            "resources": _resources(spec, limits),
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READ_ONLY),
            "rootfsPropagation": "private",
            # A port below 1024 is no privilege inside a network of one's own; the capability would be.
            **({"sysctl": {"net.ipv4.ip_unprivileged_port_start": "0"}} if spec.netns and not spec.isolated else {}),
            **({"seccomp": seccomp} if seccomp else {}),
        },
    }


def all_mounts(spec: ContainerSpec) -> list[Mount]:
    """The declared mounts and those that every container has, outer ones first: an inner one must not be hidden."""
    declared = {mount.target.rstrip("/") for mount in spec.mounts}
    mounts = [*(m for m in ALWAYS_TMPFS if m.target not in declared), *spec.mounts]
    for mount in mounts:
        _check_target(spec.id, mount.target)
    return sorted(mounts, key=lambda m: m.target.count("/"))


def mount_points(spec: ContainerSpec, files: Sequence[str]) -> list[MountPoint]:
    """All paths that must exist in the root.

    A tmpfs gets the mode of its mount point from runc, whatever its options say: hence the mode here, too.
    """
    system = [mount["destination"] for mount in _system_mounts()]
    points = [MountPoint(path, True) for path in system if path.count("/") == 1]
    points += [MountPoint(m.target, True, None if m.source else TMPFS_MODE) for m in all_mounts(spec)]
    for target in files:
        _check_target(spec.id, target)
        points.append(MountPoint(target, False))
    return points


def _process(spec: ContainerSpec, user: User, limits: Limits) -> dict[str, Any]:
    environment = {"PATH": PATH, "HOME": user.home, **dict(spec.environment)}
    capabilities = list(spec.capabilities)
    core_bytes = min(UNLIMITED if spec.core_bytes < 0 else spec.core_bytes, limits.core_bytes)
    identity: dict[str, Any] = {"uid": user.uid, "gid": user.gid}
    if user.groups:
        identity["additionalGids"] = list(user.groups)
    return {
        "terminal": False,
        "user": identity,
        "args": list(spec.args),
        "env": [f"{name}={value}" for name, value in environment.items()],
        "cwd": spec.working_dir or "/",
        # Ambient too: without it a declared capability would be lost at exec for users that aren't root.
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted", "inheritable", "ambient"), capabilities),
        "noNewPrivileges": True,
        "rlimits": [
            {"type": "RLIMIT_NOFILE", "soft": limits.open_files, "hard": limits.open_files},
            {"type": "RLIMIT_CORE", "soft": core_bytes, "hard": core_bytes},  # 0 unless asked for: it lands on the host
        ],
    }


def _namespaces(spec: ContainerSpec) -> list[dict[str, str]]:
    namespaces = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup")]
    if spec.isolated:
        namespaces.append({"type": "network"})
    elif spec.netns:
        namespaces.append({"type": "network", "path": spec.netns})
    return namespaces


def _resources(spec: ContainerSpec, limits: Limits) -> dict[str, Any]:
    resources: dict[str, Any] = {"devices": [{"allow": False, "access": "rwm"}]}
    if spec.memory_bytes:
        # Swap counts as memory: else a limit only moves a leak to the disk that all share.
        resources["memory"] = {"limit": spec.memory_bytes, **({"swap": spec.memory_bytes} if limits.swap else {})}
    if spec.cpus:
        resources["cpu"] = {"period": CPU_PERIOD_US, "quota": max(1000, round(spec.cpus * CPU_PERIOD_US))}
    if spec.pids:
        resources["pids"] = {"limit": spec.pids}
    return resources


def _system_mounts() -> list[dict[str, Any]]:
    def mount(target: str, kind: str, *options: str) -> dict[str, Any]:
        return {"destination": target, "type": kind, "source": kind, "options": list(options)}

    return [
        mount("/proc", "proc", "nosuid", "noexec", "nodev"),
        mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
        mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
        mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
        mount("/sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
    ]


def _mount(mount: Mount) -> dict[str, Any]:
    access = "ro" if mount.read_only else "rw"
    if mount.source:
        options = ["rbind", "rprivate", "nosuid", "nodev", access]
        return {"destination": mount.target, "type": "bind", "source": mount.source, "options": options}
    size_bytes = min(max(mount.size_bytes, 4096), TMPFS_MAX_BYTES)
    options = ["nosuid", "nodev", "noexec", f"mode={TMPFS_MODE:o}", f"size={size_bytes}", access]
    return {"destination": mount.target, "type": "tmpfs", "source": "tmpfs", "options": options}


def _file(file: BoundFile) -> dict[str, Any]:
    options = ["bind", "rprivate", "nosuid", "nodev", "noexec", "ro"]
    return {"destination": file.target, "type": "bind", "source": str(file.source), "options": options}


def _check_target(id: str, target: str) -> None:
    parts = target.split("/")
    if target.startswith("/") and parts[1] and not {"..", "."} & set(parts) and "\0" not in target:
        return
    raise RuntimeRefused(
        f"container {id} was not made",
        f"{target!r} can't be a mount point",
        "give an absolute path below /, without . and ..",
    )
