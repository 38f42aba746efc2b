"""What it costs to sample 100 containers each second: processor time of the sampling process, its memory, its file.

Real cgroups with a process each, in all trees of this machine, and a veth each in a network namespace of its own; the code is the
agent's. Run as a program it measures in a namespace made for it: `python -m bench.metrics SECONDS` in `unshare -n`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

from skerry.agent.metrics.keeping import Metrics
from skerry.agent.metrics.sampling import Sampler
from skerry.observe.cgroups import Cgroup
from skerry.observe.machine import MachineFiles
from skerry.runtime.cgroups import Cgroups

COUNT = 100
SECONDS = 60
PARENT = f"/metrics-bench-{os.getpid()}"


def measure(seconds: int = SECONDS) -> dict[str, Any]:
    """`metrics_cpu_percent`: of one core."""
    ran = subprocess.run(
        ["unshare", "-n", sys.executable, "-m", "bench.metrics", str(seconds)],
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(json.loads(ran.stdout))


def inside(seconds: int) -> dict[str, Any]:
    cgroups = Cgroups()
    sleepers = [subprocess.Popen(["unshare", "-n", "sleep", "1000"]) for _ in range(COUNT)]
    try:
        ours = Path("/proc/self/ns/net").readlink()
        while any(Path(f"/proc/{sleeper.pid}/ns/net").readlink() == ours for sleeper in sleepers):
            time.sleep(0.01)
        lines = [
            f"link add skv{n} type veth peer name eth0 netns {sleeper.pid}\nlink set skv{n} up"
            for n, sleeper in enumerate(sleepers)
        ]
        subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), check=True, text=True)
        for n, sleeper in enumerate(sleepers):
            cgroups.move(sleeper.pid, f"{PARENT}/{n}")
        with tempfile.TemporaryDirectory() as folder:
            return asyncio.run(_sampling(Path(folder), seconds))
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()
        cgroups.remove(PARENT)


async def _sampling(folder: Path, seconds: int) -> dict[str, Any]:
    def begin() -> Metrics:
        sampler = Sampler(
            MachineFiles(folder),
            open_cgroup=lambda id: Cgroup(f"{PARENT}/{id}"),
            interface=lambda id: f"skv{id}",
            is_ours=lambda name: name.startswith("skv"),
            clock_off_s=lambda: 0.0,
        )
        running = {str(n): f"bench.web/{n}" for n in range(COUNT)}
        return Metrics(
            "node/bench", folder, sampler,
            running=lambda: running, restarts=lambda slot: 0, wall_s=time.time, note=lambda *event: print(event),
        )  # fmt: skip

    tracemalloc.start()
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    metrics = begin()
    for _ in range(3):
        await metrics.next_second()
        metrics.sample()
    gc.collect()
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    metrics.close()
    metrics = begin()
    await metrics.next_second()
    metrics.sample()
    began_s, used, samples = time.monotonic(), _cpu_s(), []
    while time.monotonic() - began_s < seconds:
        await metrics.next_second()
        at_s = time.thread_time()
        metrics.sample()
        samples.append(time.thread_time() - at_s)
    passed_s = time.monotonic() - began_s
    cpu = 100 * (_cpu_s() - used) / passed_s
    assert metrics.latest("bench.web/7", "cpu_cores") is not None
    metrics.close()
    file = (folder / "metrics").stat()
    return {
        "metrics_cpu_percent": round(cpu, 2),
        "metrics_sample_ms_median": round(1000 * sorted(samples)[len(samples) // 2], 2),
        "metrics_memory_mb": round((after - before) / 1e6, 2),
        "metrics_memory_peak_mb": round((peak - before) / 1e6, 2),
        "metrics_file_mb": round(file.st_size / 1e6, 2),
    }


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    print(json.dumps(inside(int(sys.argv[1]))))
