"""A small cloud with a pool: two or three fixed hosts that keep it, and a modelled provider. Short times, the product's rules."""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.core.intent import Needs, Pool, Probe, Service
from skerry.core.node import NodeCore
from skerry.core.timing import Timing
from skerry.sim import documents as docs
from skerry.sim.cluster import Cluster, World
from skerry.sim.provider import Market, Provider
from skerry.sim.scenario import give_image

TIMING = Timing(
    up_every_s=5.0, silent_s=20.0, rent_look_s=2.0, wish_step_s=2.0, provider_limit_s=10.0, settle_s=30.0, list_again_s=3.0,
    sweep_s=10.0, provider_retry_first_s=3.0, provider_retry_most_s=30.0, return_slack_s=120.0,
)  # fmt: skip
POOL = Pool(
    provider="sim", max=3, network="10.78.0.0/16", size="small", spend_usd_month=20.0, creates_per_hour=60, join_s=40.0, down_s=30.0,
    drain_s=20.0, age_s=40.0, grace_s=60.0,
)  # fmt: skip
PROBE = Probe(kind="tcp", port=80, start_period_s=10.0)
REPLICA_BYTES = 600 << 20  # one on each fixed host, one on each machine


class Cloud:
    """`pool` and `deploy` are what operators sign; `keepers` of `hosts` fixed hosts keep the pool `burst`."""

    def __init__(self, seed: int = 0, *, hosts: int = 2, keepers: int = 2, market: Market | None = None) -> None:
        self.cluster = Cluster(seed, World(dial_s=1.0, reconcile_s=10.0), TIMING)
        self.hosts = [f"vps-{i}" for i in range(1, hosts + 1)]
        self.keepers = {f"node/{name}": f"{9000 + i:064x}" for i, name in enumerate(self.hosts[:keepers])}
        self.provider = Provider(self.cluster, market or Market())
        self.of = msgspec.structs.replace(POOL, keepers=self.keepers)
        self._versions: dict[str, int] = {}
        enrolments = [docs.node(name) for name in self.hosts]
        for name in self.hosts:
            machine = self.cluster.add(name)
            machine.disk = {document.id: document for document in enrolments}
            machine.boot()
        self.run(25.0)

    def run(self, seconds: float) -> None:
        self.cluster.run(seconds)

    def core(self, name: str) -> NodeCore:
        found = self.cluster[name].core
        assert found is not None
        return found

    def _version(self, path: str) -> int:
        self._versions[path] = self._versions.get(path, 0) + 1
        return self._versions[path]

    def _via(self) -> str:
        """A host that is up; "": none is, and operators try again later."""
        return next((name for name in self.hosts if self.cluster[name].on), "")

    def pool(self, **changed: Any) -> None:
        if not self._via():
            self.cluster.clock.after(5.0, lambda: self.pool(**changed))
            return
        self.of = msgspec.structs.replace(self.of, **changed)
        self.cluster.accept(self._via(), docs.document("pool/burst", self.of, self._version("pool")))

    def another_pool(self, name: str, **changed: Any) -> None:
        """Beside `burst`, of the same keepers."""
        of = msgspec.structs.replace(POOL, keepers=self.keepers, network="10.79.0.0/16", **changed)
        self.cluster.accept(self._via(), docs.document(f"pool/{name}", of, self._version(name)))

    def deploy(self, replicas: int, memory_bytes: int = REPLICA_BYTES, *, pools: tuple[str, ...] = ("burst",)) -> None:
        """App `shop` with so many replicas of `web`, opened to these pools."""
        via = self._via()
        if not via:
            self.cluster.clock.after(5.0, lambda: self.deploy(replicas, memory_bytes, pools=pools))
            return
        for name in self.hosts:
            give_image(self.cluster, name, "web")
        service = Service(replicas=replicas, probe=PROBE, needs=Needs(reserve_memory_bytes=memory_bytes))
        app = docs.app("shop", {"web": service}, version=self._version("app"), pools=pools)
        if app.version == 1:
            self.cluster.accept(via, docs.release("shop", {"web": "web"}))
        self.cluster.accept(via, app)
