"""What only shows with the agent's own door, links, trust and gossip in simulated machines."""

from __future__ import annotations

import random

import pytest

from skerry.core.intent import Probe, Service, VolumeMount
from skerry.core.records import Document
from skerry.sim import documents as docs
from skerry.sim.cluster import Cluster
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
