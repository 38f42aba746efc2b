"""An act that is killed before each of its steps on the disk, one after the other: a child of ours does it and kills itself.

A step is a call into the system that makes, fills, names or removes a file. They are counted as the interpreter makes them,
so nothing in the product knows of it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

STEPS = frozenset(
    ["open", "write", "writelines", "close", "fsync", "sync", "replace", "rename", "unlink", "remove", "mkdir", "rmdir",
     "link", "symlink", "chmod", "utime", "copy_file_range", "sendfile", "scandir", "truncate"]
)  # fmt: skip
MOST = 2000
INTERRUPTED = 130


def killed_at_each_step(
    directory: Path,
    prepare: Callable[[Path], Any],
    act: Callable[[Any], object],
    how: signal.Signals = signal.SIGKILL,
    every: int = 1,
) -> Iterator[Any]:
    """For each step of `act(prepare(a fresh folder))`: this signal before it, then give what was prepared, to be looked at.

    `prepare` runs here, `act` in the child. Ends once the act came to its end. SIGINT is to unwind it, as Ctrl-C does.
    """
    for step in range(0, MOST, every):
        prepared = prepare(directory / str(step))
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                sys.setprofile(killer := _Killer(step, how))
                threading.setprofile(killer)
                act(prepared)
                sys.setprofile(None)
                code = 0
            except KeyboardInterrupt:
                code = INTERRUPTED
            finally:
                os._exit(code)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status in (0, -signal.SIGKILL if how == signal.SIGKILL else INTERRUPTED), (
            f"the act failed at step {step}: {status}"
        )
        yield prepared
        if status == 0:
            assert step >= 5, "no step was counted"
            return
    raise AssertionError(f"no end after {MOST} steps")


class _Killer:
    def __init__(self, step: int, how: signal.Signals) -> None:
        self._left = step
        self._how = how

    def __call__(self, frame: object, event: str, function: Any) -> None:
        if event == "c_call" and function.__name__ in STEPS:
            if self._left == 0:
                os.kill(os.getpid(), self._how)
            self._left -= 1
