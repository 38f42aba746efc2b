"""What the build stage is asked to do, within which limits, and how it refuses. No code that acts lives here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from skerry.errors import Passing, Refusal
from skerry.image.building.pile import File
from skerry.image.building.sources.lock import Deb

PLACE = "/build"  # where the sources lie and the commands run: fixed, as compilers write it into what they make
EPOCH_S = 315532800  # 1980-01-01: the earliest time that a zip archive, and so a wheel, can hold
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What a shell script or a Makefile takes for granted; Debian's packages don't name it, as each system has it.
BASE_PACKAGES = (
    "bash", "coreutils", "dash", "debianutils", "diffutils", "findutils", "grep", "gzip", "hostname", "libc-bin",
    "mawk", "perl-base", "sed", "tar",
)  # fmt: skip

# Nothing of the machine that builds, and no path or time, gets into what is made.
ENVIRONMENT = {
    "PATH": PATH,
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "SOURCE_DATE_EPOCH": str(EPOCH_S),
    "CFLAGS": f"-O2 -g0 -ffile-prefix-map={PLACE}=.",
    "CXXFLAGS": f"-O2 -g0 -ffile-prefix-map={PLACE}=.",
    "GOFLAGS": "-trimpath -buildvcs=false",
    "GOPATH": "/tmp/go",
    "GOCACHE": "/tmp/go-build",
    "GOTOOLCHAIN": "local",
    "RUSTFLAGS": f"--remap-path-prefix={PLACE}=.",
    "CARGO_HOME": "/tmp/cargo",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "TAR_OPTIONS": "--no-same-owner",
    "npm_config_cache": "/tmp/npm",
    "npm_config_offline": "true",
}

Progress = Callable[[str], None]
UNCHANGED = "nothing that the build uses has changed"  # said instead of what commands print


class StageFailed(Refusal):
    """A command of the build stage failed: its exit code and its last lines are in the message."""

    code = "build-stage-failed"


class StageStopped(Refusal):
    """A command of the build stage passed a limit: time, memory, processes, or what is left of the disk."""

    code = "build-stage-limit"


class StageUnavailable(Refusal):
    """This machine can't run a build stage: it isn't Linux, or has neither runc nor crun, or these don't work here."""

    code = "no-build-stage"


class StageDiskFull(Passing):
    """The disk that holds the build cache is full."""

    code = "build-disk-full"


class Limits(msgspec.Struct, frozen=True):
    """`memory_bytes` includes swap; `time_s` is for all commands together; `file_bytes` for a single file;
    `disk_left_bytes` must stay free on the disk that holds the cache."""

    memory_bytes: int = 4 << 30
    time_s: float = 1800.0
    processes: int = 1024
    file_bytes: int = 8 << 30
    disk_left_bytes: int = 256 << 20


class Job(msgspec.Struct, frozen=True):
    """One run of the stage.

    - `debs`: the packages of its root, locked and fetched.
    - `files`: what lies in PLACE at the beginning; paths are relative to it. What begins as a program does (ELF, "#!")
      can be run; times and owners are not taken along.
    - `commands`: argument lists, run one after the other in PLACE; the first that fails ends it.
    - `outputs`: paths or globs (`**` crosses directories) below PLACE; each must match something, a folder stands for all
      that is in it. Anything else is thrown away.
    - `environment`: over ENVIRONMENT.
    """

    debs: tuple[Deb, ...]
    files: tuple[File, ...]
    commands: tuple[tuple[str, ...], ...]
    outputs: tuple[str, ...]
    environment: dict[str, str] = {}
    limits: Limits = Limits()


class Sandbox(msgspec.Struct, frozen=True):
    """How the stage runs things here: `runtimes` are looked for by name in PATH, in this order. `seccomp`: the part of an OCI
    configuration that says which system calls are allowed; None leaves all that an unprivileged user has."""

    runtimes: tuple[str, ...] = ("runc", "crun")
    seccomp: dict[str, Any] | None = None
