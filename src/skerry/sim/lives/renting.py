"""A life's pool: keepers rent by load at a provider that fails in all its ways; its machines are whole hosts that trust lets in."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import msgspec

from skerry.core import effects as do
from skerry.core.intent import Node, Pool
from skerry.core.records import MachineSlot
from skerry.core.renting import dealings as deal
from skerry.core.timing import Timing
from skerry.errors import TrustRefusal
from skerry.sim.lives.host import Host
from skerry.sim.machine import CLOCK_AT_ZERO, Machine
from skerry.sim.provider import TROUBLES, Droplet, Market, Provider, Trouble
from skerry.sim.rented import POOL
from skerry.sim.signing import DAY_S, keys_of
from skerry.sim.watched import Watch
from skerry.trust import envelope, joining
from skerry.trust.documents import sign_document
from skerry.trust.identity import Signer

if TYPE_CHECKING:
    from skerry.sim.lives.life import Life

NAME = "burst"
CEILING_USD = 20.0
TIMING = Timing(
    rent_look_s=2.0, wish_step_s=2.0, provider_limit_s=10.0, settle_s=30.0, list_again_s=3.0, sweep_s=10.0,
    provider_retry_first_s=3.0, provider_retry_most_s=30.0, return_slack_s=120.0,
)  # fmt: skip


class Rented:
    """What sim/watched.py looks at, of a life. `hosts`: names of fixed hosts; `keepers`: path -> keeper key."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.cluster = life.cluster
        self.hosts = [f"vps-{n}" for n in range(1, life.plan.nodes + 1)]
        self.keepers = {f"node/{name}": keeper_of(f"node/{name}").key for name in self.hosts[: life.plan.keepers]}
        self.of: Pool = msgspec.structs.replace(
            POOL, keepers=self.keepers, provider="digitalocean", network="10.78.0.0/16"
        )
        chance, self.quiet = random.Random(f"provider {life.plan.seed}"), False

        def trouble(number: int, act: str) -> Trouble:
            goes_wrong = chance.random() < life.plan.trouble
            what = chance.choice(TROUBLES)
            return what if goes_wrong and not self.quiet and self.provider.asking not in life.captured else ""

        self.provider: Provider = LiveProvider(self, Market())
        self.provider.trouble = trouble
        self.watch = Watch(self, CEILING_USD)
        self.watch.parted()  # until there is peace nobody promises a machine within minutes

    def sign(self, via: Host, laptop: int, **changed: int) -> bool:
        """An operator says what the pool is to be."""
        self.of = msgspec.structs.replace(self.of, **changed)
        return self.life.acts.sign(via, laptop, f"pool/{NAME}", self.of)

    def peace(self) -> None:
        self.quiet = True
        self.provider.cut.clear()
        self.watch.healed()

    def wrong(self) -> list[str]:
        if any(path in self.life.captured for path in self.keepers):
            return []  # stated exception: a captured keeper's pool (design section 7, sentence 3)
        return [*self.watch.wrong, *self.provider.wrong]

    def left(self) -> list[str]:
        """After quiet with a most of 0: nothing of ours is left, nowhere."""
        living = {host.path for host in self.life.honest()}
        captured = any(path in self.life.captured for path in self.keepers)
        return self.watch.at_the_end() if not captured and living & set(self.keepers) else []


def keeper_of(path: str) -> Signer:
    return keys_of(f"keeper of {path}").signer


class LiveProvider(Provider):
    """Its machines are let in as agent/renting does it: enrolments under the keeper's key, judged by its own door and all others'."""

    def __init__(self, rented: Rented, market: Market) -> None:
        super().__init__(rented.cluster, market)
        self._rented_by = rented

    def _sign(self, keeper: Host, path: str, node: Node) -> bool:
        held, now_s = keeper.trusted.document(path), CLOCK_AT_ZERO + self.now_s
        raw = sign_document(
            keeper_of(keeper.path), keeper.trusted.cloud, path, node, version=held.version + 1 if held is not None else 1,
            prev=held.hash if held is not None else "", issued=max(now_s, held.issued + 0.001 if held is not None else 0.0),
            expires=0.0 if node.state == "expelled" else now_s + 90 * DAY_S,
        )  # fmt: skip
        self._rented_by.life.office.signed.add(envelope.parse(raw).hash)
        try:
            keeper.door.offer(raw)
        except TrustRefusal:
            return False
        return True

    def _let_in(self, keeper: Machine, droplet: Droplet, slot: MachineSlot, signer: str) -> None:
        assert isinstance(keeper, Host)
        of, before = self._pool(keeper, slot.pool), keeper.trusted.nodes.get(slot.path)
        keys = keys_of(f"{slot.path} {droplet.id}")
        was = before.body if before is not None and isinstance(before.body, Node) else None
        assert of is not None
        public = joining.Keys(keys.signer.key, keys.sealing, keys.wireguard, keys.certificate)
        body = joining.node_of(
            keeper.trusted.cloud, slot, of, public, address=droplet.address, region="", boxes={}, was=was,
            floor={path: head[1] for path, head in keeper.trusted.heads().items() if path in ("root", "policy")},
        )  # fmt: skip
        if not self._sign(keeper, slot.path, body):
            return
        droplet.joined = True
        old = self.cluster.machines.get(slot.path)
        if old is not None and old.on:
            old.power_cut()  # its key is no longer the enrolled one: nobody hears it
        node = self._rented_by.life.acts.add(str(slot), keeper, signer=keys.signer, boots=10 * len(self.droplets))
        node.cpus, node.memory_bytes = 1.0, 800 << 20
        node.number, node.network = slot.index, ".".join(of.network.split(".")[:2])
        droplet.node = node
        node.boot()

    def _enrol(self, keeper: Machine, effect: deal.Enrol) -> None:
        assert isinstance(keeper, Host)
        self._sign(keeper, effect.path, effect.body)


def may_go_on(effect: do.Effect) -> bool:
    """Keepers look at the provider now and again."""
    return isinstance(effect, deal.ListMachines | deal.ListKinds)
