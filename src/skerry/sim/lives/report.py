"""What a cloud of so many hosts takes: seconds to converge and to heal, moves, messages, memory. Real rules on virtual time.

Each size is lived in a process of its own, so that its memory can be read. Signatures are tokens: what they cost is measured on links
(docs/benchmarks.md), not here.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import msgspec

from skerry.core import effects as do
from skerry.core.intent import Probe, Service, Update
from skerry.sim.cluster import World
from skerry.sim.lives.host import Host
from skerry.sim.lives.life import Life
from skerry.sim.lives.plan import Act, Plan
from skerry.sim.lives.tokens import signatures

REPLICAS_EACH = 2  # of a host, all of one service
QUIET_S = 60.0
MOST_S = 120.0
STEP_S = 0.05  # so fine are times


class Size(msgspec.Struct, frozen=True):
    """`*_s`: virtual seconds; `*_moves`: claims that were made for each slot that had to move, 1.0 is the least; `messages`, `bytes`:
    sent by a host in a quiet hour; `memory_bytes`: of the process, a host; `cpu_s`: processor seconds for all of it.

    `converge`: from the handed over document to the last healthy replica. `heal`: from a power cut of one host to the same. `back`:
    from its boot until nothing moves any more. `update`: a rollout of all replicas, two at a time.
    """

    nodes: int
    slots: int
    converge_s: float
    heal_s: float
    heal_moves: float
    back_s: float
    back_moves: float
    update_s: float
    messages_node_hour: int
    bytes_node_hour: int
    memory_bytes_node: int
    cpu_s: float


def measure(nodes: int) -> Size:
    began_s, memory = time.process_time(), _resident()
    probe = Probe(kind="tcp", port=80, start_period_s=10.0)
    slots = REPLICAS_EACH * nodes
    service = Service(replicas=slots, probe=probe, update=Update(parallelism=2, order="start-first"))
    plan = Plan(seed=1, nodes=nodes, world=World(latency_s=0.01, jitter_s=0.02), services={"web": service}, laptops=1)
    life = Life(plan)
    with signatures(real=False):
        life.begin(deploy=False)
        memory = _resident() - memory
        life.acts.go(Act(at_s=0.0, do="deploy"))
        converge_s = _until(life, lambda: _well(life, slots))
        frames, sent = life.wires.frames, life.wires.frame_bytes
        life.cluster.run(QUIET_S)
        frames, sent = life.wires.frames - frames, life.wires.frame_bytes - sent
        victim = max(life.honest(), key=lambda host: len(host.containers))
        lost, since = len(victim.containers), len(life.cluster.history)
        victim.power_cut()
        heal_s = _until(life, lambda: _well(life, slots))
        moves, since = _claims(life, since), len(life.cluster.history)
        life.cluster.run(10.0)
        begun_s = life.cluster.clock.now_s
        victim.boot()
        life.cluster.run(QUIET_S)
        back = [
            h.at_s
            for h in life.cluster.history[since:]
            if isinstance(h.effect, do.Note) and h.effect.kind == "released"
        ]
        back_moves = _claims(life, since)
        life.acts.go(Act(at_s=0.0, do="deploy"))
        update_s = _until(life, lambda: _well(life, slots, release=2))
    each = 3600.0 / QUIET_S / nodes
    return Size(
        nodes=nodes, slots=slots, converge_s=converge_s, heal_s=heal_s, heal_moves=round(moves / max(1, lost), 2),
        back_s=round(max(back, default=begun_s) - begun_s, 2), back_moves=round(back_moves / max(1, lost), 2), update_s=update_s,
        messages_node_hour=round(frames * each), bytes_node_hour=round(sent * each),
        memory_bytes_node=max(0, memory) // nodes, cpu_s=round(time.process_time() - began_s, 1),
    )  # fmt: skip


def report(sizes: list[int]) -> list[Size]:
    found = []
    for nodes in sizes:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            found.append(process.submit(measure, nodes).result())
    return found


def _until(life: Life, well: Callable[[], bool]) -> float:
    """Virtual seconds until then; at most MOST_S."""
    begun_s = life.cluster.clock.now_s
    while not well() and life.cluster.clock.now_s - begun_s < MOST_S:
        life.cluster.run(STEP_S)
    return round(life.cluster.clock.now_s - begun_s, 2)


def _well(life: Life, slots: int, release: int = 0) -> bool:
    """Every host sees all slots healthy on hosts that are on, in that release."""
    on = {host.path for host in life.honest()}
    return all(_sees(host, slots, on, release) for host in life.honest())


def _sees(host: Host, slots: int, on: set[str], release: int) -> bool:
    assert host.core is not None
    rows = host.core.rows()
    return len(rows) == slots and all(
        row.healthy and f"node/{row.node}" in on and (not release or row.version.endswith(f".{release}"))
        for row in rows
    )


def _claims(life: Life, since: int) -> int:
    return sum(isinstance(h.effect, do.Note) and h.effect.kind == "claimed" for h in life.cluster.history[since:])


def _resident() -> int:
    """Bytes of this process; 0 where the system doesn't say so like Linux. Source: proc_pid_statm(5)."""
    path = Path("/proc/self/statm")
    return int(path.read_text().split()[1]) * 4096 if path.exists() else 0
