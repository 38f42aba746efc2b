"""One run of the build stage, from locked packages and files by hash to outputs by hash. The same input is built once."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from skerry.image import kept as cached
from skerry.image.building.pile import File
from skerry.image.building.stage.contract import ENVIRONMENT, UNCHANGED, Job, Sandbox, StageDiskFull
from skerry.image.building.stage.outputs import Output, collect, files_of, kept
from skerry.image.building.stage.root import root_name, stage_root, write_files
from skerry.image.building.stage.sandbox import find_runtime, owner, run_command
from skerry.image.building.stage.workspace import workspace

STEPS = "1"  # raised when the same job shall give other outputs


def run_stage(
    job: Job,
    *,
    cache: Path,
    sandbox: Sandbox = Sandbox(),  # noqa: B008  a frozen value
    progress: Callable[[str], None] = lambda line: None,
) -> list[File]:
    """The outputs of this job, from the cache if the same was built before. `progress` gets each line that commands print.

    Raises StageUnavailable, StageFailed, StageStopped, StageDiskFull. Nothing is left behind but the cache, however it ends.
    """
    cache = cache.resolve()  # the runtime takes no path through a link
    if (found := kept_result(job, cache)) is not None:
        progress(UNCHANGED)
        return found
    runtime = find_runtime(sandbox)
    try:
        with _sigterm_unwinds(), workspace(cache, sandbox) as work:
            root = stage_root(job.debs, work, cache, progress)
            build, tmp = work / "build", work / "tmp"
            build.mkdir()
            tmp.mkdir()
            write_files(build, job.files, owner())
            tmp.chmod(0o1777)
            until_s = time.monotonic() + job.limits.time_s
            for command in job.commands:
                progress(f"$ {' '.join(command)}"[:200])
                run_command(
                    command,
                    runtime=runtime,
                    root=root,
                    work=work,
                    environment=job.environment,
                    limits=job.limits,
                    until_s=until_s,
                    sandbox=sandbox,
                    progress=progress,
                )
            outputs = collect(build, job.outputs, cache)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StageDiskFull(
            "the build stage can't go on", f"the disk that holds {cache} is full", "free some space and try again"
        ) from error
    cached.keep(_result(job, cache), outputs)
    return files_of(outputs, cache)


def kept_result(job: Job, cache: Path) -> list[File] | None:
    """The outputs of this job if it was built before and all of them are here still."""
    outputs = cached.kept(_result(job, cache), tuple[Output, ...])
    if outputs is None:
        return None
    there = all(one.kind == "l" or kept(one, cache).is_file() for one in outputs)
    return files_of(outputs, cache) if there else None


def _result(job: Job, cache: Path) -> Path:
    return cache / "stage" / "results" / _key(job)


@contextlib.contextmanager
def _sigterm_unwinds() -> Iterator[None]:
    """SIGTERM goes through the clean-up like Ctrl-C, where nobody has said what else it shall do."""
    mine = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if mine:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if mine:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _key(job: Job) -> str:
    """A hash of all that can change the outputs. Limits are not among it: within them it is the same."""
    files = [(file.path, file.kind, file.link, file.sha256) for file in job.files]
    environment = sorted((ENVIRONMENT | job.environment).items())
    made_of = (STEPS, root_name(job.debs), sorted(files), job.commands, sorted(job.outputs), environment)
    return hashlib.sha256(msgspec.json.encode(made_of)).hexdigest()
