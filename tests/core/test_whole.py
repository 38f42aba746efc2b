"""What only shows with the agent's own door, links, trust and gossip in simulated machines."""

from __future__ import annotations

import contextlib
import random

import pytest

from skerry.core.intent import Probe, Service, VolumeMount
from skerry.core.records import Document, Slot
from skerry.errors import TrustRefusal
from skerry.sim import documents as docs
from skerry.sim.checkers import EffectChecker, held_once
from skerry.sim.cluster import Cluster, World
from skerry.sim.scenario import give_image
from skerry.sim.whole import WholeMachine, whole_cluster_of

PROBE = Probe(kind="tcp", port=80, start_period_s=10.0)


class Worst(random.Random):
    """Of what a power cut may take it takes all."""

    def randint(self, a: int, b: int) -> int:
        return b


def machine(cluster: Cluster, name: str) -> WholeMachine:
    found = cluster[name]
    assert isinstance(found, WholeMachine)
    return found


def release(cluster: Cluster, version: int, before: Document | None, app: Document | None = None) -> Document:
    give_image(cluster, "vps-1", f"web-v{version}")
    document = docs.release(
        "shop", {"web": f"web-v{version}"}, version=version, fallback=before.hash if before is not None else ""
    )
    cluster.accept("vps-1", document, *([app] if app is not None else []))
    return document


def test_a_fallback_that_did_not_come_with_what_names_it_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = whole_cluster_of(2)
    first = release(cluster, 1, None, docs.app("shop", {"web": Service(probe=PROBE)}))
    cluster.run(5.0)
    cluster["vps-2"].power_cut()
    release(cluster, 3, release(cluster, 2, first))
    with monkeypatch.context() as lost:  # as if the link had broken just then
        lost.setattr(machine(cluster, "vps-1").door, "named", lambda hashes: [])
        cluster["vps-2"].boot()
        cluster.run(1.0)
    assert machine(cluster, "vps-2").door.lacking() != ()
    cluster.run(15.0)
    assert machine(cluster, "vps-2").door.lacking() == ()
    assert docs.image_of("web-v2") in cluster["vps-2"].images, "what may be turned back to is kept, too"


def test_that_a_slots_data_is_here_survives_a_power_cut_right_after_its_first_start() -> None:
    cluster = whole_cluster_of(2)
    # On the node that has to fetch its image first: its claim is on disk long before the first start.
    store = Service(probe=PROBE, volumes=(VolumeMount(volume="data", target="/data"),), constraints=("node==vps-2",))
    release(cluster, 1, None, docs.app("shop", {"web": store}, volumes={"data": False}))
    cluster.run(1.0)
    cluster.chance = Worst()
    cluster["vps-2"].power_cut()
    cluster["vps-2"].boot()
    cluster.run(0.01)
    again = machine(cluster, "vps-2").core
    assert again is not None
    assert [(row.node, row.pinned) for row in again.rows()] == [("vps-2", True)]


STORE = Slot("shop", "store", 0)


def with_store(seed: int) -> tuple[Cluster, str]:
    """Three hosts on a line of chance, three of web and one of store, all well; and the host that has the store's data."""
    chance = random.Random(seed)
    world = World(
        latency_s=chance.choice([0.001, 0.01, 0.05]), jitter_s=chance.choice([0.0, 0.02, 0.2]),
        loss=chance.choice([0.0, 0.02, 0.2]), start_s=chance.choice([0.05, 0.3]),
    )  # fmt: skip
    cluster = whole_cluster_of(3, seed, world)
    probe = chance.choice([None, PROBE])
    store = Service(probe=probe, volumes=(VolumeMount(volume="data", target="/data"),))
    for word in ("web-v1", "store-v1"):
        give_image(cluster, "vps-1", word)
    cluster.accept(
        "vps-1",
        docs.release("shop", {"web": "web-v1", "store": "store-v1"}),
        docs.app("shop", {"web": Service(replicas=3, probe=probe), "store": store}, volumes={"data": False}),
    )
    cluster.run(40.0)
    assert held_once(cluster) == []
    core = cluster["vps-1"].core
    assert core is not None
    return cluster, next(row.node for row in core.rows() if row.service == "store")


@pytest.mark.parametrize("seed", [21, 36, *range(8)])  # 21 and 36: the store was started empty elsewhere at once
def test_a_host_whose_records_are_lost_keeps_its_data_and_nobody_starts_it_empty(seed: int) -> None:
    """However long it was away, with its containers running or not, beside another that dies or a line that is cut."""
    cluster, home = with_store(seed)
    chance = random.Random(-seed)
    host, others = machine(cluster, home), [name for name in ("vps-1", "vps-2", "vps-3") if name != home]
    checker = EffectChecker(cluster)
    checker.homes[STORE] = (0.0, {host.path})
    host.power_cut() if chance.random() < 0.3 else host.end_agent()
    host.lose_records()
    if chance.random() < 0.3:
        cluster[chance.choice(others)].power_cut()
    if chance.random() < 0.3:
        cluster.wires.part({home}, set(others))
    cluster.run(chance.choice([0.05, 0.5, 2.0, 4.0, 6.0, 15.0, 50.0]))
    running = {container.id for container in host.containers.values() if container.slot == STORE}
    host.boot()
    cluster.run(chance.choice([0.0, 1.0, 4.0]))
    cluster.wires.heal()
    for name in others:
        if not cluster[name].on:
            cluster[name].boot()
    cluster.run(35.0)
    assert held_once(cluster) == [] and checker.wrong == []
    assert running <= set(host.containers), "adopted: it ran on all the while"
    cluster.run(60.0)  # longer than a start may take: nobody gives up on what was adopted
    assert held_once(cluster) == [] and running <= set(host.containers)
    assert all_hold_the_same(cluster)


def all_hold_the_same(cluster: Cluster) -> bool:
    """Of each fact the same state: what gossip believes to be held can't be older than what is."""
    heads = [
        {id: head for id, head in machine(cluster, name).trusted.fact_heads().items() if "|up|" not in id}
        for name in (path.removeprefix("node/") for path in cluster.machines)
    ]
    return all(its == heads[0] for its in heads)


def test_what_core_answers_at_once_is_newer_for_gossip_than_what_it_answers() -> None:
    """Our own fact of a former life comes back, and is said anew: neighbours must see that theirs is the older one."""
    cluster = whole_cluster_of(2)
    store = Service(volumes=(VolumeMount(volume="data", target="/data"),), constraints=("node==vps-2",))
    release(cluster, 1, None, docs.app("shop", {"web": store}, volumes={"data": False}))
    cluster.run(5.0)
    host, other = machine(cluster, "vps-2"), machine(cluster, "vps-1")
    host.end_agent()
    host.lose_records()
    host.new = False  # else its asking would show the difference by chance
    cluster.wires.part({"vps-2"}, {"vps-1"})
    host.boot()
    fact = "node/vps-2|slot|shop.web/0"
    for raw in (*other.door.bytes_of([fact]), *other.door.newer_than({})):
        with contextlib.suppress(TrustRefusal):  # members are there
            host.door.offer(raw)
    assert host.trusted.fact_heads()[fact][0] == 2, "said anew at once"
    cluster.wires.heal()
    cluster.run(15.0)
    assert all_hold_the_same(cluster)
