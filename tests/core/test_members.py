"""Which addresses are whose, and who may reach them: what hosts keep apps apart by."""

from __future__ import annotations

import msgspec

from skerry.core.effects import Members
from skerry.core.facts import SlotState
from skerry.core.intent import Port, Secret, Service
from skerry.core.lodging import Lodging
from skerry.core.routes import Routes
from skerry.core.situation import Situation
from skerry.core.versions import spec_of
from skerry.sim import documents as docs
from skerry.sim.cluster import Cluster
from skerry.sim.scenario import cluster_of, give_image

WEB = Service(
    replicas=2,
    ports=(Port(target=80, published=8000),),
    aliases=("front",),
    callers=("report", "audit.job"),
    agents=True,
)


def cloud() -> Cluster:
    cluster = cluster_of(3)
    give_image(cluster, "vps-1", "web-v1")
    cluster.accept(
        "vps-1", docs.release("shop", {"web": "web-v1"}, version=1), docs.app("shop", {"web": WEB}, version=1)
    )
    cluster.run(12)
    return cluster


def told(cluster: Cluster, node: str) -> list[Members]:
    route = cluster[node].route
    assert route is not None
    return list(route.members)


def running(cluster: Cluster) -> list[str]:
    return sorted(c.address for machine in cluster.machines.values() for c in machine.containers.values() if c.running)


def test_every_node_knows_whose_the_addresses_are() -> None:
    cluster = cloud()
    addresses = running(cluster)
    assert len(addresses) == 2
    for node in ("vps-1", "vps-2", "vps-3"):
        (web,) = told(cluster, node)
        assert sorted(web.addresses) == addresses
        assert (web.name, web.callers, web.agents) == ("shop.web", ("report", "audit.job"), True)
        assert web.names == ("web.shop.internal", "front.shop.internal")


def test_one_that_is_not_well_yet_belongs_to_its_app_all_the_same() -> None:
    lodging = Lodging()
    body = SlotState(spec="0" * 16, image="", state="running", address="10.77.2.9", healthy=False)
    lodging.heard("node/a", "shop.web/0", body)
    lodging.heard("node/b", "shop.web/0", msgspec.structs.replace(body, address="10.77.3.9"))
    lodging.heard("node/b", "no slot", body)
    assert lodging.addresses(("shop", "web")) == {"10.77.2.9": "node/a", "10.77.3.9": "node/b"}
    lodging.heard("node/a", "shop.web/0", None)
    lodging.heard("node/b", "shop.web/0", msgspec.structs.replace(body, address="", state="stopping"))
    assert lodging.apps() == set()


def test_who_may_reach_it_changes_without_a_restart() -> None:
    cluster = cloud()
    before = running(cluster)
    closed = msgspec.structs.replace(WEB, callers=(), agents=False)
    assert spec_of(closed, "web-v1") == spec_of(WEB, "web-v1")
    cluster.accept("vps-1", docs.app("shop", {"web": closed}, version=2))
    cluster.run(5)
    assert running(cluster) == before
    assert [(of.callers, of.agents) for of in told(cluster, "vps-3")] == [((), False)]


def test_a_node_without_the_apps_key_lends_it_no_address() -> None:
    """A captured host may say what it likes of its own addresses, but not that they are an app's that it can't run."""
    cluster = cloud()
    core = cluster["vps-1"].core
    assert core is not None
    s = core._s
    state = SlotState(spec="0" * 16, image="", state="running", address="10.77.3.99")
    s.known.put("node/vps-3", "slot", "shop.web/7", state)
    assert "10.77.3.99" in _addresses(s)
    boxes = {"node/vps-1": "box", "node/vps-2": "box"}
    cluster.accept("vps-1", docs.document("secret/shop", Secret(key_id="k", boxes=boxes), version=1))
    cluster.run(1)
    s.known.put("node/vps-3", "slot", "shop.web/7", state)
    assert "10.77.3.99" not in _addresses(s)


def _addresses(s: Situation) -> tuple[str, ...]:
    s.routes_due.add("shop")
    route = Routes().review(s)
    assert route is not None
    (web,) = route.members
    return web.addresses
