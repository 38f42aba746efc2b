"""A modelled provider of machines, as unfriendly as real ones are: names are not unique, tags come late, lists lag behind, a promise
is no machine, an answer may be lost after the act, and a call may hang.

It listens to what keepers' cores ask for and answers in virtual time. `trouble` says what goes wrong with which call. Its
machines are nodes of the cluster once they have booted, found a keeper and were enrolled.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from typing import Literal

import msgspec

from skerry.core import effects as do
from skerry.core.events import Event
from skerry.core.facts import Machine as MachineFact
from skerry.core.intent import Node, Pool
from skerry.core.records import Document, MachineSlot
from skerry.core.renting import dealings as deal
from skerry.sim import documents as docs
from skerry.sim.cluster import Cluster
from skerry.sim.machine import CLOCK_AT_ZERO, Machine

Trouble = Literal[
    "", "error", "lost", "hang", "late", "quota", "denied", "rate", "no-capacity", "bad-size", "vanish", "never-joins", "foreign",
    "twice", "kill-before", "kill-after",
]  # fmt: skip
"""error: 5xx, nothing done. lost: done, no answer. hang: nothing done, no answer. late: no answer, and done much later.
vanish: promised, and gone before it runs. foreign: another's machine of that name is there meanwhile. twice: done twice.
kill-before, kill-after: the asking keeper's power is cut before, or right after it was done.
"""
TROUBLES: tuple[Trouble, ...] = (
    "error", "lost", "hang", "late", "quota", "denied", "rate", "no-capacity", "bad-size", "vanish", "never-joins", "foreign",
    "twice", "kill-before", "kill-after",
)  # fmt: skip
SILENT = ("error", "hang", "lost", "late", "quota", "denied", "rate", "kill-before", "kill-after")
"""What was asked is not answered."""


class Market(msgspec.Struct):
    """How slow it is; seconds."""

    answer_s: float = 0.5
    limit_s: float = 10.0  # a call that hangs is given up after this by the keeper's child process
    boot_s: float = 8.0
    list_lag_s: float = 3.0  # before a machine is in lists, and for so long it stays after its end
    tag_lag_s: float = 5.0
    late_s: float = 15.0
    price_usd_hour: float = 0.36


class Droplet(msgspec.Struct):
    id: str
    name: str
    slot: str
    ours: bool
    created_s: float
    token: str = ""
    address: str = ""
    by: str = ""  # keeper
    gone_s: float | None = None
    joined: bool = False
    node: Machine | None = None
    offer: str = ""
    price_usd_hour: float = 0.0


class Call(msgspec.Struct):
    at_s: float
    keeper: str
    act: str
    subject: str
    trouble: Trouble
    reason: str


class Provider:
    """`trouble(call number, act)` says what goes wrong with it. `cut`: keepers that don't reach it.

    It plays all providers of all pools: `prices` ("pool/offer" -> USD/hour) where they differ, `down` (offers that give no answer)
    and `sold_out` (offers that refuse creates) where several are asked.
    """

    def __init__(
        self, cluster: Cluster, market: Market, trouble: Callable[[int, str], Trouble] = lambda n, act: ""
    ) -> None:
        self.cluster, self.market, self.trouble = cluster, market, trouble
        self.droplets: dict[str, Droplet] = {}
        self.calls: list[Call] = []
        self.wrong: list[str] = []
        self.cut: set[str] = set()
        self.answers: dict[str, bool] = {}  # keeper -> whether its newest call is answered
        self.killed: deque[tuple[str, float]] = deque()
        self.revive_after_s: float | None = 40.0
        self.asking = ""  # who made the newest call
        self.clock_off_s = 0.0  # of its `created_at`
        self.prices: dict[str, float] = {}
        self.down: set[str] = set()
        self.sold_out: set[str] = set()
        self._used: set[str] = set()
        self._ids = self._tokens = 0
        cluster.watchers.append(self._see)

    @property
    def now_s(self) -> float:
        return self.cluster.clock.now_s

    def living(self) -> list[Droplet]:
        return [droplet for droplet in self.droplets.values() if droplet.gone_s is None]

    # --- calls --------------------------------------------------------------------------------------------------------

    def _see(self, machine: Machine, effect: do.Effect) -> None:
        if isinstance(effect, deal.ListMachines):
            self._call(machine, "list", effect.pool, effect.slot, effect.reason, lambda: self._list(machine, effect))
        elif isinstance(effect, deal.ListKinds):
            self._call(machine, "kinds", effect.pool, "", effect.reason, lambda: self._kinds(machine, effect))
        elif isinstance(effect, deal.CreateMachine):
            self._tokens += 1
            token = hashlib.sha256(f"token {self._tokens}".encode()).hexdigest()
            # The hash is told first: on disk before anybody is asked, as agent/renting/keeper.py does.
            self.cluster.clock.after(0.0, lambda: self._begin(machine, effect, token))
        elif isinstance(effect, deal.DestroyMachine):
            self._call(machine, "destroy", effect.pool, effect.id, effect.reason, lambda: self._destroy(effect))
        elif isinstance(effect, deal.Enrol):
            machine.soon(0.0, lambda: self._enrol(machine, effect))

    def _begin(self, machine: Machine, effect: deal.CreateMachine, token: str) -> None:
        if not machine.on:
            return
        machine.step(deal.CreateBegun(slot=effect.slot, token=token))
        if machine.on:
            slot = str(effect.slot)
            self._call(
                machine,
                "create",
                effect.slot.pool,
                slot,
                effect.reason,
                lambda: self._create(machine, effect, token),
                offer=effect.offer,
            )

    def _call(
        self, keeper: Machine, act: str, pool: str, subject: str, reason: str, done: Callable[[], Event | None],
        offer: str = "",
    ) -> None:  # fmt: skip
        self.asking = keeper.path
        trouble = self.trouble(len(self.calls), act) or self._whole(keeper, act, pool, subject, offer)
        self.calls.append(Call(self.now_s, keeper.path, act, subject, trouble, reason))
        self.answers[keeper.path] = trouble not in SILENT
        market = self.market

        def fail(
            code: str, acted: str = "unknown", *, whole: bool = False, after_s: float = 0.0
        ) -> deal.ProviderFailed:
            return deal.ProviderFailed(
                pool=pool, act=act, subject=subject, code=code, why=f"the provider says {code}", acted=acted,  # type: ignore[arg-type]
                whole=whole, after_s=after_s, offer=offer,
            )  # fmt: skip

        def tell(event: Event | None, after_s: float = market.answer_s) -> None:
            if event is not None:
                keeper.tell(after_s, event)

        def late() -> None:
            done()

        if trouble == "kill-before":
            self._kill(keeper)
        elif trouble == "error":
            tell(fail("provider-silent"))
        elif trouble == "hang":
            tell(fail("provider-silent"), market.limit_s)
        elif trouble in ("quota", "denied", "rate"):
            tell(fail(f"provider-{trouble}", "no", whole=True, after_s=5.0 if trouble == "rate" else 0.0))
        elif trouble in ("no-capacity", "bad-size") and act == "create":
            tell(fail(trouble, "no"))
        elif trouble == "late":
            self.cluster.clock.after(market.late_s, late)
            tell(fail("provider-silent"), market.limit_s)
        elif trouble == "lost":
            done()
            tell(fail("provider-silent"), market.limit_s)
        elif trouble == "kill-after":
            done()
            self._kill(keeper)
        else:
            if trouble == "foreign":
                self._foreign(subject)
            if trouble == "twice" and act == "create":
                done()
            event = done()
            if act == "create" and isinstance(event, deal.MachineCreated):
                self._spoil(self.droplets[event.machine.id], trouble)
            tell(event or fail("machine-not-ours", "no"))

    def _whole(self, keeper: Machine, act: str, pool: str, subject: str, offer: str) -> Trouble:
        """What goes wrong because all of an offer is in trouble."""
        of = self._pool(keeper, pool)
        at = {"create": offer, "destroy": of.offer_of(subject) if of is not None else ""}.get(act)
        if keeper.path in self.cut or at in self.down or (at is None and set(self._offers(keeper, pool)) <= self.down):
            return "hang"
        return "no-capacity" if act == "create" and offer in self.sold_out else ""

    @staticmethod
    def _pool(keeper: Machine, pool: str) -> Pool | None:
        held = keeper.document(f"pool/{pool}")
        return held.body if held is not None and isinstance(held.body, Pool) else None

    def _offers(self, keeper: Machine, pool: str) -> list[str]:
        of = self._pool(keeper, pool)
        return list(of.offers()) if of is not None else [""]

    def _silent(self, keeper: Machine, pool: str) -> dict[str, str]:
        return {offer: "it is down" for offer in self._offers(keeper, pool) if offer in self.down}

    def _price(self, pool: str, offer: str) -> float:
        return self.prices.get(f"{pool}/{offer}", self.market.price_usd_hour)

    def _kill(self, keeper: Machine) -> None:
        """At the end of this moment, so that the step in which it asked is whole."""
        self.cluster.clock.after(0.0, lambda: self._power_cut(keeper))

    def _power_cut(self, keeper: Machine) -> None:
        if keeper.on:
            keeper.power_cut()
            self.answers.pop(keeper.path, None)
            self.killed.append((keeper.path, self.now_s))
            if self.revive_after_s is not None:
                self.cluster.clock.after(self.revive_after_s, lambda: keeper.boot() if not keeper.on else None)

    def _spoil(self, droplet: Droplet, trouble: Trouble) -> None:
        if trouble == "vanish":
            self.cluster.clock.after(1.0, lambda: self.end(droplet))
        elif trouble == "never-joins":
            droplet.joined = True  # so that it never tries to

    # --- what they do -------------------------------------------------------------------------------------------------

    def _kinds(self, keeper: Machine, effect: deal.ListKinds) -> Event:
        silent = self._silent(keeper, effect.pool)
        kinds: list[deal.Kind] = []
        for offer in self._offers(keeper, effect.pool):
            usd_hour = self._price(effect.pool, offer)
            if offer not in silent:
                kinds += [deal.Kind("small", 1.0, 1 << 30, usd_hour, usd_hour * 700, (), offer),
                          deal.Kind("large", 2.0, 4 << 30, usd_hour * 4, usd_hour * 2800, (), offer)]  # fmt: skip
        return deal.KindsListed(pool=effect.pool, kinds=tuple(kinds), least_s=60.0, step_s=1.0, silent=silent)

    def _list(self, keeper: Machine, effect: deal.ListMachines) -> Event:
        silent = self._silent(keeper, effect.pool)
        now, lag_s = self.now_s, self.market.list_lag_s
        shown = [
            self._rented(droplet)
            for droplet in self.droplets.values()
            if droplet.created_s + lag_s <= now and (droplet.gone_s is None or now < droplet.gone_s + lag_s)
            if (droplet.slot == effect.slot if effect.slot else self._is_tagged(droplet))
            if droplet.offer not in silent
        ]
        return deal.MachinesListed(pool=effect.pool, slot=effect.slot, machines=tuple(shown), silent=silent)

    def _is_tagged(self, droplet: Droplet) -> bool:
        return droplet.ours and self.now_s >= droplet.created_s + self.market.tag_lag_s

    def _rented(self, droplet: Droplet) -> deal.Rented:
        return deal.Rented(
            id=droplet.id, slot=droplet.slot, name=droplet.name, tagged=self._is_tagged(droplet),
            state="active" if droplet.address else "new", address=droplet.address, size="small",
            price_usd_hour=droplet.price_usd_hour, created=CLOCK_AT_ZERO + droplet.created_s + self.clock_off_s,
            offer=droplet.offer,
        )  # fmt: skip

    def _create(self, keeper: Machine, effect: deal.CreateMachine, token: str) -> Event:
        self._ids += 1
        slot = str(effect.slot)
        id, usd_hour = Pool.id_at(effect.offer, f"{1000 + self._ids}"), self._price(effect.slot.pool, effect.offer)
        droplet = Droplet(id, f"sk-{slot}", slot, True, self.now_s, token, by=keeper.path, offer=effect.offer,
                          price_usd_hour=usd_hour)  # fmt: skip
        self.droplets[droplet.id] = droplet
        self.cluster.clock.after(
            self.market.boot_s * (0.8 + 0.4 * self.cluster.chance.random()), lambda: self._booted(droplet)
        )
        return deal.MachineCreated(slot=effect.slot, machine=self._rented(droplet))

    def add(self, slot: str, *, ours: bool, name: str = "", offer: str = "") -> Droplet:
        """A machine that nobody asked for: a forgotten one, or another's."""
        self._ids += 1
        id, usd_hour = Pool.id_at(offer, f"{1000 + self._ids}"), self.market.price_usd_hour
        droplet = Droplet(
            id, name or f"sk-{slot}", slot, ours, self.now_s, joined=True, offer=offer, price_usd_hour=usd_hour
        )
        self.droplets[droplet.id] = droplet
        return droplet

    def bring(self, slot: MachineSlot) -> None:
        """A person brings a machine, and an operator enrols it."""
        droplet = self.add(str(slot), ours=False)
        droplet.address = "203.0.113.9"
        keeper = next(machine for machine in self.cluster.machines.values() if machine.on)
        of = keeper.disk[f"pool/{slot.pool}"]
        assert isinstance(of, Document) and isinstance(of.body, Pool)
        self._let_in(keeper, droplet, slot, "ann")

    def _foreign(self, slot: str) -> None:
        if MachineSlot.read(slot) is not None and not any(d.slot == slot and not d.ours for d in self.living()):
            self.add(slot, ours=False)

    def _destroy(self, effect: deal.DestroyMachine) -> Event | None:
        droplet = self.droplets.get(effect.id)
        if droplet is None:
            self.wrong.append(f"{self.now_s:.1f}: {effect.id} is destroyed, which never was")
            return deal.MachineDestroyed(pool=effect.pool, id=effect.id)
        if not droplet.ours:
            self.wrong.append(
                f"{self.now_s:.1f}: {droplet.id} is another's, and its end was asked for: {effect.reason}"
            )
            return None
        self.end(droplet)
        return deal.MachineDestroyed(pool=effect.pool, id=effect.id)

    def end(self, droplet: Droplet) -> None:
        if droplet.gone_s is None:
            droplet.gone_s = self.now_s
            if droplet.node is not None and droplet.node.on:
                droplet.node.power_cut()

    def spent_usd(self, *, asked_for: bool = False) -> float:
        """What all ours (that a keeper asked for) have cost by now; the whole of it lies in one month."""
        return sum(
            max(60.0, (d.gone_s if d.gone_s is not None else self.now_s) - d.created_s) * d.price_usd_hour / 3600.0
            for d in self.droplets.values()
            if d.ours and (d.by or not asked_for)
        )

    # --- joining: what agent and machine do on port 7078 --------------------------------------------------------------------

    def _booted(self, droplet: Droplet) -> None:
        if droplet.gone_s is not None:
            return
        droplet.address = f"198.51.100.{_number(droplet) % 250}"
        self._knock(droplet)

    def _knock(self, droplet: Droplet) -> None:
        """It asks one keeper after another until one knows its token."""
        if droplet.gone_s is not None or droplet.joined:
            return
        slot = MachineSlot.read(droplet.slot)
        assert slot is not None
        pool = f"pool/{slot.pool}"
        for machine in list(self.cluster.machines.values()):
            held = machine.document(pool) if machine.core is not None else None
            if machine.core is None or held is None or not isinstance(held.body, Pool):
                continue
            words = machine.core._s.known.about("machine", str(slot)).values()
            word = next((w for w in words if isinstance(w, MachineFact) and w.token == droplet.token), None)
            known = word is not None and word.state in ("creating", "booting", "failed") and word.id in ("", droplet.id)
            if machine.path in held.body.keepers and known and droplet.token not in self._used:
                self._used.add(droplet.token)
                self._let_in(machine, droplet, slot, held.body.keepers[machine.path])
                return
        self.cluster.clock.after(3.0, lambda: self._knock(droplet))

    def _let_in(self, keeper: Machine, droplet: Droplet, slot: MachineSlot, signer: str) -> None:
        before = keeper.disk.get(slot.path)
        version = before.version + 1 if isinstance(before, Document) else 1
        key = hashlib.sha256(f"key of {droplet.id}".encode()).hexdigest()
        enrolment = docs.machine(slot, key, droplet.address, version=version)
        enrolment = msgspec.structs.replace(enrolment, signers=(signer,))
        droplet.joined = True
        keeper.receive(enrolment, "")
        old = self.cluster.machines.get(slot.path)
        if old is not None and old.on:
            old.power_cut()  # its key is no longer the enrolled one: nobody hears it
        node = self.cluster.add(str(slot))
        node.number = docs.machine_number(slot)
        node.boots = 10 * _number(droplet)  # another host: its numbers don't begin where another's of this path stand
        node.cpus, node.memory_bytes = 1.0, 800 << 20
        node.disk = {id: record for id, record in keeper.disk.items() if isinstance(record, Document)}
        droplet.node = node
        node.boot()

    def _enrol(self, keeper: Machine, effect: deal.Enrol) -> None:
        """Signed with the keeper's key, and judged by its own door: trust lets it through as far as the pool goes."""
        slot, before = MachineSlot.of_path(effect.path), keeper.disk.get(effect.path)
        assert slot is not None and isinstance(before, Document) and isinstance(before.body, Node)
        of = keeper.disk[f"pool/{slot.pool}"]
        assert isinstance(of, Document) and isinstance(of.body, Pool)
        if effect.body.state != "expelled" and slot.is_beyond(of.body):
            self.wrong.append(
                f"{self.now_s:.1f}: {keeper.path} signs {effect.path} as {effect.body.state}, beyond its pool"
            )
            return
        document = docs.document(effect.path, effect.body, before.version + 1)
        keeper.receive(msgspec.structs.replace(document, signers=(of.body.keepers[keeper.path],)), "")


def _number(droplet: Droplet) -> int:
    return int(droplet.id.rpartition(":")[2])
