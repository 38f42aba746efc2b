"""A recipe's `build` part as a job of the stage: the project's folder as its sources, its packages locked beside the image's."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from skerry.image.building.pile import File
from skerry.image.building.project import project_files
from skerry.image.building.recipe import BuildSteps
from skerry.image.building.sources.lock import FILE_NAME, Lock, Wants
from skerry.image.building.stage.contract import BASE_PACKAGES, Job, Limits, Sandbox
from skerry.image.building.stage.run import kept_result, run_stage
from skerry.image.building.stage.sdists import PACKAGES as SDIST_PACKAGES
from skerry.image.building.stage.sdists import StageBuilder


def build_outputs(
    steps: BuildSteps,
    context: Path,
    below: str,
    *,
    cache: Path,
    name: str,
    mirror: str,
    sandbox: Sandbox,
    progress: Callable[[str], None],
) -> list[File]:
    """What the project's own commands make, to be placed at `below` in the image as if it had lain in its folder.

    The recipe's `exclude` doesn't count here: what stays out of the image may be just what is compiled. Raises what locking
    and `run_stage` raise.
    """
    locked = _lock(steps, context, cache, name, mirror, progress)
    made = run_stage(_job(steps, context, locked), cache=cache, sandbox=sandbox, progress=progress)
    return [_moved(file, f"{below}/") for file in made]


def builder(
    steps: BuildSteps,
    context: Path,
    *,
    cache: Path,
    name: str,
    mirror: str,
    sandbox: Sandbox,
    progress: Callable[[str], None],
) -> StageBuilder:
    """Who builds Python packages from source for this recipe, with the same packages as its own commands."""
    debs = functools.cache(lambda: _lock(steps, context, cache, name, mirror, progress).debs)
    return StageBuilder(debs, steps.environment, limits_of(steps), cache, sandbox, progress)


def kept_outputs(steps: BuildSteps, context: Path, below: str, *, cache: Path, name: str) -> list[File] | None:
    """The same, if it was made before; None where something would have to be run. Changes nothing."""
    from skerry.image.building.sources.locking import lock_state

    locked, _ = lock_state(_wants(steps), context / FILE_NAME, _section(name), cache)
    made = kept_result(_job(steps, context, locked), cache) if locked else None
    return None if made is None else [_moved(file, f"{below}/") for file in made]


def _lock(
    steps: BuildSteps, context: Path, cache: Path, name: str, mirror: str, progress: Callable[[str], None]
) -> Lock:
    from skerry.image.building.sources.locking import lock

    file = context / FILE_NAME
    return lock(
        _wants(steps), file=file, name=_section(name), context=context, cache=cache, mirror=mirror, progress=progress
    )


def _wants(steps: BuildSteps) -> Wants:
    return Wants((*BASE_PACKAGES, *(SDIST_PACKAGES if steps.sdists else ()), *steps.packages))


def _section(name: str) -> str:
    """Of the lock file: what is built with changes apart from what the image is made of."""
    return f"{name}:build"


def _job(steps: BuildSteps, context: Path, locked: Lock) -> Job:
    return Job(
        debs=locked.debs,
        files=tuple(_moved(file, "") for file in project_files(context, "")),
        commands=steps.run,
        outputs=steps.outputs,
        environment=steps.environment,
        limits=limits_of(steps),
    )


def limits_of(steps: BuildSteps) -> Limits:
    return Limits(memory_bytes=steps.memory_mib << 20, time_s=steps.timeout_s)


def _moved(file: File, below: str) -> File:
    return File(below + file.path.lstrip("/"), file.kind, file.link, file.sha256, file.size, file.origin, file.load)
