"""The contract, kept by real containers of crun and conmon.

crun refuses machines with both cgroup versions. There the suite runs once more in a process of its own, whose mount
namespace doesn't have the v2 tree: this file is its first word (`main`), and these tests its second.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from runtime.bench import BINARIES, OciBench
from runtime.contract import RuntimeContract
from skerry.observe.host import parse_cgroup_mounts
from skerry.runtime import syscalls
from skerry.runtime.cgroups import Cgroups
from skerry.runtime.probe import find_runtime

pytestmark = pytest.mark.real
TRIES = "/skr-try"
V2_BESIDE_V1 = "/sys/fs/cgroup/unified"
hybrid = parse_cgroup_mounts(Path("/proc/self/mountinfo").read_text()) == "hybrid"


@pytest.fixture
def no_cgroups_left() -> Iterator[None]:
    yield
    left = {path.name for tree in Cgroups().trees for path in (tree / TRIES[1:]).iterdir() if path.is_dir()}
    Cgroups().remove(TRIES)
    assert left == {"mon"}


if not hybrid:

    class TestCrun(RuntimeContract):
        @pytest.fixture
        async def bench(self) -> AsyncIterator[OciBench]:
            bench = OciBench("crun")
            yield bench
            await bench.finish()

    async def test_crun_is_preferred_where_it_works(tmp_path: Path, no_cgroups_left: None) -> None:
        found, tried = await find_runtime(BINARIES, tmp_path / "d", tmp_path / "r", TRIES)
        assert found.runtime == "crun", tried

else:

    def test_the_contract_without_the_v2_tree() -> None:
        argv = ["unshare", "--mount", sys.executable, __file__]
        path = os.pathsep.join(filter(None, sys.path))
        ran = subprocess.run(
            argv, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60, check=False
        )
        assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
        assert "skipped" not in ran.stdout

    async def test_runc_is_found_where_crun_refuses(tmp_path: Path, no_cgroups_left: None) -> None:
        found, tried = await find_runtime(BINARIES, tmp_path / "d", tmp_path / "r", TRIES)
        assert found.runtime == "runc"
        assert [(one.runtime, one.works) for one in tried] == [("crun", False), ("runc", True)]
        assert "hybrid" in tried[0].why


def main() -> int:
    syscalls.unmount(V2_BESIDE_V1)
    return pytest.main(["-q", "-p", "no:cacheprovider", __file__])


if __name__ == "__main__":
    sys.exit(main())
