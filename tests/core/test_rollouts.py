"""Rollouts: the rules by themselves, with views that differ, and random lives of a service that is deployed over and over."""

from __future__ import annotations

from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core import canary
from skerry.core import events as ev
from skerry.core.failures import is_on_trial
from skerry.core.intent import CanaryStep, Needs, Placement, Probe, Release, Service, Update, spec_of
from skerry.core.records import Slot
from skerry.core.rollout import Lower, may_move, tolerated
from skerry.sim import documents as docs
from skerry.sim.checkers import held_once
from skerry.sim.cluster import Cluster
from skerry.sim.rollouts import Rollouts, told
from skerry.sim.scenario import cluster_of, give_image
from skerry.sim.still import Container

PROBE = Probe(kind="tcp", port=80, interval_s=1.0, start_period_s=4.0)
shares = st.lists(st.floats(0.01, 0.99), min_size=1, max_size=4, unique=True).map(sorted)
times = st.one_of(st.none(), st.floats(0, 1000))


# --- the rules by themselves ------------------------------------------------------------------------------------------


@given(
    done=st.lists(st.booleans(), min_size=1, max_size=12),
    parallelism=st.integers(1, 12),
    late=st.lists(st.integers(0, 12), min_size=12, max_size=12),
)
def test_whatever_each_node_has_heard_no_more_than_parallelism_move(
    done: list[bool], parallelism: int, late: list[int]
) -> None:
    """Each slot decides by a view of its own, in which some that are done are not known to be."""
    moving = 0
    for index in range(len(done)):
        view = [Lower(str(other), 0.0 if done[other] and other < late[index] else None) for other in range(index)]
        moving += not done[index] and may_move(view, parallelism=parallelism, delay_s=0.0, now_s=1.0).yes
    assert moving <= parallelism


@given(shares=shares, replicas=st.integers(0, 40), hold_s=st.floats(0, 600))
def test_each_step_of_a_canary_has_a_slot_and_leaves_one(shares: list[float], replicas: int, hold_s: float) -> None:
    steps = canary.steps_of([CanaryStep(share=share, hold_s=hold_s) for share in shares], replicas)
    assert all(1 <= step.slots < replicas for step in steps)
    assert [step.slots for step in steps] == sorted(step.slots for step in steps)
    for step, share in zip(steps, shares, strict=False):
        assert step.slots == max(1, int(share * replicas + 1e-9))


@given(
    shares=shares, hold_s=st.floats(0.1, 600), done=st.lists(times, min_size=20, max_size=20), now_s=st.floats(0, 2000)
)
def test_no_step_is_over_before_all_of_its_slots_were_held_well(
    shares: list[float], hold_s: float, done: list[float | None], now_s: float
) -> None:
    steps = canary.steps_of([CanaryStep(share=share, hold_s=hold_s) for share in shares], 20)
    held = canary.held(steps, done, now_s)
    upto = held.slots if held is not None else 20
    for step in steps:
        if step.slots < upto:
            assert all(at is not None and at + hold_s <= now_s for at in done[: step.slots])
    if held is not None and held.until_s is not None:
        assert now_s < held.until_s


@given(ratio=st.floats(0, 1), replicas=st.integers(0, 1000))
def test_no_more_than_the_share_may_fail(ratio: float, replicas: int) -> None:
    assert tolerated(ratio, replicas) <= ratio * replicas + 1e-6
    assert tolerated(0.0, replicas) == 0 and tolerated(1.0, replicas) == replicas


def test_how_a_service_is_rolled_out_is_no_part_of_what_runs() -> None:
    other = Service(
        rollback=Update(parallelism=3),
        canary=(CanaryStep(share=0.1, hold_s=300.0),),
        update=Update(max_failure_ratio=0.5),
    )
    assert spec_of(other, "sha256:1") == spec_of(Service(), "sha256:1")
    assert msgspec.json.encode(Service()) == b"{}", "older bytes stay what they were"


# --- random lives -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", range(0, 24, 8))
def test_limits_and_canaries_hold_while_versions_take_over_from_each_other(first: int) -> None:
    for seed in range(first, first + 8):
        scenario = Rollouts(seed)
        assert scenario.run() == [], f"seed {seed}\n{told(scenario)}"


@pytest.mark.parametrize("seed", [218])
def test_a_seed_that_once_broke_its_limit_keeps_it(seed: int) -> None:
    """218: a slot that an earlier rollout had left undone tried a bad version for as long as a start may take; then another moved."""
    scenario = Rollouts(seed)
    assert scenario.run() == [], told(scenario)


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5, 20])
def test_something_serves_while_versions_come_that_answer_and_soon_end(seed: int) -> None:
    scenario = Rollouts(seed, dying=True)
    assert scenario.run() == [], told(scenario)


# --- one situation each -----------------------------------------------------------------------------------------------


class Shop:
    """A cloud with one service, `web`."""

    def __init__(self, service: Service, nodes: int = 3) -> None:
        self.cluster: Cluster = cluster_of(nodes)
        self.service, self.versions = service, 0
        self.held: list[str] = []
        self.deploy("v1")
        self.cluster.run(20.0)
        assert held_once(self.cluster) == []

    def deploy(self, word: str, fallback: int = -1) -> None:
        """`fallback`: which of the earlier releases it turns back to."""
        for machine in self.cluster.machines:
            give_image(self.cluster, machine.removeprefix("node/"), word)
        self.versions += 1
        back = self.held[fallback] if self.held else ""
        release = docs.release("shop", {"web": word}, version=self.versions, fallback=back)
        self.held.append(release.hash)
        self.cluster.accept("vps-1", release, docs.app("shop", {"web": self.service}))

    def versions_of(self) -> list[str]:
        core = self.cluster["vps-1"].core
        assert core is not None
        return [row.version for row in core.rows()]

    def containers(self, word: str) -> list[Container]:
        machines = self.cluster.machines.values()
        return [c for m in machines for c in m.containers.values() if c.running and docs.word_of(c.image) == word]

    def answering(self) -> int:
        now = self.cluster.clock.now_s
        every = [c for machine in self.cluster.machines.values() for c in machine.containers.values()]
        return sum(c.running and not c.stopping and c.answers_s <= now for c in every)

    def well(self) -> int:
        core = self.cluster["vps-1"].core
        assert core is not None
        return sum(row.healthy for row in core.rows())


def test_a_canary_is_held_step_by_step_and_then_all_follow() -> None:
    steps = (CanaryStep(share=0.25, hold_s=60.0), CanaryStep(share=0.5, hold_s=30.0))
    shop = Shop(Service(replicas=4, probe=PROBE, canary=steps))
    shop.deploy("v2")
    for seconds, moved, step in ((1, 1, 1), (55, 1, 1), (6, 2, 2), (28, 2, 2), (4, 4, 0)):
        shop.cluster.run(seconds)
        assert shop.versions_of() == ["1.2"] * moved + ["1.1"] * (4 - moved)
        row = shop.cluster["vps-2"].core.rows()[3]  # type: ignore[union-attr]
        assert (row.canary.step if row.canary is not None else 0) == step
        assert row.outdated is (moved < 4)
    assert shop.well() == 4


def test_a_machine_that_dies_or_more_replicas_spread_no_canary() -> None:
    shop = Shop(Service(replicas=4, probe=PROBE, canary=(CanaryStep(share=0.25, hold_s=120.0),)), nodes=4)
    shop.deploy("v2")
    shop.cluster.run(5.0)
    holder = next(row.node for row in shop.cluster["vps-1"].core.rows() if row.slot == "shop.web/2")  # type: ignore[union-attr]
    other = next(name for name in ("vps-1", "vps-2", "vps-3", "vps-4") if name != holder)
    shop.cluster[holder].power_cut()
    shop.cluster.run(30.0)
    shop.service = msgspec.structs.replace(shop.service, replicas=6)
    shop.cluster.accept(other, docs.app("shop", {"web": shop.service}, version=2))
    shop.cluster.run(20.0)
    rows = {row.slot.removeprefix("shop.web/"): row for row in shop.cluster[other].core.rows()}  # type: ignore[union-attr]
    assert rows["2"].healthy and rows["2"].node != holder and len(rows) == 6
    images = {index: docs.word_of(row.image) for index, row in rows.items()}
    assert images == {"0": "v2"} | dict.fromkeys("12345", "v1")
    shop.cluster.run(120.0)
    rows = {row.slot: row for row in shop.cluster[other].core.rows()}  # type: ignore[union-attr]
    assert {docs.word_of(row.image) for row in rows.values()} == {"v2"}


def test_a_replica_of_a_canary_that_ends_during_the_hold_turns_all_back() -> None:
    shop = Shop(Service(replicas=4, probe=PROBE, canary=(CanaryStep(share=0.5, hold_s=300.0),)))
    shop.cluster.bad_life["", "v2"] = 40.0  # long after the monitor's 5 s
    shop.deploy("v2")
    shop.cluster.run(30.0)
    assert shop.versions_of() == ["1.2", "1.2", "1.1", "1.1"]
    shop.cluster.run(60.0)
    assert shop.versions_of() == ["1.1"] * 4 and shop.well() == 4
    row = shop.cluster["vps-1"].core.rows()[0]  # type: ignore[union-attr]
    assert "ended with exit code 1" in row.verdict and "turned back to version 1.1" in row.verdict


def test_a_replica_of_a_canary_that_is_ill_during_the_hold_turns_all_back() -> None:
    shop = Shop(Service(replicas=4, probe=PROBE, canary=(CanaryStep(share=0.5, hold_s=300.0),)))
    shop.deploy("v2")
    shop.cluster.run(30.0)
    for machine in shop.cluster.machines.values():
        for container in machine.containers.values():
            if docs.word_of(container.image) == "v2":
                container.answers_s = 1e9
    shop.cluster.bad_health.add(("", "v2"))
    shop.cluster.run(60.0)
    assert shop.versions_of() == ["1.1"] * 4 and shop.well() == 4


def test_what_ends_within_the_monitor_on_one_node_turns_nothing_back() -> None:
    shop = Shop(Service(replicas=3, probe=PROBE))
    shop.deploy("v2")
    shop.cluster.run(0.3)
    machine = next(
        m for m in shop.cluster.machines.values() for c in m.containers.values() if docs.word_of(c.image) == "v2"
    )
    machine.kill(next(c.id for c in machine.containers.values() if docs.word_of(c.image) == "v2"), 137)
    shop.cluster.run(60.0)
    assert shop.versions_of() == ["1.2"] * 3 and shop.well() == 3


@pytest.mark.parametrize(("ratio", "back"), [(0.0, True), (0.34, True), (0.67, False)])
def test_a_share_may_fail_before_anything_follows(ratio: float, back: bool) -> None:
    """Of three slots two can't run in the new version: those whose nodes are tried all fail."""
    shop = Shop(Service(replicas=3, probe=PROBE, update=Update(max_failure_ratio=ratio)))
    shop.cluster.bad_health |= {("node/vps-1", "v2"), ("node/vps-2", "v2")}
    shop.deploy("v2")
    shop.cluster.run(200.0)
    core = shop.cluster["vps-3"].core
    assert core is not None
    assert any(row.failed for row in core.rows()) is back
    assert (docs.image_of("v2") in {row.image for row in core.rows()}) is not back


def test_the_way_back_goes_as_rollback_config_says() -> None:
    """Two of three nodes can't run the new version; what is well on the third goes back one by one, as is said of the way back."""
    way_back = Update(parallelism=1, delay_s=7.0, failure_action="pause")
    shop = Shop(Service(replicas=9, probe=PROBE, update=Update(parallelism=9), rollback=way_back))
    shop.cluster.bad_health |= {("node/vps-1", "v2"), ("node/vps-2", "v2")}
    shop.deploy("v2")
    shop.cluster.run(2.0)
    back: list[float] = []
    for _ in range(600):
        shop.cluster.run(0.1)
        done = shop.versions_of().count("1.1")
        back += [shop.cluster.clock.now_s] * (done - len(back))
    assert shop.versions_of() == ["1.1"] * 9
    assert back[-1] - back[-2] >= 7.0


def test_a_node_that_starts_anew_does_not_take_back_what_a_canary_has_let_go_on() -> None:
    steps = (CanaryStep(share=0.25, hold_s=30.0),)
    shop = Shop(Service(replicas=4, probe=PROBE, canary=steps, update=Update(delay_s=5.0)))
    shop.deploy("v2")
    shop.cluster.run(33.0)
    assert shop.versions_of() == ["1.2", "1.2", "1.1", "1.1"]
    for name in ("vps-1", "vps-2", "vps-3"):
        shop.cluster[name].end_agent()
        shop.cluster[name].boot()
    shop.cluster.run(15.0)
    assert shop.versions_of() == ["1.2", "1.2", "1.1", "1.1"]
    shop.cluster.run(120.0)
    assert shop.versions_of() == ["1.2"] * 4 and shop.well() == 4


def test_a_slot_that_an_earlier_rollout_left_without_anything_goes_first() -> None:
    """The second version never gets well on the node that holds slot 1; the third need not wait until that has failed."""
    shop = Shop(Service(replicas=3, probe=msgspec.structs.replace(PROBE, start_period_s=60.0)))
    holder = next(row.node for row in shop.cluster["vps-1"].core.rows() if row.slot == "shop.web/1")  # type: ignore[union-attr]
    shop.cluster.bad_health.add((f"node/{holder}", "v2"))
    shop.deploy("v2")
    shop.cluster.run(10.0)
    assert shop.versions_of() == ["1.2", "1.2", "1.1"] and shop.well() == 2
    shop.deploy("v3", fallback=0)
    shop.cluster.run(3.0)
    assert shop.versions_of() == ["1.3", "1.3", "1.1"] and shop.well() == 3
    shop.cluster.run(5.0)
    assert shop.versions_of() == ["1.3"] * 3 and shop.well() == 3


def test_a_canary_that_takes_over_from_a_rollout_leaves_no_third_version() -> None:
    shop = Shop(Service(replicas=4, probe=PROBE, update=Update(delay_s=30.0)))
    shop.deploy("v2")
    shop.cluster.run(40.0)
    assert shop.versions_of() == ["1.2", "1.2", "1.1", "1.1"]
    steps = (CanaryStep(share=0.25, hold_s=60.0),)
    shop.service = msgspec.structs.replace(shop.service, canary=steps, update=Update())
    shop.deploy("v3", fallback=0)
    shop.cluster.run(10.0)
    assert [docs.word_of(row.image) for row in shop.cluster["vps-1"].core.rows()] == ["v3", "v1", "v1", "v1"]  # type: ignore[union-attr]
    assert shop.well() == 4


def test_of_the_slots_that_try_a_version_none_may_fail_whatever_share_may() -> None:
    update, steps = Update(max_failure_ratio=0.5), (CanaryStep(share=0.25, hold_s=60.0),)
    shop = Shop(Service(replicas=4, probe=PROBE, update=update, canary=steps))
    shop.cluster.bad_health.add(("", "v2"))
    shop.deploy("v2")
    shop.cluster.run(30.0)
    assert shop.versions_of() == ["1.1"] * 4 and shop.well() == 4


def test_who_goes_back_by_hand_waits_for_no_canary() -> None:
    steps = (CanaryStep(share=0.25, hold_s=60.0),)
    shop = Shop(Service(replicas=4, probe=PROBE, canary=steps, rollback=Update(parallelism=4)))
    shop.deploy("v2")
    shop.cluster.run(100.0)
    assert shop.versions_of() == ["1.2"] * 4
    back = docs.release("shop", {"web": "v1"}, version=3, fallback=shop.held[-1])
    assert isinstance(back.body, Release)
    body = msgspec.structs.replace(back.body, back=True)
    shop.cluster.accept("vps-1", docs.document("release/shop", body, 3))
    shop.cluster.run(2.0)
    assert shop.versions_of() == ["1.3"] * 4 and shop.well() == 4


def test_what_ran_well_once_is_judged_anew_when_it_is_deployed_again() -> None:
    shop = Shop(Service(replicas=2, probe=PROBE))
    shop.deploy("v2")
    shop.cluster.run(30.0)
    assert shop.versions_of() == ["1.2"] * 2
    shop.cluster.bad_health.add(("", "v1"))  # a table that it needs is gone, say
    shop.deploy("v1")
    shop.cluster.run(60.0)
    assert shop.versions_of() == ["1.2"] * 2 and shop.well() == 2
    assert all(row.failed for row in shop.cluster["vps-1"].core.rows())  # type: ignore[union-attr]


def test_what_has_proved_itself_is_not_judged_anew_because_all_nodes_start_anew() -> None:
    """All machines lose power, and what the service needs is not there for a minute: no reason to go back a version."""
    shop = Shop(Service(replicas=2, probe=PROBE))
    shop.deploy("v2")
    shop.cluster.run(30.0)
    shop.cluster.bad_life["", "v2"] = 0.03
    for machine in shop.cluster.machines.values():
        machine.power_cut()
    for machine in shop.cluster.machines.values():
        machine.boot()
    shop.cluster.run(60.0)
    shop.cluster.bad_life.clear()
    shop.cluster.run(120.0)
    assert shop.versions_of() == ["1.2"] * 2 and shop.well() == 2
    assert not any(row.failed for row in shop.cluster["vps-1"].core.rows())  # type: ignore[union-attr]


def test_without_a_probe_the_last_replica_of_the_version_before_waits_for_the_monitor() -> None:
    shop = Shop(Service(replicas=2))
    shop.cluster.bad_life["", "v2"] = 2.0  # runs for longer than it takes to be called well
    shop.deploy("v2")
    for _ in range(300):
        shop.cluster.run(0.1)
        assert any(
            docs.word_of(c.image) == "v1" and c.running
            for m in shop.cluster.machines.values()
            for c in m.containers.values()
        )
    assert shop.versions_of() == ["1.1"] * 2


def test_only_what_is_young_or_tried_is_on_trial() -> None:
    shop = Shop(Service(replicas=4, probe=PROBE, canary=(CanaryStep(share=0.5, hold_s=300.0),)))
    shop.deploy("v2")
    shop.cluster.run(20.0)
    core = shop.cluster["vps-1"].core
    assert core is not None
    s = core._s
    spec = s.wants["shop"].services["web"].spec
    assert is_on_trial(s, Slot("shop", "web", 1), spec, s.now - 15.0, 5.0), "tried first, and the canary is not over"
    assert not is_on_trial(s, Slot("shop", "web", 3), spec, s.now - 15.0, 5.0)
    assert is_on_trial(s, Slot("shop", "web", 3), spec, s.now - 4.0, 5.0)
    assert not is_on_trial(s, Slot("shop", "web", 3), "other", None, 5.0)


@pytest.mark.parametrize(("ratio", "others"), [(0.34, ["1.2", "1.2"]), (0.0, ["1.1", "1.1"])])
def test_a_slot_whose_failure_is_tolerated_does_not_hold_up_the_next(ratio: float, others: list[str]) -> None:
    """Slot 0's host can't run the new version, and no other may have two: the others go on at once, not after 20 s."""
    update = Update(max_failure_ratio=ratio)
    shop = Shop(Service(replicas=3, probe=PROBE, placement=Placement(max_per_node=1), update=update))
    holder = next(row.node for row in shop.cluster["vps-1"].core.rows() if row.slot == "shop.web/0")  # type: ignore[union-attr]
    shop.cluster.bad_health.add((f"node/{holder}", "v2"))
    shop.deploy("v2")
    shop.cluster.run(12.0)
    assert shop.versions_of()[1:] == others and shop.well() == 2


# --- a version that answers, and ends seconds later --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "replicas"), [("stop-first", 2), ("stop-first", 3), ("start-first", 1), ("start-first", 3)]
)
@pytest.mark.parametrize("life_s", [0.5, 2.5, 4.5])
@pytest.mark.parametrize("probe", [None, PROBE])
def test_a_version_that_ends_seconds_later_leaves_no_moment_without_any(
    order: Literal["stop-first", "start-first"], replicas: int, life_s: float, probe: Probe | None
) -> None:
    shop = Shop(Service(replicas=replicas, probe=probe, update=Update(order=order)))
    shop.cluster.bad_life["", "v2"] = life_s
    shop.deploy("v2")
    least = 99
    for _ in range(600):
        shop.cluster.run(0.05)
        least = min(least, shop.answering())
    assert least >= 1
    assert shop.versions_of() == ["1.1"] * replicas and shop.well() == replicas


def test_the_last_that_stops_first_waits_until_another_has_been_well_for_the_monitor_s_time() -> None:
    shop = Shop(Service(replicas=3, probe=PROBE, update=Update(monitor_s=8.0)))
    shop.deploy("v2")
    shop.cluster.run(7.5)
    assert shop.versions_of() == ["1.2", "1.2", "1.1"] and shop.well() == 3
    awaits = shop.cluster["vps-1"].core.explain(Slot("shop", "web", 2)).awaits  # type: ignore[union-attr]
    shop.cluster.run(2.0)
    assert shop.versions_of() == ["1.2"] * 3 and shop.well() == 3
    holder = next(row.node for row in shop.cluster["vps-1"].core.rows() if row.slot == "shop.web/2")  # type: ignore[union-attr]
    assert holder != "vps-1" or "waits until another has been well for 8 s" in awaits


def test_of_many_the_last_does_not_wait_for_the_one_before_it() -> None:
    """Ten that take 0.3 s each: the first of them has been well for the monitor's 2 s when the last one's turn comes."""
    shop = Shop(Service(replicas=10, probe=PROBE, update=Update(monitor_s=2.0)))
    shop.deploy("v2")
    at_s: list[float] = []
    for _ in range(200):
        shop.cluster.run(0.05)
        at_s += [shop.cluster.clock.now_s] * (shop.versions_of().count("1.2") - len(at_s))
    assert len(at_s) == 10 and at_s[-1] - at_s[-2] < 0.6


def test_what_starts_first_waits_for_nothing_and_keeps_one_beside_for_the_monitor_s_time() -> None:
    shop = Shop(Service(replicas=3, probe=PROBE, update=Update(order="start-first", monitor_s=8.0)))
    shop.deploy("v2")
    shop.cluster.run(3.0)
    assert shop.versions_of() == ["1.2"] * 3 and shop.well() == 3
    assert [c.slot.index for c in shop.containers("v1")] == [2], "one of the version before, beside the last"
    shop.cluster.run(10.0)
    assert shop.containers("v1") == [] and shop.well() == 3


def test_the_one_beside_serves_again_when_the_new_one_ends_and_goes_when_another_version_comes() -> None:
    shop = Shop(Service(replicas=1, probe=PROBE, update=Update(order="start-first", monitor_s=8.0)))
    shop.deploy("v2")
    shop.cluster.run(3.0)
    assert len(shop.containers("v1")) == 1
    machine = next(m for m in shop.cluster.machines.values() if m.containers)
    machine.kill(shop.containers("v2")[0].id, 137)
    shop.cluster.run(0.05)
    assert shop.versions_of() == ["1.1"] and shop.well() == 1, "at once, without a start"
    shop.cluster.run(30.0)
    assert shop.versions_of() == ["1.2"], "once is not enough to turn back"
    shop.deploy("v3", fallback=1)
    shop.cluster.run(3.0)
    assert shop.versions_of() == ["1.3"]
    shop.deploy("v4")
    shop.cluster.run(0.4)
    assert shop.containers("v2") == [], "no more than one is kept"
    shop.cluster.run(3.0)
    assert shop.versions_of() == ["1.4"] and len(shop.containers("v3")) == 1


def test_room_for_two_is_enough_though_a_third_is_still_stopping() -> None:
    """The next version comes while the one before stays beside: that one stops, and then the new one starts first again."""
    needs = Needs(reserve_memory_bytes=400 << 20)
    shop = Shop(Service(replicas=1, probe=PROBE, needs=needs, update=Update(order="start-first")), nodes=1)
    assert shop.cluster["vps-1"].core._s.memory_bytes < 3 * needs.reserve_memory_bytes  # type: ignore[union-attr]
    shop.deploy("v2")
    shop.cluster.run(2.0)
    shop.deploy("v3")
    least = 99
    for _ in range(100):
        shop.cluster.run(0.05)
        least = min(least, shop.answering())
    assert least == 1 and shop.versions_of() == ["1.3"]


def test_who_goes_back_by_hand_waits_for_no_monitor() -> None:
    shop = Shop(Service(replicas=3, probe=PROBE, update=Update(monitor_s=60.0)))
    back = docs.release("shop", {"web": "v2"}, version=2, fallback=shop.held[-1])
    assert isinstance(back.body, Release)
    for machine in shop.cluster.machines:
        give_image(shop.cluster, machine.removeprefix("node/"), "v2")
    shop.cluster.accept("vps-1", docs.document("release/shop", msgspec.structs.replace(back.body, back=True), 2))
    shop.cluster.run(5.0)
    assert shop.versions_of() == ["1.2"] * 3 and shop.well() == 3


def test_why_a_probe_failed_is_told_with_the_last_words_of_the_log() -> None:
    shop = Shop(Service(replicas=2, probe=PROBE))
    shop.cluster.bad_health.add(("", "v2"))
    shop.deploy("v2")
    for _ in range(200):
        shop.cluster.run(0.1)
        for machine in shop.cluster.machines.values():
            for c in machine.containers.values():
                if docs.word_of(c.image) == "v2" and c.running:
                    machine.step(ev.ProbeAnswered(slot=c.slot, node=machine.path, spec=c.spec, ok=False, detail="HTTP 500",
                                                  last_lines="\x1b[31mKeyError: 'DB_URL'\x1b[0m\nGET /healthz 500"))  # fmt: skip
    row = shop.cluster["vps-1"].core.rows()[0]  # type: ignore[union-attr]
    words = "not healthy within 4 s: HTTP 500; its last words: KeyError: 'DB_URL' / GET /healthz 500"
    assert (
        row.verdict.count(words) == 1 and "vps-1, vps-" in row.verdict and "turned back to version 1.1" in row.verdict
    )
