"""Leases that containers take by name: never two holders, numbers that only grow, and what a flood of them may cost."""

from __future__ import annotations

from collections import Counter

import pytest

from skerry.core import effects as do
from skerry.core import events as ev
from skerry.core.facts import Ask, Votes
from skerry.core.intent import Service
from skerry.core.leases.shared import NAMES_MAX, Budget
from skerry.sim import documents as docs
from skerry.sim.cluster import Cluster, World
from skerry.sim.machine import Machine
from skerry.sim.scenario import cluster_of, give_image

APP = "shop"
SERVICE = Service(replicas=1, leases=True)


class Holders:
    """What each node's containers believe, by the effects alone: as the agent hands it on. Looks at each effect and often between."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.until: dict[tuple[str, str], float] = {}  # (node, name) -> by its own clock
        self.number: dict[tuple[str, str], int] = {}
        self.taken: list[tuple[float, str, str, int]] = []
        self.wrong: list[str] = []
        self.facts: Counter[tuple[str, str, bool]] = (
            Counter()
        )  # (node, kind, whether it is for voters and askers alone)
        self.tickets: dict[str, dict[str, int]] = {}
        self._next = 0
        cluster.watchers.append(self._see)

    def want(self, node: str, *names: str, again: bool = False) -> None:
        wanted = self.tickets.setdefault(node, {})
        for name in [name for name in wanted if name not in names or again]:
            del wanted[name]
            self.until.pop((f"node/{node}", name), None)
        for name in names:
            if name not in wanted:
                self._next += 1
                wanted[name] = self._next
        self.cluster[node].step(ev.LeasesWanted(app=APP, wanted=dict(wanted)))

    def of(self, name: str) -> list[str]:
        return [
            path.removeprefix("node/")
            for (path, of), until_s in self.until.items()
            if of == name and until_s > self.cluster.machines[path].now_s()
        ]

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * 50)):
            self.cluster.run(0.02)
            for name in {name for _, name in self.until}:
                if len(self.of(name)) > 1:
                    self.wrong.append(f"{self.cluster.clock.now_s:.2f}: {name} is held by {self.of(name)}")

    def _see(self, machine: Machine, effect: do.Effect) -> None:
        if isinstance(effect, do.Publish) and isinstance(effect.body, Ask | Votes) and effect.key:
            self.facts[machine.path, effect.kind, effect.body.direct] += 1
        if not isinstance(effect, do.Leased):
            return
        for lease in effect.leases:
            place, wanted = (machine.path, lease.name), self.tickets.get(machine.path.removeprefix("node/"), {})
            if lease.until_s and lease.ticket == wanted.get(lease.name):
                if place not in self.until:
                    newest = max((n for _, _, name, n in self.taken if name == lease.name), default=0)
                    if lease.number <= newest:
                        self.wrong.append(f"{machine.path} got {lease.number} of {lease.name} after {newest}")
                    self.taken.append((self.cluster.clock.now_s, machine.path, lease.name, lease.number))
                self.until[place], self.number[place] = lease.until_s, lease.number
            elif lease.lost:
                self.until.pop(place, None)


def cloud(nodes: int = 3, seed: int = 0, world: World | None = None) -> Holders:
    cluster = cluster_of(nodes, seed=seed, world=world) if world else cluster_of(nodes)
    give_image(cluster, "vps-1", "web-v1")
    cluster.accept("vps-1", docs.policy(*[f"vps-{n}" for n in range(1, min(nodes, 5) + 1)]))
    cluster.accept("vps-1", docs.release(APP, {"web": "web-v1"}), docs.app(APP, {"web": SERVICE}))
    cluster.run(12)
    return Holders(cluster)


def test_one_that_is_free_is_taken_at_once_and_kept_for_as_long_as_it_is_wanted() -> None:
    holders = cloud()
    holders.want("vps-1", "leader")
    holders.run(0.1)
    assert holders.of("leader") == ["vps-1"]
    holders.run(20)
    assert holders.of("leader") == ["vps-1"] and len(holders.taken) == 1 and not holders.wrong


def test_who_waits_gets_it_when_it_is_let_go_under_a_higher_number() -> None:
    holders = cloud()
    holders.want("vps-1", "leader")
    holders.run(1)
    holders.want("vps-2", "leader")
    holders.run(10)
    assert holders.of("leader") == ["vps-1"]
    holders.want("vps-1")
    holders.run(0.5)
    assert holders.of("leader") == ["vps-2"]
    assert [number for *_, number in holders.taken] == [1, 2] and not holders.wrong


def test_another_container_of_the_same_host_gets_a_number_of_its_own() -> None:
    holders = cloud()
    holders.want("vps-1", "leader")
    holders.run(0.2)
    holders.want("vps-1", "leader", again=True)
    holders.run(0.2)
    assert [number for *_, number in holders.taken] == [1, 2]


def test_of_a_host_that_dies_it_is_taken_once_its_time_is_over() -> None:
    holders = cloud()
    holders.want("vps-1", "leader")
    holders.run(2)
    holders.want("vps-2", "leader")
    holders.run(2)
    holders.cluster["vps-1"].power_cut()
    died_s = holders.cluster.clock.now_s
    holders.run(10)
    assert holders.of("leader") == ["vps-2"] and not holders.wrong
    assert 1.0 < holders.taken[-1][0] - died_s < 8.0


def test_a_host_that_is_cut_off_has_lost_it_before_others_get_it() -> None:
    holders = cloud()
    holders.want("vps-1", "leader")
    holders.run(2)
    holders.want("vps-2", "leader")
    holders.run(1)
    holders.cluster.wires.part(["vps-1"], ["vps-2", "vps-3"])
    holders.run(12)
    assert holders.of("leader") == ["vps-2"] and not holders.wrong
    assert ("node/vps-1", "leader") not in holders.until, "and was told so"
    holders.cluster.wires.heal()
    holders.run(10)
    assert holders.of("leader") == ["vps-2"] and not holders.wrong


def test_an_agent_that_starts_anew_neither_keeps_it_nor_gives_it_away_early() -> None:
    holders = cloud()
    holders.want("vps-1", "leader")
    holders.run(2)
    holders.want("vps-2", "leader")
    one = holders.cluster["vps-1"]
    one.end_agent()
    holders.tickets["vps-1"] = {}
    one.boot()
    holders.run(1.0)
    assert holders.of("leader") == ["vps-1"], "its container may still act under it"
    holders.run(12)
    assert holders.of("leader") == ["vps-2"] and not holders.wrong


def test_voters_that_start_anew_are_silent_until_what_they_promised_is_over() -> None:
    holders = cloud()
    holders.want("vps-1", "leader")
    holders.run(2)
    holders.cluster.wires.part(["vps-1"], ["vps-2", "vps-3"])
    for name in ("vps-2", "vps-3"):
        holders.cluster[name].power_cut()
        holders.cluster[name].boot()
    holders.run(0.5)
    holders.want("vps-2", "leader")
    holders.run(1)
    assert holders.of("leader") == ["vps-1"]
    holders.run(12)
    assert holders.of("leader") == ["vps-2"] and not holders.wrong


def test_without_a_majority_of_voters_nobody_gets_one() -> None:
    holders = cloud()
    holders.cluster["vps-2"].power_cut()
    holders.cluster["vps-3"].power_cut()
    holders.run(8)
    holders.want("vps-1", "leader")
    holders.run(10)
    assert not holders.taken
    holders.cluster["vps-2"].boot()
    holders.run(15)
    assert holders.of("leader") == ["vps-1"]


def test_of_five_that_want_the_same_one_has_it_and_each_comes_in_turn() -> None:
    holders = cloud(5)
    for n in range(1, 6):
        holders.want(f"vps-{n}", "leader")
    for _ in range(30):
        holders.run(1.5)
        (now,) = holders.of("leader")
        holders.want(now)
        holders.run(0.02)
        holders.want(now, "leader")
    assert not holders.wrong and len({path for _, path, *_ in holders.taken}) == 5


@pytest.mark.parametrize("seed", range(12))
def test_whatever_fails_there_are_never_two(seed: int) -> None:
    """Random wishes, cuts, restarts and power cuts; clocks that run 1 in 100 fast and slow."""
    holders = cloud(3, seed, World(jitter_s=0.02, loss=0.05))
    cluster, chance = holders.cluster, holders.cluster.chance
    names = ["a", "b", "c"]
    for _ in range(40):
        node = chance.choice(["vps-1", "vps-2", "vps-3"])
        machine = cluster[node]
        match chance.randrange(9):
            case 0:
                cluster.wires.part([node], [f"vps-{n}" for n in (1, 2, 3)])
            case 1 | 2:
                cluster.wires.heal()
            case 3 if machine.on:
                machine.power_cut() if chance.random() < 0.5 else machine.end_agent()
                for place in [place for place in holders.until if place[0] == machine.path and not machine.containers]:
                    del holders.until[place]  # whoever held it there is dead, too
                holders.tickets[node] = {}
            case 4 | 5 if not machine.on:
                machine.boot()
            case _ if machine.on:
                holders.want(node, *chance.sample(names, chance.randrange(4)), again=chance.random() < 0.3)
        holders.run(chance.uniform(0.1, 2.5))
    assert not holders.wrong
    cluster.wires.heal()
    for n in (1, 2, 3):
        if not cluster[f"vps-{n}"].on:
            cluster[f"vps-{n}"].boot()
    holders.run(12)
    for n in (1, 2, 3):
        holders.want(f"vps-{n}", *names)
    holders.run(12)
    assert not holders.wrong and all(len(holders.of(name)) == 1 for name in names)


def test_a_node_that_may_not_run_the_app_gets_none() -> None:
    holders = cloud()
    holders.cluster.accept("vps-1", docs.app("plain", {"web": Service()}), docs.release("plain", {"web": "web-v1"}))
    holders.cluster["vps-2"].step(ev.LeasesWanted(app="plain", wanted={"x": 1}))
    holders.cluster["vps-2"].step(ev.LeasesWanted(app="nobody", wanted={"x": 1}))
    holders.run(3)
    for app in ("plain", "nobody"):
        assert not any(votes.granted for votes in _votes(holders.cluster, app))


def test_names_are_bounded_and_forgotten_ones_leave_their_numbers() -> None:
    holders = cloud()
    many = [f"n{n}" for n in range(NAMES_MAX + 5)]
    holders.want("vps-1", *many)
    holders.run(5)
    assert len({name for *_, name, _ in holders.taken}) == NAMES_MAX
    holders.want("vps-1")
    holders.run(2)
    holders.want("vps-1", "other")
    holders.run(5)
    (number,) = [number for *_, name, number in holders.taken if name == "other"]
    assert number == 2, "above all that were forgotten"
    assert all(len(votes.granted) <= NAMES_MAX for votes in _votes(holders.cluster, APP))


def test_a_flood_costs_no_more_facts_than_the_budget() -> None:
    holders = cloud()
    holders.run(20)
    holders.facts.clear()
    for _ in range(300):
        for node in (1, 2, 3):
            holders.want(f"vps-{node}", f"a{node}", f"b{node}", again=True)
        holders.run(0.1)
    for (*place, direct), told in holders.facts.items():
        assert direct or told < 80 + 30 * 5 + 30 / 1.5 + 2, (place, told)
    assert len(holders.taken) > 1000 and not holders.wrong


def test_what_voters_and_askers_are_told_alone_is_bounded_too_and_asks_of_a_moment_go_as_one() -> None:
    holders = cloud()
    holders.run(2)
    holders.facts.clear()
    names, seconds = {f"vps-{n}": [f"{name}{n}" for name in "abcd"] for n in (1, 2, 3)}, 4.0
    for node, of in names.items():
        holders.want(node, *of)
    for _ in range(round(seconds / 0.002)):
        holders.cluster.run(0.002)
        for node, of in names.items():
            if all(holders.of(name) for name in of):
                holders.want(node, *of, again=True)
    told = {kind: n for (path, kind, direct), n in holders.facts.items() if direct and path == "node/vps-1"}
    assert told["ask"] > 50 and told["votes"] <= 150 + seconds * 150 + 1
    assert len(holders.taken) > 3 * 2 * told["ask"], "of three hosts, several names in one"
    for _ in range(round(seconds / 0.002)):
        holders.want("vps-1", "a1", again=True)
        holders.cluster.run(0.002)
    assert 300 < holders.facts["node/vps-1", "ask", True] - told["ask"] <= 150 + seconds * 150 + 1
    assert not holders.wrong


def test_a_budget() -> None:
    budget = Budget(2, 5)
    for _ in range(2):
        assert budget.wait_s(10.0) == 0
        budget.take()
    assert budget.wait_s(10.0) == pytest.approx(0.2)
    assert budget.wait_s(10.2) == 0


def _votes(cluster: Cluster, app: str) -> list[Votes]:
    return [
        record.body
        for machine in cluster.machines.values()
        for record in machine.disk.values()
        if isinstance(body := getattr(record, "body", None), Votes)
        and getattr(record, "key", "") == app
        and body is not None
    ]
