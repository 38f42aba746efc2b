"""How long until every replica is healthy elsewhere, after a power cut: the link first, then pid 1 of a whole machine."""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import Any

from bench.cloud import POLL_S, Cloud
from bench.rollouts import REPLICAS
from bench.static_server import write_compose
from skerry.client.session import Session
from skerry.errors import SkerryError

CUTS = 5
HEALED_WITHIN_S = 60.0


def measure(cloud: Cloud) -> dict[str, Any]:
    cloud.run("deploy", str(write_compose(cloud.work, 1, replicas=REPLICAS)))
    times = []
    for turn in range(CUTS):
        cloud.wait("all well", lambda: cloud.well(REPLICAS) and len(cloud.up()) == cloud.hosts)
        held: dict[str, int] = {}
        for row in cloud.ps():
            held[row["node"]] = held.get(row["node"], 0) + 1
        victim = max(held, key=lambda node: (held[node], node))
        times.append(asyncio.run(_cut(cloud, victim)))
        cloud.tell(f"power cut {turn + 1}: {victim} with {held[victim]} of {REPLICAS}, healed after {times[-1]:.2f} s")
        cloud.lab.boot(victim)
    return {"heal_s_median": round(median(times), 2), "heal_s_each": [round(s, 2) for s in times]}


async def _cut(cloud: Cloud, victim: str) -> float:
    async with cloud.session() as session:
        session.preferred = next(path for path in session.nodes if path != f"node/{victim}")
        begun_s = time.monotonic()
        await asyncio.to_thread(cloud.lab.kill, victim)
        while not await _healed(session, victim):
            if time.monotonic() > begun_s + HEALED_WITHIN_S:
                raise TimeoutError(f"not healed {HEALED_WITHIN_S:.0f} s after the cut of {victim}")
            await asyncio.sleep(POLL_S)
        return time.monotonic() - begun_s


async def _healed(session: Session, victim: str) -> bool:
    try:
        rows = await session.request("ps", {"subject": ""}, node=session.preferred)
    except SkerryError:
        return False
    return sum(1 for row in rows if row["healthy"] and row["node"] != victim) == REPLICAS
