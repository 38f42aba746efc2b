"""Where a slot's data is: a captured node that says "it is here", for long, and serves something, gets nothing by it."""

from __future__ import annotations

import pytest

from skerry.core.alerting import looking
from skerry.core.alerting.looking import of_cloud
from skerry.core.alerting.rules import RULES
from skerry.core.intent import Probe, Service, VolumeMount
from skerry.core.records import Slot
from skerry.sim import documents as docs
from skerry.sim.captured import Captured
from skerry.sim.cluster import World
from skerry.sim.scenario import cluster_of, give_image
from skerry.sim.whole import WholeMachine, whole_cluster_of

KEEP = Service(
    probe=Probe(kind="tcp", port=80, start_period_s=5.0), volumes=(VolumeMount(volume="data", target="/data"),)
)
SLOT = Slot("shop", "keep", 0)


class Kept:
    """A cloud with one slot of data; `home` and another that will lie about it."""

    def __init__(self, nodes: int = 4, *, liar_before: bool = False, home_rank: int = 0) -> None:
        """`home_rank`: those before it are off when the slot is first claimed, and back soon after."""
        self.cluster = whole_cluster_of(nodes, 0, World(fetch_s=3.0))
        order = self._order()
        self.liar = ""
        if liar_before:
            self.take(order[-1])
        for path in order[:home_rank]:
            self.cluster.machines[path].power_cut()
        self.cluster.run(10.0 if home_rank else 0.0)
        give_image(self.cluster, "vps-1", "keep")
        self.cluster.accept(
            "vps-1", docs.release("shop", {"keep": "keep"}), docs.app("shop", {"keep": KEEP}, volumes={"data": False})
        )
        self.cluster.run(20.0)
        for path in order[:home_rank]:
            self.cluster.machines[path].boot()
        self.cluster.run(30.0 if home_rank else 0.0)
        self.home = f"node/{self.seen()['vps-1']}"
        if not liar_before:
            self.take(next(path for path in order if path != self.home))

    def _order(self) -> list[str]:
        from skerry.core.order import order_for

        core = self.cluster["vps-1"].core
        assert core is not None
        return list(order_for("shop.keep", 0, core._s.known.nodes))

    def take(self, path: str) -> None:
        machine = self.cluster.machines[path]
        assert isinstance(machine, WholeMachine)
        self.liar = path
        Captured(machine, ("serves_data",))

    def seen(self) -> dict[str, str]:
        """Who holds the slot, as each honest node that is on sees it; "" for nobody."""
        found = {}
        for path, machine in self.cluster.machines.items():
            if machine.on and machine.core is not None and path != self.liar:
                row = next(row for row in machine.core.rows() if row.slot == str(SLOT))
                found[path.removeprefix("node/")] = row.node if row.healthy else ""
        return found

    def container(self) -> str:
        return next(c.id for c in self.cluster.machines[self.home].containers.values() if c.slot == SLOT and c.running)


def everywhere(kept: Kept, node: str) -> bool:
    return set(kept.seen().values()) == {node.removeprefix("node/")}


@pytest.mark.parametrize("nodes", [2, 3, 5])
def test_the_word_of_another_moves_no_data_however_long_it_says_so(nodes: int) -> None:
    kept = Kept(nodes)
    kept.cluster.run(120.0)
    if nodes == 2 and kept.home == "node/vps-2":
        assert kept.cluster.machines[kept.home].containers
    assert everywhere(kept, kept.home)


@pytest.mark.parametrize("nodes", [2, 4])
def test_nor_when_the_container_at_home_is_killed(nodes: int) -> None:
    kept = Kept(nodes)
    kept.cluster.run(30.0)
    for _ in range(3):
        kept.cluster.machines[kept.home].kill(kept.container(), 137)
        kept.cluster.run(20.0)
        assert everywhere(kept, kept.home)


def test_nor_when_it_is_ill() -> None:
    kept = Kept()
    kept.cluster.run(30.0)
    home = kept.cluster.machines[kept.home]
    home.containers[kept.container()].answers_s = 1e9
    for _ in range(20):
        kept.cluster.run(3.0)
        assert kept.liar.removeprefix("node/") not in kept.seen().values()
    assert everywhere(kept, kept.home), "it was started anew, at home"


def test_nor_when_the_home_is_down_and_every_other_honest_node_starts_anew() -> None:
    kept = Kept()
    kept.cluster.run(30.0)
    kept.cluster.machines[kept.home].power_cut()
    kept.cluster.run(60.0)
    assert everywhere(kept, "")
    for path, machine in kept.cluster.machines.items():
        if path not in (kept.home, kept.liar):
            machine.power_cut()
            kept.cluster.run(1.0)
            machine.boot()
    kept.cluster.run(60.0)
    assert everywhere(kept, ""), "it waits for its data"
    kept.cluster.machines[kept.home].boot()
    kept.cluster.run(60.0)
    assert everywhere(kept, kept.home)


def told(kept: Kept, by: str) -> str:
    """What the alert about the service says there."""
    core = kept.cluster[by].core
    assert core is not None
    return of_cloud(core._s, RULES)["no-replica", "shop.keep"].why


def test_who_waits_for_data_is_told_of_with_what_gives_it_up_and_whether_only_its_host_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(looking, "NEW_S", 5.0)  # so long whoever has deployed an app is thought to look at it
    kept = Kept()
    kept.cluster.machines[kept.home].power_cut()
    kept.cluster.run(15.0)
    name, by = kept.home.removeprefix("node/"), next(n for n in kept.seen() if n != kept.home.removeprefix("node/"))
    assert told(kept, by).endswith(
        f"its data is on {name}, which is down; if that host is lost or captured: skerry host expel {name}, "
        "and it begins empty elsewhere"
    )
    core = kept.cluster[by].core
    assert core is not None
    for words in core._s.known.facts["home"].values():
        words.clear()
    assert "nobody else says that it is there; if that host is lost" in told(kept, by)


def test_a_node_that_lost_its_disk_hears_from_the_others_where_the_data_is() -> None:
    kept = Kept(5, home_rank=1)  # the liar has the better rank
    kept.cluster.run(30.0)
    late = next(path for path in kept.cluster.machines if path not in (kept.home, kept.liar, "node/vps-1"))
    kept.cluster.machines[kept.home].power_cut()
    kept.cluster.run(10.0)
    machine = kept.cluster.machines[late]
    assert isinstance(machine, WholeMachine)
    machine.power_cut()
    machine.disk = {key: record for key, record in machine.disk.items() if not key.partition("|")[2]}
    machine.boot()
    kept.cluster.run(60.0)
    assert everywhere(kept, "")


def test_who_takes_a_slot_of_data_before_its_turn_does_not_keep_it() -> None:
    kept = Kept(liar_before=True)
    kept.cluster.run(60.0)
    assert kept.home != kept.liar and everywhere(kept, kept.home)


def test_a_home_of_a_worse_rank_keeps_its_slot_from_a_liar_of_a_better_one_over_a_reboot_of_all() -> None:
    kept = Kept(4, home_rank=1)
    kept.cluster.run(30.0)
    honest = [machine for path, machine in kept.cluster.machines.items() if path != kept.liar]
    for machine in honest:
        machine.power_cut()
    kept.cluster.run(1.0)
    for machine in honest:
        machine.boot()
    kept.cluster.run(90.0)
    assert everywhere(kept, kept.home)


@pytest.mark.parametrize("disposable", [True, False])
def test_a_slot_of_a_lost_host_begins_empty_elsewhere_if_its_volume_is_disposable_and_waits_if_it_is_not(
    disposable: bool,
) -> None:
    cluster = cluster_of(4)
    give_image(cluster, "vps-1", "keep")
    app = docs.app("shop", {"keep": KEEP}, volumes={"data": disposable})
    cluster.accept("vps-1", docs.release("shop", {"keep": "keep"}), app)
    cluster.run(20.0)
    (home,) = (m for m in cluster.machines.values() if any(c.slot == SLOT for c in m.containers.values()))
    home.power_cut()
    cluster.run(60.0)
    others = [m for m in cluster.machines.values() if m is not home]
    elsewhere = [c for m in others for c in m.containers.values() if c.slot == SLOT and c.running]
    assert len(elsewhere) == (1 if disposable else 0)
