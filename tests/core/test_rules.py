"""The pure rules one by one: order, constraints, claims, bars, health, rollout, restarts."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from skerry.core.bars import Bars
from skerry.core.claims import ClaimIt, DeclineIt, LookAgain, Room, consider
from skerry.core.constraints import unmet
from skerry.core.health import judge
from skerry.core.intent import Needs, Node, Restart
from skerry.core.order import order_for
from skerry.core.peers import neighbours
from skerry.core.records import MachineSlot, Slot
from skerry.core.restarts import again, next_backoff, told
from skerry.core.rollout import Lower, has_failed, may_move
from skerry.sim import documents as docs

names = st.lists(st.integers(1, 40), min_size=1, max_size=12, unique=True).map(lambda ns: [f"vps-{n}" for n in ns])


def enrolled(names: list[str], zones: list[str] | None = None) -> dict[str, Node]:
    zones = zones or [""]
    nodes = [docs.node(name, zone=zones[i % len(zones)]) for i, name in enumerate(names)]
    return {document.path: document.body for document in nodes}  # type: ignore[misc]


ORDER_OF_A_KNOWN_CLOUD = [
    ("node/vps-1", "node/vps-2", "node/vps-3"),
    ("node/vps-3", "node/vps-2", "node/vps-1"),
    ("node/vps-2", "node/vps-1", "node/vps-3"),
]

# --- order ------------------------------------------------------------------------------------------------------------


@given(names=names, index=st.integers(0, 50))
def test_an_order_has_every_node_once_whatever_the_order_of_enrolments(names: list[str], index: int) -> None:
    nodes = enrolled(names)
    order = order_for("shop.web", index, nodes)
    assert sorted(order) == sorted(nodes)
    assert order == order_for("shop.web", index, dict(reversed(nodes.items())))


@given(names=names, replicas=st.integers(1, 20))
def test_replicas_spread_evenly_over_nodes_without_a_zone(names: list[str], replicas: int) -> None:
    nodes = enrolled(names)
    first = Counter(order_for("shop.web", index, nodes)[0] for index in range(replicas))
    assert max(first.values()) - min(first.get(path, 0) for path in nodes) <= 1


@given(names=names)
def test_slot_i_begins_at_zone_i_mod_z_and_the_next_ranks_are_in_other_zones(names: list[str]) -> None:
    nodes = enrolled(names, ["a", "b", "c"])
    zones = len({node.zone for node in nodes.values()})
    for index in range(zones):
        order = order_for("shop.web", index, nodes)
        assert len({nodes[path].zone for path in order[:zones]}) == zones
    assert len({nodes[order_for("shop.web", index, nodes)[0]].zone for index in range(zones)}) == zones


def test_a_heavier_node_of_a_zone_gets_its_share() -> None:
    nodes = {
        d.path: d.body for d in (docs.node("vps-1", zone="a", weight=300), docs.node("vps-2", zone="a", weight=100))
    }
    first = Counter(order_for(f"shop.s{i}", 0, nodes)[0] for i in range(2000))  # type: ignore[arg-type]
    assert 0.7 < first["node/vps-1"] / 2000 < 0.8


def test_the_order_of_a_known_cloud_never_changes() -> None:
    """Every version of the agent must compute the same: a change here is a change of protocol."""
    nodes = enrolled(["vps-1", "vps-2", "vps-3"])
    assert [order_for("guestbook.web", index, nodes) for index in range(3)] == ORDER_OF_A_KNOWN_CLOUD


def test_fixed_hosts_come_before_machines_of_pools_and_these_pool_by_pool() -> None:
    nodes = enrolled(["vps-1", "vps-2", "vps-3"])
    machines = {
        document.path: document.body
        for pool in ("burst", "spare")
        for index in range(3)
        for document in [docs.machine(MachineSlot(pool, index), f"{index:064x}", "198.51.100.1")]
    }
    for index in range(6):
        order = order_for("guestbook.web", index, {**machines, **nodes})  # type: ignore[dict-item]
        assert order[:3] == order_for("guestbook.web", index, nodes)
        pools = [path.split("/")[1] for path in order[3:]]
        assert pools == ["burst"] * 3 + ["spare"] * 3


# --- constraints ------------------------------------------------------------------------------------------------------


def test_constraints_are_read_or_never_satisfied() -> None:
    document = docs.node("vps-1", zone="a", disk="ssd")
    node = document.body
    assert isinstance(node, Node)
    for met in ("label.disk==ssd", "label.disk!=hdd", "zone==a", "node==vps-1", "node!=vps-2", "label.gpu!=yes"):
        assert unmet([met], document.path, node) == ""
    for wrong in ("label.disk==hdd", "node==vps-2", "label.gpu==yes", "cpu>4", "", "disk==ssd", "label.disk"):
        assert unmet([wrong], document.path, node) == wrong


# --- claims and bars --------------------------------------------------------------------------------------------------

ROOM = Room(cpus=2.0, memory_bytes=1 << 30, used_cpus=1.5, used_memory_bytes=900 << 20)


@given(rank=st.integers(0, 99), now_s=st.floats(0, 1e9))
def test_a_slot_without_room_is_never_claimed(rank: int, now_s: float) -> None:
    lacks = ROOM.lacks(Needs(reserve_memory_bytes=200 << 20))
    assert isinstance(consider(lacks, rank, vacant_s=0.0, now_s=now_s, delay_s=0.5), DeclineIt)


@given(rank=st.integers(0, 99), waited_s=st.floats(0, 100), not_before_s=st.floats(0, 100))
def test_a_node_claims_in_its_turn_and_not_before(rank: int, waited_s: float, not_before_s: float) -> None:
    answer = consider("", rank, vacant_s=0.0, now_s=waited_s, delay_s=0.5, not_before_s=not_before_s)
    if waited_s >= not_before_s + rank * 0.5:
        assert isinstance(answer, ClaimIt)
    else:
        assert isinstance(answer, LookAgain)
        assert answer.at_s > waited_s


def test_what_promises_nothing_always_fits() -> None:
    full = Room(cpus=0.0, memory_bytes=0, used_cpus=9.0, used_memory_bytes=1)
    assert full.lacks(Needs()) == ""
    assert ROOM.lacks(Needs(reserve_cpus=0.5)) == ""
    assert "CPUs" in ROOM.lacks(Needs(reserve_cpus=0.6))


def test_each_failure_bars_for_twice_as_long_up_to_a_limit() -> None:
    bars, slot = Bars(8.0, 600.0), Slot("shop", "web", 0)
    assert [bars.bar(slot, "node/a", 0.0) for _ in range(9)] == [8, 16, 32, 64, 128, 256, 512, 600, 600]
    assert bars.until(slot, "node/a", 599.0) == 600.0
    assert bars.until(slot, "node/a", 600.0) == 0.0
    assert bars.until(slot, "node/b", 0.0) == 0.0
    bars.forget("shop")
    assert bars.bar(slot, "node/a", 0.0) == 8.0


# --- health -----------------------------------------------------------------------------------------------------------


def test_two_of_two_witnesses_overrule_the_owner_and_one_does_not() -> None:
    assert judge(True, []).healthy
    assert judge(True, [None, None]).healthy
    assert judge(True, [False]).healthy
    assert "witness" in judge(True, [False, True]).why
    assert not judge(True, [False, False]).healthy
    assert judge(True, [False, False, True, True]).healthy
    assert not judge(True, [False, False, True]).healthy


@given(words=st.lists(st.sampled_from([True, False, None]), max_size=3))
def test_witnesses_never_make_healthy_what_its_owner_does_not(words: list[bool | None]) -> None:
    assert not judge(False, words).healthy
    assert not judge(None, words).healthy


# --- rollout ----------------------------------------------------------------------------------------------------------


@given(done=st.lists(st.booleans(), max_size=8), parallelism=st.integers(1, 4))
def test_a_slot_moves_only_when_fewer_than_parallelism_before_it_are_not_done(
    done: list[bool], parallelism: int
) -> None:
    lower = [Lower(f"web/{i}", 0.0 if is_done else None) for i, is_done in enumerate(done)]
    answer = may_move(lower, parallelism=parallelism, delay_s=0.0, now_s=1.0)
    assert answer.yes == (done.count(False) < parallelism)
    assert may_move(lower, parallelism=0, delay_s=0.0, now_s=1.0).yes


def test_the_delay_counts_from_when_the_one_before_was_well() -> None:
    answer = may_move([Lower("web/0", 10.0)], parallelism=1, delay_s=5.0, now_s=12.0)
    assert (answer.yes, answer.look_again_s) == (False, 15.0)
    assert may_move([Lower("web/0", 10.0)], parallelism=1, delay_s=5.0, now_s=15.0).yes


def test_a_version_fails_on_two_nodes_or_on_the_only_candidate() -> None:
    assert not has_failed({}, ["a", "b"])
    assert not has_failed({"a": "x"}, ["a", "b"])
    assert has_failed({"a": "x"}, ["a"])
    assert has_failed({"a": "x", "b": "x"}, ["a", "b", "c"])
    assert not has_failed({"a": "x"}, [])


# --- restarts ---------------------------------------------------------------------------------------------------------


def test_restart_policies() -> None:
    assert again(Restart(), 0, [0.0], 0.0)
    assert not again(Restart(condition="none"), 1, [0.0], 0.0)
    assert not again(Restart(condition="on-failure"), 0, [0.0], 0.0)
    assert again(Restart(condition="on-failure"), 1, [0.0], 0.0)
    limited = Restart(max_attempts=2, window_s=60.0)
    assert again(limited, 1, [0.0, 1.0], 1.0)
    assert not again(limited, 1, [0.0, 1.0, 2.0], 2.0)
    assert again(limited, 1, [0.0, 1.0, 100.0], 100.0)


def test_the_pause_doubles_up_to_its_limit() -> None:
    pauses, last = [], 0.0
    for _ in range(8):
        last = next_backoff(last, 0.5, 30.0)
        pauses.append(last)
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_an_end_is_told_as_what_it_was() -> None:
    assert "memory" in told(137, True)
    assert told(143, False) == "ended by signal 15"
    assert told(3, False) == "ended with exit code 3"


# --- neighbours -------------------------------------------------------------------------------------------------------


def test_up_to_thirty_nodes_everyone_links_with_everyone() -> None:
    nodes = enrolled([f"vps-{i}" for i in range(1, 31)])
    assert len(neighbours("node/vps-1", nodes, everyone=30, links=10).dial) == 29


def test_a_large_cloud_has_some_ten_links_each_and_is_connected() -> None:
    nodes = enrolled([f"vps-{i}" for i in range(1, 101)])
    dials = {path: neighbours(path, nodes, everyone=30, links=10).dial for path in nodes}
    assert all(len(dial) in (9, 10) for dial in dials.values())
    found, edge = set(), {"node/vps-1"}
    while edge:
        found |= edge
        edge = {p for path in edge for p in dials[path]} - found
    assert found == set(nodes)


def test_who_is_not_enrolled_gets_nobody() -> None:
    assert neighbours("node/vps-9", enrolled(["vps-1"]), everyone=30, links=10).peers == ()
