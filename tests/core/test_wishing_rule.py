"""The rule of scaling as nodes feed it: figures become rings, and rings a number."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from core.test_wishing import deployed, scaled
from skerry.core.events import Measured
from skerry.core.facts import Load
from skerry.core.intent import Endpoint, Needs, Service
from skerry.core.rings import Rings
from skerry.core.wishing import wished_for
from skerry.sim import documents as docs
from skerry.sim.machine import CLOCK_AT_ZERO


def ring(*connections: float, cpu: float = 0.0, replicas: int = 2) -> Rings:
    count = len(connections)
    return Rings([cpu] * count, list(connections), [0.0] * count, [float(replicas)] * count, ("node/vps-1",))


def test_of_two_targets_the_one_that_asks_for_more_counts() -> None:
    half = msgspec.structs.replace(scaled(cpu=0.5), needs=Needs(cpus_limit=0.5))
    connected, busy = wished_for(half, ring(140, cpu=0.1), 2, 1), wished_for(half, ring(100, cpu=0.85), 2, 1)
    assert (connected.number, busy.number) == (3, 4), "140 are 2.8 times the target, and 0.85 cores 3.4 times"
    reserved = msgspec.structs.replace(scaled(cpu=0.5, connections=0), needs=Needs(reserve_cpus=2.0))
    assert wished_for(reserved, ring(0, cpu=3.4), 2, 1).number == 4
    bare = scaled(cpu=0.5, connections=0)
    assert wished_for(bare, ring(0, cpu=1.7), 2, 1).number == 4, "without either, of one core"


def test_what_replicas_tell_by_themselves_is_a_target_as_any_other() -> None:
    queue = scaled(connections=0, metric="queue_length", metric_target=30.0)
    rings = msgspec.structs.replace(ring(0), metric=[170.0])
    assert wished_for(queue, rings, 2, 1).number == 6
    both = scaled(connections=50, metric="queue_length", metric_target=30.0)
    assert wished_for(both, msgspec.structs.replace(ring(400), metric=[30.0]), 2, 1).number == 8
    assert wished_for(both, msgspec.structs.replace(ring(0), metric=[170.0]), 2, 1).number == 6


def test_what_is_not_told_now_is_as_it_was_and_another_figure_begins_at_nothing() -> None:
    def of(metric: str) -> Service:
        told = msgspec.structs.replace(scaled(step_s=1, down_s=60, connections=0, metric=metric, metric_target=9.0))
        return msgspec.structs.replace(told, metrics=Endpoint(port=9100))

    cluster = deployed(1, of("waiting"))
    machine = cluster["vps-1"]
    step = int(CLOCK_AT_ZERO + cluster.clock.now_s)
    for told in (4.0, None, 7.0):
        step += 1
        machine.step(Measured("shop", "web", 1, step, 0.5, 0, 0, told))
    held = machine.core._s.known.of(machine.path, "load", "shop.web", Load)  # type: ignore[union-attr]
    assert held is not None
    assert (held.metric[-3:], held.metric_of) == ((4.0, 4.0, 7.0), "waiting")
    cluster.accept("vps-1", docs.app("shop", {"web": of("running")}, version=2))
    machine.step(Measured("shop", "web", 1, step + 1, 0.5, 0, 0, 2.0))
    held = machine.core._s.known.of(machine.path, "load", "shop.web", Load)  # type: ignore[union-attr]
    assert held is not None
    assert (held.metric[-3:], held.metric_of) == ((0.0, 0.0, 2.0), "running")
    assert len(held.metric) == len(held.cpu)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60), st.integers(0, 9), st.integers(0, 2))
def test_a_service_that_may_not_sleep_is_never_wished_to_and_one_that_may_only_without_connections(
    connections: list[float], base: int, low: int
) -> None:
    wished = wished_for(scaled(min=low, idle_s=30), ring(*connections), base, low)
    if low:
        assert wished.number > 0 or not any(connections[-6:]) or not base
    elif wished.number == 0:
        assert not any(connections[-3:])


def test_a_ring_is_never_longer_than_a_fact_may_be_whatever_is_measured() -> None:
    cluster = deployed(1, scaled(step_s=1, down_s=60), load=10)
    machine = cluster["vps-1"]
    step = int(CLOCK_AT_ZERO + cluster.clock.now_s)
    for jump in (1, 2, 70, -1, -500, 3, 61, 1):
        step += jump
        machine.step(Measured(app="shop", service="web", step_s=1, step=step, cpu=0.5, connections=1, fresh=1))
        held = machine.core._s.known.of(machine.path, "load", "shop.web", Load)  # type: ignore[union-attr]
        assert (
            held is not None
            and 1 <= len(held.cpu) == len(held.connections) == len(held.fresh) == len(held.replicas) <= 60
        )
