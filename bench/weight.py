"""What an agent costs the host it runs on: memory after a while, and processor time while nothing happens.

PSS, as shared pages count by halves; of the agent's process alone, what runs beside it is told apart.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

from bench.cloud import Cloud
from bench.static_server import write_compose

HELD = 2  # replicas on the host that is looked at
REPLICAS = 8
IDLE_S = 60.0
TICKS = os.sysconf("SC_CLK_TCK")


def deploy(cloud: Cloud) -> None:
    cloud.run("deploy", str(write_compose(cloud.work, 1, replicas=REPLICAS)))


def memory(cloud: Cloud) -> dict[str, Any]:
    pid = agent_pid(cloud, chosen(cloud))
    kib = _rollup(pid)
    return {
        "agent_pss_mb": round(kib["Pss"] * 1024 / 1e6, 1),
        "agent_pss_anonymous_mb": round(kib["Pss_Anon"] * 1024 / 1e6, 1),
        "agent_rss_mb": round(kib["Rss"] * 1024 / 1e6, 1),
        "agent_up_s": round(time.clock_gettime(time.CLOCK_BOOTTIME) - _started_s(pid)),
    }


def idle(cloud: Cloud, seconds: float = IDLE_S) -> dict[str, Any]:
    pid = agent_pid(cloud, chosen(cloud))
    before, switches, begun_s = _cpu_s(pid), _switches(pid), time.monotonic()
    time.sleep(seconds)
    passed_s = time.monotonic() - begun_s
    return {
        "agent_idle_cpu_percent": round(100 * (_cpu_s(pid) - before) / passed_s, 2),
        "agent_idle_wakeups_per_s": round((_switches(pid) - switches) / passed_s, 1),
    }


def chosen(cloud: Cloud) -> str:
    """A host that holds as many replicas as the figure is about, else the one that comes nearest."""
    held = dict.fromkeys(cloud.up(), 0)
    for row in cloud.ps():
        held[row["node"]] += 1
    return min(sorted(held), key=lambda name: abs(held[name] - HELD))


def agent_pid(cloud: Cloud, host: str) -> int:
    """The agent's pid, as this machine sees it."""
    inner = cloud.lab.exec(host, ["systemctl", "show", "-p", "MainPID", "--value", "skerry"]).stdout.decode().strip()
    pid1 = next(machine.pid for machine in cloud.lab.status() if machine.name == host)
    space = (Path("/proc") / str(pid1) / "ns" / "pid").readlink()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "status").read_text()
                if (entry / "ns" / "pid").readlink() == space and re.search(rf"^NSpid:\t\d+\t{inner}$", status, re.M):
                    return int(entry.name)
            except OSError:
                continue
    raise LookupError(f"no agent runs on {host}")


def _rollup(pid: int) -> dict[str, int]:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {name: int(kib) for name, kib in re.findall(r"^(\w+): +(\d+) kB$", text, re.M)}


def _cpu_s(pid: int) -> float:
    """User and system time of all threads."""
    ns = sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())
    return ns / 1e9


def _switches(pid: int) -> int:
    texts = [(task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int(n) for text in texts for n in re.findall(r"^voluntary_ctxt_switches:\t(\d+)$", text, re.M))


def _started_s(pid: int) -> float:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]) / TICKS
