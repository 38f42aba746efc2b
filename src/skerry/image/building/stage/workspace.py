"""The folder of one run of the stage, and what runs before it left: each holds a lock while it lives, so that one without is
one whose owner was killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from skerry.image.building.stage.contract import Sandbox, StageUnavailable
from skerry.image.building.stage.sandbox import end, find_runtime

LOCK = "lock"


@contextlib.contextmanager
def workspace(cache: Path, sandbox: Sandbox) -> Iterator[Path]:
    """A new folder below the cache; gone, with all that runs in it, when the block ends. What dead runs left goes first."""
    import fcntl  # Linux only, as the stage is

    base = cache / "stage" / "work"
    base.mkdir(parents=True, exist_ok=True)
    with (base / f".{LOCK}").open("w") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        for left in base.iterdir():
            if left.is_dir():
                _remove_if_dead(left, sandbox)
        work = Path(tempfile.mkdtemp(prefix="skerry-stage-", dir=base))
        held = (work / LOCK).open("w")
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield work
    finally:
        remove_tree(work)
        held.close()


def remove_tree(folder: Path) -> None:
    """Remove a folder that others filled: no mode of what is in it holds that up, and no link is followed."""
    for path, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):
            Path(path).chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _remove_if_dead(left: Path, sandbox: Sandbox) -> None:
    import fcntl

    try:
        with (left / LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        pass  # it died before it had one
    except OSError:
        return  # somebody builds there
    with contextlib.suppress(StageUnavailable):
        end(find_runtime(sandbox), left / "state", left.name)
    remove_tree(left)
