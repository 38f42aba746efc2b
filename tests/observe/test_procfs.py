"""Processes as /proc tells of them: those that have ended and that nobody asked about stand there, too."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from skerry.observe.look.job import Job
from skerry.observe.look.procfs import procs


def test_a_child_that_nobody_asked_about_is_shown_as_a_zombie() -> None:
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.read()  # closed: it has ended, or is about to
        deadline_s = time.monotonic() + 10
        root = os.open("/", os.O_PATH | os.O_DIRECTORY)
        try:
            shown: dict[int, str] = {}
            while shown.get(child.pid) != "zombie" and time.monotonic() < deadline_s:
                rows = list(procs(Job(what="procs", root=root, pids=(os.getpid(),))))
                shown = {row["host_pid"]: row["state"] for row in rows if "host_pid" in row}
        finally:
            os.close(root)
        assert shown[child.pid] == "zombie" and os.getpid() in shown
