"""Containers by crun or runc with conmon, without a daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from skerry.runtime.contract import Container, ContainerSpec, Exited, Runtime


class Binaries(msgspec.Struct, frozen=True, kw_only=True):
    """Paths of the programs. `runtime`: of "crun" and "runc", the one that works here (see probe.find_runtime)."""

    conmon: Path
    runtime: Path
    crun: Path | None = None
    runc: Path | None = None


class OciRuntime(Runtime):
    """`Runtime` by crun or runc with conmon.

    `directory`: one folder per container (bundle, record). `run_dir`: short-lived state, gone after a reboot.
    `logs`: one folder per container; the newest of ended ones are kept. `cgroup_parent`: containers are in
    `<parent>/<id>`, monitors in `<parent>/mon`.
    """

    def __init__(
        self, directory: Path, run_dir: Path, logs: Path, binaries: Binaries, cgroup_parent: str = "/skerry"
    ) -> None:
        raise NotImplementedError

    async def start(self, spec: ContainerSpec) -> Container:
        raise NotImplementedError

    async def stop(self, id: str, *, signal: str, grace_s: float) -> None:
        raise NotImplementedError

    async def list_containers(self) -> list[Container]:
        raise NotImplementedError

    def exits(self) -> AsyncIterator[Exited]:
        raise NotImplementedError

    def logs(self, id: str) -> list[Path]:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError
