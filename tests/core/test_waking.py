"""What wakes a service that may be at zero, how far, and who is ready for it."""

from __future__ import annotations

import pytest

from skerry.core import events as ev
from skerry.core.intent import Port, Probe, Scale, Schedule, Service
from skerry.core.records import Slot
from skerry.core.waking import WARM, may_sleep
from skerry.sim import documents as docs
from skerry.sim.cluster import Cluster
from skerry.sim.scenario import cluster_of, give_image

SLEEPER = Service(
    replicas=1,
    probe=Probe(kind="tcp", port=80),
    ports=(Port(target=80, published=8000), Port(target=53, published=53, protocol="udp")),
    scale=Scale(min=0, max=3, step_s=2.0, idle_s=6.0),
)


def asleep(nodes: int, zones: tuple[str, ...] = ("",)) -> Cluster:
    cluster = cluster_of(nodes, zones=zones)
    give_image(cluster, "vps-1", "web-v1")
    release = docs.release("shop", {"web": "web-v1"}, version=1)
    cluster.accept("vps-1", release, docs.app("shop", {"web": SLEEPER}, version=1))
    cluster.run(16)
    assert running(cluster) == 0
    return cluster


def running(cluster: Cluster) -> int:
    return sum(len(machine.containers) for machine in cluster.machines.values())


def test_which_services_may_sleep() -> None:
    always, never = Scale(min=0, max=1), Scale(min=1, max=1)
    night = Scale(min=1, max=1, schedules=(Schedule(days=(5, 6), from_minute=0, to_minute=60, min=0),))
    assert [may_sleep(Service(scale=scale)) for scale in (None, always, never, night)] == [False, True, False, True]


def test_knocks_on_every_node_wake_one_replica_and_no_more() -> None:
    """A captured node may say that somebody waits, for ever: more than one it doesn't get, and more than may be neither."""
    cluster = asleep(4)
    for path in cluster.machines:
        cluster[path.removeprefix("node/")].step(ev.Knocked("shop", "web", 1000))
    cluster.run(30)
    assert running(cluster) == 1


def test_a_knock_at_what_is_not_there_changes_nothing() -> None:
    cluster = asleep(2)
    for app, service in (("shop", "nothing"), ("nothing", "web")):
        cluster["vps-1"].step(ev.Knocked(app, service, 1))
    cluster.run(5)
    assert running(cluster) == 0


def test_the_first_of_the_order_have_its_image_at_hand() -> None:
    """Of many hosts few keep an image, and those who would start it first need not be among them."""
    cluster = asleep(10, ("a", "b", "c"))
    core = cluster["vps-1"].core
    assert core is not None
    order = core._s.order(Slot("shop", "web", 0))
    keepers = core._s.keepers("shop", "web")
    holders = {path for path, machine in cluster.machines.items() if machine.images}
    assert {*keepers, *order[:WARM]} <= holders
    assert not {*order[:WARM]} <= {*keepers}, "else this shows nothing: choose another number of nodes"


def test_routes_say_who_is_held_and_where_it_is_once_it_is_up() -> None:
    cluster = asleep(3)
    (dormant,) = told(cluster)
    assert (dormant.name, [port.published for port in dormant.ports]) == ("shop.web", [8000]), "datagrams aren't held"
    assert dormant.names == ("web.shop.internal",) and not dormant.targets and not dormant.rising
    cluster["vps-3"].step(ev.Knocked("shop", "web", 1))
    cluster.run(1)
    (dormant,) = told(cluster)
    (state,) = [c.address for machine in cluster.machines.values() for c in machine.containers.values()]
    assert dormant.targets == (state,)


def told(cluster: Cluster) -> tuple[object, ...]:
    route = cluster["vps-3"].route
    assert route is not None
    return route.dormant


@pytest.mark.parametrize("seconds", [0.5, 3.0])
def test_one_without_a_probe_is_there_as_soon_as_it_runs(seconds: float) -> None:
    cluster = cluster_of(3)
    give_image(cluster, "vps-1", "web-v1")
    service = Service(ports=SLEEPER.ports, scale=SLEEPER.scale)
    release = docs.release("shop", {"web": "web-v1"}, version=1)
    cluster.accept("vps-1", release, docs.app("shop", {"web": service}, version=1))
    cluster.run(16)
    cluster["vps-3"].step(ev.Knocked("shop", "web", 1))
    cluster.run(seconds)
    (dormant,) = told(cluster)
    assert (bool(dormant.rising), bool(dormant.targets)) == ((True, False) if seconds < 1 else (False, True))
