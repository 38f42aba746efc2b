"""Figures of containers and hosts: texts of the kernel, whole and damaged, and the readers on this very machine."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import BadFormat
from skerry.observe import cgroups, host, machine
from skerry.observe.cgroups import Counters


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


PSI = "some avg10=1.50 avg60=0.20 avg300=0.00 total=2500000\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=7\n"
# As kernels wrote them: 6.1 (v2), 6.18 (v1 with a v2 tree beside it), and a v1 tree alone.
V2 = {
    "cgroup.controllers": "cpu io memory pids\n",
    "skerry/a/cpu.stat": "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\ncore_sched.force_idle_usec 0\n"
    "nr_periods 40\nnr_throttled 10\nthrottled_usec 911\nnr_bursts 0\nburst_usec 0\n",
    "skerry/a/memory.current": "9437184\n",
    "skerry/a/memory.stat": "anon 8388608\nfile 1048576\nkernel 0\ninactive_anon 4096\ninactive_file 1048576\nactive_file 0\n",
    "skerry/a/memory.max": "max\n",
    "skerry/a/pids.current": "3\n",
    "skerry/a/memory.events": "low 0\nhigh 0\nmax 4\noom 2\noom_kill 1\noom_group_kill 0\n",
    "skerry/a/cpu.pressure": PSI,
    "skerry/a/memory.pressure": PSI,
    "skerry/a/io.pressure": PSI,
    "skerry/a/io.stat": "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n"
    "254:16 rbytes=1 wbytes=2 rios=1 wios=1 dbytes=0 dios=0\n",
}
V1 = {
    "cpuacct/skerry/a/cpuacct.usage": "2500000000\n",
    "cpu/skerry/a/cpu.stat": "nr_periods 40\nnr_throttled 10\nthrottled_time 911000\nnr_bursts 0\nburst_time 0\n",
    "memory/skerry/a/memory.usage_in_bytes": "9437184\n",
    "memory/skerry/a/memory.stat": "cache 1048576\nrss 8388608\ninactive_file 7\ntotal_cache 1048576\ntotal_inactive_file 1048576\n",
    "memory/skerry/a/memory.limit_in_bytes": "9223372036854771712\n",
    "memory/skerry/a/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    "pids/skerry/a/pids.current": "3\n",
    "blkio/skerry/a/blkio.throttle.io_service_bytes": "254:0 Read 4096\n254:0 Write 8192\n254:0 Sync 0\n254:0 Async 12288\n"
    "254:0 Discard 0\n254:0 Total 12288\n254:16 Read 1\n254:16 Write 2\n254:16 Total 3\nTotal 12291\n",
}
HYBRID = V1 | {f"unified/skerry/a/{name}.pressure": PSI for name in ("cpu", "memory", "io")}
PRESSURES = ("cpu_wait_s", "memory_wait_s", "io_wait_s")
READ = Counters(2.5, 40.0, 10.0, 8388608.0, math.nan, 2.5, 2.5, 2.5, 1.0, 3.0, 4097.0, 8194.0)


def same(figures: Counters, expected: Counters) -> bool:
    return all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(figures, expected, strict=True))


@pytest.mark.parametrize(
    ("files", "expected"),
    [(V2, READ), (HYBRID, READ), (V1, READ._replace(**dict.fromkeys(PRESSURES, math.nan)))],
    ids=["v2", "hybrid", "v1"],
)
def test_the_same_container_in_each_kind_of_tree(tmp_path: Path, files: dict[str, str], expected: Counters) -> None:
    write(tmp_path, files)
    cgroup = cgroups.Cgroup("/skerry/a", tmp_path)
    assert same(cgroup.read(), expected)
    assert cgroup.missing == (frozenset() if files is not V1 else {"cpu_wait", "memory_wait", "io_wait"})
    assert cgroup.cpu_s() == 2.5
    limit = next(name for name in files if "memory.max" in name or "memory.limit" in name)
    (tmp_path / limit).write_text("67108864\n")
    assert [cgroup.read().limit_bytes for _ in range(cgroups.SLOW_TURNS)][-1] == 64 << 20
    cgroup.close()


@pytest.mark.parametrize("missing", sorted({*V2, *V1} - {"cgroup.controllers"}))
def test_a_figure_whose_file_is_missing_is_unknown_and_the_others_are_there(tmp_path: Path, missing: str) -> None:
    write(tmp_path, {name: text for name, text in (V2 if missing in V2 else HYBRID).items() if name != missing})
    cgroup = cgroups.Cgroup("/skerry/a", tmp_path)
    found = cgroup.read()
    assert all(a == b or math.isnan(a) or missing.endswith("memory.stat") for a, b in zip(found, READ, strict=True))
    cgroup.close()


@pytest.mark.parametrize("files", [V2, HYBRID], ids=["v2", "hybrid"])
def test_a_container_that_is_known_before_its_cgroup_is_made_is_read_once_it_is(
    tmp_path: Path, files: dict[str, str]
) -> None:
    write(tmp_path, {name: text for name, text in files.items() if name == "cgroup.controllers"})
    cgroup = cgroups.Cgroup("/skerry/a", tmp_path)
    assert all(math.isnan(value) for value in cgroup.read())
    first = [name for name in files if name.endswith(("pids.current", "cgroup.controllers"))]
    write(tmp_path, {name: files[name] for name in first})
    assert cgroup.read().pids == READ.pids
    write(tmp_path, files)
    assert same([cgroup.read() for _ in range(cgroups.SLOW_TURNS)][-1], READ)
    cgroup.close()


def test_a_container_that_is_gone_is_unknown_not_zero(tmp_path: Path) -> None:
    cgroup = cgroups.Cgroup("/skerry/gone", tmp_path)
    assert all(math.isnan(value) for value in cgroup.read())


PROC = {
    "stat": "cpu  100 20 30 4000 50 6 4 9 8 0\ncpu0 1 2 3 4 5 6 7 8 9 0\nintr 1\n",
    "meminfo": "MemTotal:       2048 kB\nMemFree: 1 kB\nMemAvailable:   1024 kB\n",
    "loadavg": "0.25 0.20 0.10 2/345 9999\n",
    "diskstats": " 254 0 vda 10 0 8 0 20 0 16 0 0 0 0\n 254 1 vda1 10 0 8 0 20 0 16 0 0 0 0\n 7 0 loop0 9 0 99 0 0 0 99 0\n"
    " 253 0 dm-0 10 0 8 0 20 0 16 0 0 0 0\n 254 16 vdb 1 0 2 0 1 0 4 0 0 0 0\n",
    "vmstat": "nr_free_pages 1\noom_kill 5\nthp 0\n",
    "net/dev": "Inter-|   Receive  |  Transmit\n face |bytes packets\n    lo: 9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n"
    "  eth0: 1000 1 0 0 0 0 0 0 500 1 0 0 0 0 0 0\nskv12:7 1 0 0 0 0 0 0 8 1 0 0 0 0 0 0\n",
    "net/route": "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\n",
    "pressure/cpu": PSI,
    "pressure/memory": PSI,
    "pressure/io": PSI,
}


def test_a_machine_by_the_texts_of_proc(tmp_path: Path) -> None:
    write(tmp_path, PROC)
    files = machine.MachineFiles(tmp_path, tmp_path)
    told = files.read()
    assert told.busy_s == 160 / os.sysconf("SC_CLK_TCK")
    assert told[1:11] == (2.5, 1 << 20, 2 << 20, 2.5, 2.5, 5.0, 345.0, 10 * 512, 20 * 512, 0.25)
    assert 0 < told.disk_used_bytes <= told.disk_total_bytes
    assert files.interfaces() == {"lo": (9, 9), "eth0": (1000, 500), "skv12": (7, 8)}
    assert files.ways_out == {"eth0"}
    files.close()


def test_a_machine_that_tells_nothing_is_unknown(tmp_path: Path) -> None:
    files = machine.MachineFiles(tmp_path / "nothing", tmp_path)
    assert all(math.isnan(value) for value in files.read())
    assert files.interfaces() == {}


def test_this_machine_tells_all() -> None:
    files = machine.MachineFiles(Path("/"))
    assert not any(math.isnan(value) for value in files.read())
    assert "lo" in files.interfaces()
    files.close()


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


BYTE_PARSERS: list[Callable[[bytes], Any]] = [
    cgroups.single, cgroups.usage_us, cgroups.waited_us, cgroups.oom_kill, cgroups.read_written, machine.interfaces,
    machine.read_written, machine.ways_out, lambda data: machine.busy_s(data, 100),
]  # fmt: skip


@pytest.mark.parametrize("parse", BYTE_PARSERS)
@given(data=st.binary(max_size=200) | KERNEL_LIKE.map(str.encode))
def test_any_bytes_are_figures_or_unknown(parse: Callable[[bytes], Any], data: bytes) -> None:
    parse(data)
