"""One command in the stage's root, under runc (or crun): no network, no capability, nothing of this machine to be seen.

The container lives and dies with this process: the runtime gets SIGTERM when we end, however that happens, and hands it on to
the container's first program, which ends all others (`timeout`, of coreutils; it holds the time limit, too). As root the
command is a user that owns nothing here; without root rights it is root of a user namespace, which is this user outside.
Source: OCI runtime specification 1.0.2; runc(8).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from skerry.image.building.stage.contract import (
    ENVIRONMENT,
    PLACE,
    Limits,
    Progress,
    Sandbox,
    StageFailed,
    StageStopped,
    StageUnavailable,
)

BUILD_UID = 64321  # nobody else's on any system that we know of
LINES_KEPT = 20
MAX_LINE = 2000
LOOKED_AT_EVERY_S = 0.5
ENDED_WITHIN_S = 10.0
KILL_AFTER_S = 3
MASKED = ("/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/timer_list")
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_START = 'exec /usr/bin/timeout "$@" 2>&1'
_PR_SET_PDEATHSIG = 1


def owner() -> int | None:
    """To whom the files that are built belong on this machine: None without root rights, as they are ours then."""
    return BUILD_UID if _is_root() else None


def find_runtime(sandbox: Sandbox) -> Path:
    """Raises StageUnavailable."""
    if not sys.platform.startswith("linux"):
        raise StageUnavailable(
            "the build stage can't run here",
            "it needs Linux: it runs the project's own build commands in a container",
            "build on a Linux machine (in CI, say), or leave `build:` out and put what it makes into the folder",
        )
    for name in sandbox.runtimes:
        if found := shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"):
            return Path(found)
    raise StageUnavailable(
        "the build stage can't run here",
        f"none of {', '.join(sandbox.runtimes)} was found on this machine",
        "install one: apt install runc",
    )


def run_command(
    command: Sequence[str],
    *,
    runtime: Path,
    root: Path,
    work: Path,
    environment: dict[str, str],
    limits: Limits,
    until_s: float,
    sandbox: Sandbox,
    progress: Progress,
) -> None:
    """Run it in `work`/build, seen as PLACE, and give its lines to `progress`. `until_s`: of the monotonic clock.

    Raises StageFailed, StageStopped, StageUnavailable.
    """
    left_s = until_s - time.monotonic()
    bundle, state, id = work / "bundle", work / "state", work.name
    bundle.mkdir(exist_ok=True)
    config = oci_config(command, id, root, work, environment, limits, max(1, int(left_s)), sandbox)
    (bundle / "config.json").write_bytes(msgspec.json.encode(config))
    started_s = time.monotonic()
    process = subprocess.Popen(
        [str(runtime), "--root", str(state), "run", "--bundle", str(bundle), id],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=_die_with(os.getpid()),
    )
    lines: deque[str] = deque(maxlen=LINES_KEPT)
    try:
        stopped = _follow(process, lines, work, limits, until_s, progress)
        code = 0 if stopped else process.wait(ENDED_WITHIN_S)
    finally:
        end(runtime, state, id, process)
    if not stopped and time.monotonic() >= until_s:
        stopped = f"it was not done in {limits.time_s:g} s"
    if stopped:
        raise StageStopped(f"{_said(command)} was stopped", stopped + _tail(lines), "see `build` in the recipe: limits")
    if code:
        _refuse(command, code, lines, limits, time.monotonic() - started_s)


def end(runtime: Path, state: Path, id: str, process: subprocess.Popen[bytes] | None = None) -> None:
    """Nothing of the container is left after this: no process, no cgroup. Also for one that another run left."""
    until_s = time.monotonic() + ENDED_WITHIN_S
    running = process is not None and process.poll() is None
    while (running or (state / id).exists()) and time.monotonic() < until_s:
        if process and running:
            process.terminate()
        if (state / id).exists():
            command = [str(runtime), "--root", str(state), "delete", "--force", id]
            quiet = subprocess.DEVNULL
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(command, stdout=quiet, stderr=quiet, timeout=ENDED_WITHIN_S, check=False)
        if process and running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LOOKED_AT_EVERY_S)
            running = process.poll() is None
    if process is not None:
        if running:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def oci_config(
    command: Sequence[str],
    id: str,
    root: Path,
    work: Path,
    environment: dict[str, str],
    limits: Limits,
    time_s: int,
    sandbox: Sandbox,
) -> dict[str, Any]:
    """The container's config.json."""
    rootless = not _is_root()
    inside = 0 if rootless else BUILD_UID
    namespaces = ["pid", "ipc", "uts", "mount", "network", "cgroup"]
    linux: dict[str, Any] = {
        "maskedPaths": list(MASKED),
        "readonlyPaths": list(READ_ONLY),
        "rootfsPropagation": "private",
        **({"seccomp": sandbox.seccomp} if sandbox.seccomp else {}),
    }
    rlimits = {"CORE": 0, "NOFILE": 4096, "FSIZE": limits.file_bytes}
    if rootless:
        # No cgroup of our own here: what each process takes is bounded, and how many there are of them.
        namespaces = [*namespaces[:-1], "user"]
        linux["uidMappings"] = [{"containerID": 0, "hostID": os.getuid(), "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": os.getgid(), "size": 1}]
        rlimits |= {"NPROC": limits.processes, "DATA": limits.memory_bytes}
    else:
        linux["cgroupsPath"] = f"/{id}"  # below no folder of ours, which would stay behind
        linux["resources"] = {
            "devices": [{"allow": False, "access": "rwm"}],
            "memory": {"limit": limits.memory_bytes, "swap": limits.memory_bytes},
            "pids": {"limit": limits.processes},
        }
    linux["namespaces"] = [{"type": kind} for kind in namespaces]
    none: list[str] = []
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": inside, "gid": inside, "umask": 0o022},
            # runc copies both streams by itself, each in its own time: made one inside, their lines keep their order.
            "args": ["/bin/sh", "-c", _START, "sh", f"--kill-after={KILL_AFTER_S}", str(time_s), *command],
            "env": [f"{name}={value}" for name, value in sorted((ENVIRONMENT | environment).items())],
            "cwd": PLACE,
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted", "inheritable", "ambient"), none),
            "noNewPrivileges": True,
            "rlimits": [{"type": f"RLIMIT_{name}", "soft": n, "hard": n} for name, n in rlimits.items()],
        },
        "root": {"path": str(root), "readonly": True},
        "hostname": "build",
        "mounts": [
            _mount("/proc", "proc", "nosuid", "noexec", "nodev"),
            _mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            _mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", "size=256m"),
            _bind(work / "tmp", "/tmp"),
            _bind(work / "build", PLACE),
        ],
        "linux": linux,
    }


def _follow(
    process: subprocess.Popen[bytes],
    lines: deque[str],
    work: Path,
    limits: Limits,
    until_s: float,
    progress: Progress,
) -> str:
    """Read its output until it ends or has to: why, "" if it ended by itself."""
    assert process.stdout
    half = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        looked_s = time.monotonic()
        while True:
            ready = selector.select(LOOKED_AT_EVERY_S)
            if ready:
                block = os.read(process.stdout.fileno(), 1 << 16)
                *whole, half = (half + block).split(b"\n")
                if len(half) > MAX_LINE or not block:
                    whole, half = [*whole, half], b""
                for line in whole:
                    text = line.decode("utf-8", "replace")[:MAX_LINE].rstrip()
                    if text:
                        lines.append(text)
                        progress(text)
                if not block:
                    return ""
            now_s = time.monotonic()
            if now_s - looked_s < LOOKED_AT_EVERY_S:
                continue
            looked_s = now_s
            if now_s > until_s + KILL_AFTER_S + 2:
                return f"it was not done in {limits.time_s:g} s"
            if shutil.disk_usage(work).free < limits.disk_left_bytes:
                return f"the disk of {work.parent} is nearly full"


def _refuse(command: Sequence[str], code: int, lines: deque[str], limits: Limits, ran_s: float) -> None:
    tail = "\n".join(lines)
    if code in (126, 127) and "timeout: failed to run command" in tail:
        raise StageFailed(
            f"{_said(command)} can't be run",
            "there is no such program in the build stage",
            "name the package that has it in `build: packages`, and write a shell's words as [sh, -c, …]",
        )
    if "No space left on device" in tail or os.strerror(errno.EDQUOT) in tail:
        raise StageStopped(f"{_said(command)} failed", "the disk is full" + _tail(lines), "free some space")
    if "runc run failed" in tail or "container_linux" in tail or (code == 1 and "crun:" in tail):
        raise StageUnavailable("the build stage can't run here", tail[-600:], "see docs/images.md: the build stage")
    fix = "mend what it complains about; it runs without network, in " + PLACE
    if code == 137 or "illed" in tail or "annot allocate memory" in tail or "MemoryError" in tail:
        fix = f"if it ran out of memory: it may have {limits.memory_bytes >> 20} MiB, see `build` in the recipe; else {fix}"
    elif "fork" in tail and "esource temporarily unavailable" in tail:
        fix = f"it may have {limits.processes} processes at a time; start fewer of them"
    raise StageFailed(f"{_said(command)} failed with exit code {code}", _tail(lines).strip(), fix)


def _said(command: Sequence[str]) -> str:
    text = " ".join(command).replace("\n", " ")
    return text if len(text) <= 80 else text[:79] + "…"


def _tail(lines: deque[str]) -> str:
    return "".join(f"\n  {line}" for line in lines)


def _mount(target: str, kind: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": kind, "options": list(options)}


def _bind(source: Path, target: str) -> dict[str, Any]:
    options = ["bind", "rprivate", "nosuid", "nodev", "rw"]
    return {"destination": target, "type": "bind", "source": str(source), "options": options}


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _die_with(parent: int) -> Any:
    libc = ctypes.CDLL(None, use_errno=True)

    def before_exec() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it ended before we asked
            os._exit(1)

    return before_exec
