"""An act that is killed before each of its steps on the disk, one after the other: a child of ours does it and kills itself.

A step is a call into the system that makes, fills, names or removes a file. They are counted as the interpreter makes them,
so nothing in the product knows of it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

STEPS = frozenset(
    ["open", "write", "writelines", "close", "fsync", "sync", "replace", "rename", "unlink", "remove", "mkdir", "rmdir",
     "link", "symlink", "chmod", "utime", "copy_file_range", "sendfile", "scandir", "truncate"]
)  # fmt: skip
MOST = 2000


def killed_at_each_step(directory: Path, prepare: Callable[[Path], Any], act: Callable[[Any], object]) -> Iterator[Any]:
    """For each step of `act(prepare(a fresh folder))`: kill -9 before it, then give what was prepared, to be looked at.

    `prepare` runs here, `act` in the child. Ends once the act came to its end.
    """
    for step in range(MOST):
        prepared = prepare(directory / str(step))
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                sys.setprofile(_Killer(step))
                act(prepared)
                sys.setprofile(None)
                code = 0
            finally:
                os._exit(code)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status in (0, -signal.SIGKILL), f"the act failed at step {step}: {status}"
        yield prepared
        if status == 0:
            assert step > 5, "no step was counted"
            return
    raise AssertionError(f"no end after {MOST} steps")


class _Killer:
    def __init__(self, step: int) -> None:
        self._left = step

    def __call__(self, frame: object, event: str, function: Any) -> None:
        if event == "c_call" and function.__name__ in STEPS:
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self._left -= 1
