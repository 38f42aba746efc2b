"""What a voter has granted is on its disk before anybody hears of it, and what is there it may renew right after a start."""

from __future__ import annotations

import random

from skerry.core import effects as do
from skerry.core.facts import Grant, Votes
from skerry.core.intent import Probe, Service
from skerry.core.records import Record, Slot
from skerry.sim import documents as docs
from skerry.sim.cluster import Cluster
from skerry.sim.exclusive import OneHolder
from skerry.sim.machine import Machine
from skerry.sim.scenario import cluster_of, give_image
from skerry.sim.whole import WholeMachine, whole_cluster_of

NAMES = ("vps-1", "vps-2", "vps-3")
ONE = Slot("shop", "db", 0)
SERVICE = Service(exclusive=True, probe=Probe(kind="tcp", port=80, start_period_s=10.0))


class Worst(random.Random):
    """Of what a power cut may take it takes all."""

    def randint(self, a: int, b: int) -> int:
        return b


def deploy(cluster: Cluster) -> OneHolder:
    one = OneHolder(cluster)
    for name in NAMES:
        give_image(cluster, name, "db-v1")
    cluster.accept(
        "vps-1", docs.policy(*NAMES), docs.release("shop", {"db": "db-v1"}), docs.app("shop", {"db": SERVICE})
    )
    return one


def own_grants(machine: Machine) -> dict[str, Grant]:
    core = machine.core
    assert core is not None
    told = {key: core._s.known.of(machine.path, "grant", key, Grant) for key in core._s.known.facts.get("grant", {})}
    return {key: grant for key, grant in told.items() if grant is not None}


def whole(name: str, cluster: Cluster) -> WholeMachine:
    found = cluster[name]
    assert isinstance(found, WholeMachine)
    return found


def test_a_grant_that_anybody_has_heard_of_survives_a_power_cut_that_takes_all_that_was_not_synced() -> None:
    cluster = whole_cluster_of(3)
    heard: dict[str, Grant] = {}

    def see(machine: Machine, effect: do.Effect) -> None:
        for voter, grant in machine.core._s.known.about("grant", str(ONE)).items() if machine.core is not None else ():
            assert isinstance(grant, Grant)
            heard[voter] = max(grant, heard.get(voter, grant), key=lambda each: each.number)

    cluster.watchers.append(see)
    deploy(cluster)
    for _ in range(3000):
        cluster.run(0.005)
        if heard:
            break
    cluster.run(0.005)
    assert heard
    cluster.chance = Worst()
    for name in NAMES:
        cluster[name].power_cut()
    for name in NAMES:
        cluster[name].boot()
    for voter, grant in heard.items():
        kept = own_grants(cluster.machines[voter]).get(str(ONE))
        assert kept == grant, f"{voter} had granted {grant}"


def test_a_voter_whose_disk_is_full_grants_nothing_and_says_so() -> None:
    cluster = whole_cluster_of(3)
    said: list[tuple[str, str, str]] = []

    def see(machine: Machine, effect: do.Effect) -> None:
        if isinstance(effect, do.Note) and effect.kind == "not-granted":
            said.append((machine.path, effect.subject, effect.reason))

    cluster.watchers.append(see)
    for name in ("vps-2", "vps-3"):
        whole(name, cluster).records.full = True
    one = deploy(cluster)
    cluster.run(30.0)
    assert not one.running(ONE) and not one.starts
    assert {path for path, *_ in said} == {"node/vps-2", "node/vps-3"}
    assert len(said) == 2, "told once a minute"
    assert said[0][1:] == (str(ONE), "this voter grants nothing that it can't keep: the disk is full")
    assert not any(voter != "node/vps-1" for voter in told_grants(cluster))
    whole("vps-2", cluster).records.full = False
    cluster.run(8.0)
    assert len(one.running(ONE)) == 1 and one.wrong == []


def told_grants(cluster: Cluster) -> dict[str, object]:
    core = cluster["vps-1"].core
    assert core is not None
    return dict(core._s.known.about("grant", str(ONE)))


def held(cluster: Cluster) -> OneHolder:
    one = deploy(cluster)
    cluster.run(20.0)
    assert len(one.running(ONE)) == 1
    return one


def voters_that_start_anew(cluster: Cluster, one: OneHolder) -> list[Machine]:
    """Those that don't hold it themselves, both at once and as by a power cut."""
    ((machine, _),) = one.running(ONE)
    others = [other for other in cluster.machines.values() if other is not machine]
    for other in others:
        other.power_cut()
    cluster.run(1.0)
    return others


def test_voters_that_start_anew_at_once_renew_whom_their_disks_say_that_they_granted_it() -> None:
    cluster = cluster_of(3)
    one = held(cluster)
    ((machine, before),) = one.running(ONE)
    for other in voters_that_start_anew(cluster, one):
        other.boot()
    cluster.run(30.0)
    ((same, after),) = one.running(ONE)
    assert (same, after.id, after.fencing) == (machine, before.id, before.fencing) and one.wrong == []


def test_voters_whose_disks_have_lost_it_renew_nobody_for_the_length_of_a_lease() -> None:
    """Neighbours give it back, but perhaps not the newest."""
    cluster = cluster_of(3)
    one = held(cluster)
    ((_, before),) = one.running(ONE)
    for other in voters_that_start_anew(cluster, one):
        other.disk = {id: record for id, record in other.disk.items() if not _is_grant(record)}
        other.boot()
    cluster.run(7.0)
    assert before.id not in {container.id for _, container in one.running(ONE)}
    cluster.run(30.0)
    assert len(one.running(ONE)) == 1 and one.wrong == []


def _is_grant(record: Record) -> bool:
    return isinstance(record.body, Grant | Votes)
