"""What each of the two keeps in a host's memory while nothing happens: PSS of all its processes, not of what runs in containers."""

from __future__ import annotations

import re
from pathlib import Path

from skerry.lab import cgroups


def weigh(lab: str, host: str) -> dict[str, dict[str, float]]:
    """MB by side and program."""
    found: dict[str, dict[str, float]] = {"swarm": {}, "skerry": {}}
    for pid in cgroups.processes(lab, host):
        try:
            program = str(Path(f"/proc/{pid}/exe").readlink())
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:  # it has ended
            continue
        pss = re.search(r"^Pss: +(\d+) kB$", rollup, re.M)
        side = "swarm" if "/bench-docker/" in program else "skerry" if "/opt/skerry/" in program else ""
        if side and pss:
            name = Path(program).name
            found[side][name] = found[side].get(name, 0.0) + int(pss[1]) * 1024 / 1e6
    return found
