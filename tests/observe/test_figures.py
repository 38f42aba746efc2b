"""Figures of containers and hosts: texts of the kernel, whole and damaged, and the readers on this very machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import BadFormat
from skerry.observe import cgroups, host
from skerry.observe.cgroups import Figures, Pressure


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


PSI = "some avg10=1.50 avg60=0.20 avg300=0.00 total=42\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=7\n"


def test_figures_of_a_v2_container(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "cgroup.controllers": "cpu memory pids\n",
            "skerry/a/cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
            "skerry/a/memory.current": "1048576\n",
            "skerry/a/memory.max": "max\n",
            "skerry/a/pids.current": "3\n",
            "skerry/a/memory.events": "low 0\noom 2\noom_kill 1\n",
            "skerry/a/memory.pressure": PSI,
        },
    )
    assert cgroups.read_figures("/skerry/a", tmp_path) == Figures(
        cpu_s=2.5, memory_bytes=1 << 20, pids=3, ooms=1, memory_pressure=Pressure(0.015, 0.002, 0.0, 0.005)
    )


def test_figures_of_a_v1_container(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "cpuacct/skerry/a/cpuacct.usage": "1500000000\n",
            "memory/skerry/a/memory.usage_in_bytes": "4096\n",
            "memory/skerry/a/memory.limit_in_bytes": "9223372036854771712\n",
            "memory/skerry/a/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n",
            "pids/skerry/a/pids.current": "1\n",
        },
    )
    assert cgroups.read_figures("/skerry/a", tmp_path) == Figures(cpu_s=1.5, memory_bytes=4096, pids=1, ooms=4)


def test_a_container_that_is_gone_is_unknown_not_zero(tmp_path: Path) -> None:
    assert cgroups.read_figures("/skerry/gone", tmp_path) == Figures()


def test_this_hosts_figures() -> None:
    figures = host.read_host(Path("/"))
    assert figures.cpus >= 1
    assert 0 < figures.memory.available_bytes <= figures.memory.total_bytes
    assert figures.disk_free_bytes <= figures.disk_total_bytes
    features = host.read_features()
    assert features.overlay
    assert features.cgroups in ("v1", "hybrid", "v2")


MOUNTS = {
    "v1": "1 0 0:1 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n",
    "v2": "1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
    "none": "1 0 0:1 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n1 0 0:1 / / rw - ext4 x rw\n",
}


def test_cgroup_versions_are_told_apart() -> None:
    for expected, text in MOUNTS.items():
        assert host.parse_cgroup_mounts(text) == expected
    assert host.parse_cgroup_mounts(MOUNTS["v1"] + MOUNTS["v2"]) == "hybrid"
    assert host.parse_cgroup_mounts(MOUNTS["none"] + MOUNTS["v2"]) == "v2"


def test_texts_of_proc() -> None:
    assert host.parse_meminfo("MemTotal: 2 kB\nMemAvailable: 1 kB\n") == host.Memory(2048, 1024)
    assert host.parse_loadavg("0.1 0.2 0.3 1/2 3\n") == (0.1, 0.2, 0.3)
    assert host.parse_filesystems("nodev\toverlay\n\text4\n") == {"overlay", "ext4"}
    with pytest.raises(BadFormat, match="MemAvailable"):
        host.parse_meminfo("MemTotal: 2 kB\n")


PARSERS: list[Callable[[str], Any]] = [
    host.parse_meminfo,
    host.parse_loadavg,
    host.parse_filesystems,
    host.parse_cgroup_mounts,
    cgroups.parse_keyed,
    cgroups.parse_single,
    cgroups.parse_pressure,
]
KERNEL_LIKE = st.lists(
    st.sampled_from(["some", "full", "avg10=", "1.5", "MemTotal:", "MemAvailable:", "kB", "max", " - ", "cgroup", "²"])
    | st.text(max_size=8),
    max_size=12,
).map(" ".join)


@pytest.mark.parametrize("parse", PARSERS)
@given(text=st.text(max_size=200) | KERNEL_LIKE)
def test_any_text_is_read_or_refused_as_badly_formed(parse: Callable[[str], Any], text: str) -> None:
    try:
        parse(text)
    except BadFormat as error:
        assert len(str(error)) < 300
