"""What must hold while keepers rent, whatever the provider does: by the provider's books, not by what keepers believe."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Protocol

from skerry.core import effects as do
from skerry.core.intent import Node, Pool
from skerry.core.records import MachineSlot
from skerry.core.renting import dealings as deal
from skerry.core.renting.spending import MARGIN_S
from skerry.sim.cluster import Cluster
from skerry.sim.machine import Machine
from skerry.sim.provider import Droplet, Provider

LOOK_S = 1.0
LACK_S = 140.0  # settling, a machine that doesn't join, and a pause after failures
CALLS_A_MINUTE = (
    90  # of one keeper: with these short times a look each three seconds at each of three machines, and sweeps
)
SHRINKING = ("nothing runs there any more", "drained for")


class Rented(Protocol):
    """What there is to watch: see sim/rented.py. `of`: the pool as operators have signed it last."""

    @property
    def cluster(self) -> Cluster: ...
    @property
    def provider(self) -> Provider: ...
    @property
    def of(self) -> Pool: ...
    @property
    def hosts(self) -> list[str]: ...
    @property
    def keepers(self) -> dict[str, str]: ...


class Watch:
    """Looks each second, and at each destroy. `wrong`: sentences about what does not hold."""

    def __init__(self, cloud: Rented, ceiling_usd: float) -> None:
        self.cloud, self.ceiling_usd = cloud, ceiling_usd
        self.wrong: list[str] = []
        self.most = 0
        self.fault_s = 0.0  # of the last one that is no call's
        self._double_s: dict[
            str, float
        ] = {}  # slot -> for how long it has had two, while a keeper reached the provider
        self._refused_s = 0.0  # for how long nobody could give back what must go for the ceiling
        self._parted = False
        self._short_s: float | None = None
        self._told: set[str] = set()
        cloud.cluster.watchers.insert(0, self._see)  # before the provider does it
        self._look()

    @property
    def _now_s(self) -> float:
        return self.cloud.cluster.clock.now_s

    def parted(self) -> None:
        self._parted = True

    def healed(self) -> None:
        self.fault_s = self._now_s
        self._parted = False

    def _say(self, key: str, what: str) -> None:
        if key not in self._told:
            self._told.add(key)
            self.wrong.append(f"{self._now_s:.1f}: {what}")

    def _look(self) -> None:
        provider, of = self.cloud.provider, self.cloud.of
        self.most = max(self.most, of.max)
        ours = [droplet for droplet in provider.living() if droplet.ours and MachineSlot.read(droplet.slot)]
        counts = Counter(droplet.slot for droplet in ours if droplet.by)
        self._double_s = {slot: self._double_s.get(slot, 0.0) for slot, count in counts.items() if count > 1}
        for slot in self._double_s if self._is_reached() else ():
            self._double_s[slot] += LOOK_S
            if self._double_s[slot] > of.grace_s:
                self._say(f"double {slot}", f"{slot} has {counts[slot]} machines for more than {of.grace_s:.0f} s")
        if len(counts) > self.most:
            self._say("max", f"{len(counts)} slots have machines, {self.most} is the most")
        self._check_life(ours)
        self._check_ceiling()
        self.cloud.cluster.clock.after(LOOK_S, self._look)

    def _check_ceiling(self) -> None:
        """It holds unless nobody could give anything back for longer than `return_slack_s`, once it was time to."""
        provider, slack_s = self.cloud.provider, self.cloud.cluster.timing.return_slack_s
        spent = provider.spent_usd(asked_for=True)
        price_usd_s = sum(droplet.price_usd_hour for droplet in provider.living() if droplet.by) / 3600.0
        if spent + price_usd_s * (self.cloud.of.drain_s + slack_s + MARGIN_S) <= self.ceiling_usd:
            self._refused_s = 0.0
        elif not self._is_reached():
            self._refused_s += LOOK_S
        if spent > self.ceiling_usd + 1e-9 and self._refused_s <= slack_s:
            self._say("ceiling", f"{spent:.4f} USD are spent of {self.ceiling_usd}")

    def _is_reached(self) -> bool:
        """Whether a keeper lives whose newest call was answered: nobody can give back what the provider doesn't take."""
        return any(
            self.cloud.cluster.machines[k].on and self.cloud.provider.answers.get(k, False) for k in self.cloud.keepers
        )

    def _check_life(self, ours: list[Droplet]) -> None:
        """Without faults of late and with money, a pool that lacks machines gets one; nobody waits for ever."""
        provider = self.cloud.provider
        if len(ours) >= self.cloud.of.max or self._parted or self.ceiling_usd < 1.0:
            self._short_s = None
            return
        rows = next((m.core.rows() for m in self.cloud.cluster.machines.values() if m.core is not None), [])
        lacking = sum(row.state == "waiting" for row in rows)
        if not lacking:
            self._short_s = None
            return
        since_s = self._short_s = self._now_s if self._short_s is None else self._short_s
        disturbed_s = max((call.at_s for call in provider.calls if call.trouble), default=0.0)
        if self._now_s > max(since_s, disturbed_s, *(at_s for _, at_s in provider.killed), self.fault_s) + LACK_S:
            self._say("life", f"{lacking} slots wait, and no machine has been had for {LACK_S:.0f} s")

    def _see(self, machine: Machine, effect: do.Effect) -> None:
        if not isinstance(effect, deal.DestroyMachine):
            return
        droplet = self.cloud.provider.droplets.get(effect.id)
        slot = MachineSlot.read(droplet.slot) if droplet is not None else None
        if droplet is None or slot is None or droplet.gone_s is not None or slot.is_beyond(self.cloud.of):
            return
        age_s = self._now_s - droplet.created_s
        if effect.reason.startswith(SHRINKING) and age_s < self.cloud.of.age_s and "ceiling" not in effect.reason:
            self._say(f"young {droplet.id}", f"{droplet.slot} is given back {age_s:.0f} s old: {effect.reason}")
        if "ceiling" not in effect.reason:
            self._check_last(machine, droplet, effect.reason)

    def _check_last(self, keeper: Machine, droplet: Droplet, reason: str) -> None:
        """No wanted slot's only healthy replica is on it."""
        if droplet.node is None or not droplet.node.on or self._parted:
            return
        enrolment = keeper.document(droplet.node.path)
        body = enrolment.body if enrolment is not None else None
        if isinstance(body, Node) and droplet.address not in {where.rpartition(":")[0] for where in body.addresses}:
            return  # parted keepers let in one each, and the other won: nobody hears what this one runs (trust/accept.py)
        now_s = self._now_s
        holders = defaultdict(list)
        for machine in self.cloud.cluster.machines.values():
            for c in machine.containers.values() if machine.on else ():
                if c.running and not c.stopping and c.answers_s <= now_s:
                    holders[c.slot].append(machine)
        for slot, machines in holders.items():
            wanted = keeper.core is not None and keeper.core._s.want(slot) is not None
            if wanted and machines == [droplet.node]:
                self._say(f"last {slot}", f"{droplet.slot} goes with the last healthy replica of {slot}: {reason}")

    def at_the_end(self) -> list[str]:
        """After quiet, with a most of 0: nothing of ours is left, nowhere, and nobody says otherwise."""
        wrong = [
            f"{droplet.id} ({droplet.slot or 'no slot'}) was forgotten"
            for droplet in self.cloud.provider.living()
            if droplet.ours
        ]
        for name in self.cloud.hosts:
            core = self.cloud.cluster[name].core
            if core is None:
                continue
            wrong += [f"{name} still has {path} as a node" for path in core._s.known.nodes if MachineSlot.of_path(path)]
            said = core.all_said("machine")
            living = {path for path in self.cloud.keepers if self.cloud.cluster.machines[path].on}
            wrong += [
                f"{name} hears {keeper} say of {slot}: {body.state}"  # type: ignore[union-attr]
                for slot, about in said.items()
                for keeper, body in about.items()
                if keeper in living and body.state != "gone"  # type: ignore[union-attr]
            ]
        minutes = max(1.0, self._now_s / 60.0)
        by = Counter(call.keeper for call in self.cloud.provider.calls)
        wrong += [f"{keeper} made {n} calls" for keeper, n in by.items() if n > minutes * CALLS_A_MINUTE]
        return wrong
