"""Tools beside containers of crun: the tests that another runtime could fail, once more, in a process of their own.

Where a machine has both cgroup versions that process doesn't have the v2 tree (as in test_crun.py).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.test_crun import V2_BESIDE_V1, hybrid
from skerry.runtime import syscalls

pytestmark = pytest.mark.real
HERE = Path(__file__).parent
SAME = (
    "test_tools.py::test_it_is_the_looked_at_user_and_reads_what_modes_forbid",
    "test_tools.py::test_files_are_changed_with_write_alone_and_only_where_the_container_may",
    "test_tools.py::test_the_monitor_and_the_host_are_out_of_reach",
    "test_tools.py::test_in_its_network_it_is_in_nothing_else_of_its_and_overhears_and_changes_nothing",
    "test_tools.py::test_what_would_make_more_of_its_rights_is_refused_by_the_filter",
    "test_watched.py::test_when_the_tool_is_ended_the_target_runs_on[end-strace]",
)  # the others passed as well, on the day that this was written


def test_the_same_tools_beside_crun() -> None:
    argv = ["unshare", "--mount", sys.executable, __file__]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "SKERRY_TEST_TOOLS_WITH": "crun",
    }
    ran = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
    assert f"{'.' * len(SAME)} " in ran.stdout, "each of them, and none left out"


def main() -> int:
    if hybrid:
        syscalls.unmount(V2_BESIDE_V1)
    return pytest.main(["-q", "-p", "no:cacheprovider", *(str(HERE / one) for one in SAME)])


if __name__ == "__main__":
    sys.exit(main())
