"""One captured node among honest ones, from one seed: what it can't do, and what the others go on doing (design section 7).

A settled cloud; the node is taken; it plays some of its tricks; perhaps an honest machine loses power meanwhile. Nothing of
what others run may stop for what it says, no traffic of others' slots may go to it, no forged record may be held.
"""

from __future__ import annotations

import random

from skerry.core import effects as do
from skerry.core.intent import Port, Probe, Service, Update, VolumeMount
from skerry.core.records import Slot
from skerry.sim import documents as docs
from skerry.sim.captured import Captured
from skerry.sim.checkers import held_once
from skerry.sim.cluster import World
from skerry.sim.machine import Machine
from skerry.sim.scenario import give_image
from skerry.sim.whole import WholeMachine, whole_cluster_of

LIES_S = 60.0
HEALED_S = 60.0  # without a vote of the captured one a death shows after 40 s


class Siege:
    """`tricks`: those of Captured; without, some by the seed. `log` tells what was done."""

    def __init__(
        self, seed: int, tricks: tuple[str, ...] | None = None, *, nodes: int | None = None, lies_s: float = LIES_S
    ) -> None:
        self.seed, self.lies_s = seed, lies_s
        self.chance = chance = random.Random(seed)
        self.log: list[str] = []
        world = World(latency_s=chance.choice([0.001, 0.02]), jitter_s=chance.choice([0.0, 0.1]))
        self.cluster = whole_cluster_of(nodes or chance.randint(3, 5), seed, world)
        some = chance.sample(Captured.all_tricks(), chance.randint(1, len(Captured.all_tricks())))
        self.tricks = tuple(some) if tricks is None else tricks
        self.stopped: list[str] = []
        self.share: set[Slot] = set()  # what the captured one held before
        self.before: dict[str, object] = {}
        self.lose_another = chance.random() < 0.5
        self.watched = False
        self.cluster.watchers.append(self._see)

    def run(self) -> list[str]:
        """What was wrong, in sentences; none is good."""
        self._deploy()
        self.cluster.run(45.0)
        wrong = [f"before anything happened: {what}" for what in held_once(self.cluster)]
        if wrong:
            return wrong
        liar = self.chance.choice(sorted(self.cluster.machines))
        machine = self.cluster.machines[liar]
        assert isinstance(machine, WholeMachine)
        self.share = {Slot.parse(row.slot) for row in machine.core.rows() if f"node/{row.node}" == liar}  # type: ignore[union-attr]
        self._say(f"{liar}, which holds {sorted(map(str, self.share))}, is captured: {', '.join(self.tricks)}")
        self.before = self._documents()
        if self.chance.random() < 0.5:
            machine.containers.clear()
            self._say("it ends its containers")
        Captured(machine, self.tricks)
        self.watched = True
        self.cluster.run(self.lies_s)
        wrong = self._wrong()
        self.watched = False
        if not wrong and self.lose_another:
            wrong = self._lose_another(liar)
        return wrong

    def _deploy(self) -> None:
        probe = Probe(kind="tcp", port=80, start_period_s=10.0)
        services = {
            "web": Service(replicas=self.chance.randint(2, 6), probe=probe, ports=(Port(target=80, published=8000),),
                           update=Update(order="start-first")),
            "one": Service(replicas=1, probe=self.chance.choice([probe, None])),
            "store": Service(replicas=1, probe=probe, volumes=(VolumeMount(volume="data", target="/data"),)),
        }  # fmt: skip
        fallback = ""
        for version in (1, 2):  # a second one, so that there is something to turn back to
            for service in services:
                give_image(self.cluster, "vps-1", f"{service}-v{version}")
            images = {service: f"{service}-v{version}" for service in services}
            release = docs.release("shop", images, version=version, fallback=fallback)
            fallback = release.hash
            app = [] if version > 1 else [docs.app("shop", services, volumes={"data": False})]
            self.cluster.accept("vps-1", release, *app)
            self.cluster.run(20.0)

    def _lose_another(self, liar: str) -> list[str]:
        """An honest machine loses power; what it ran comes back on honest ones, whatever the captured one says of it."""
        victim = self.chance.choice([path for path in sorted(self.cluster.machines) if path != liar])
        self._say(f"{victim} loses power")
        core = self._honest()[0].core
        assert core is not None
        homes = {Slot.parse(row.slot) for row in core.rows() if row.pinned and f"node/{row.node}" == victim}
        self.cluster.machines[victim].power_cut()
        self.cluster.run(HEALED_S)
        late = self._unserved(self.share | homes | self._next_in_order(liar), lost=victim)
        return [f"{HEALED_S:.0f} s after the death of {victim}: {what}" for what in late]

    def _next_in_order(self, liar: str) -> set[Slot]:
        """Slots whose order has it before all honest nodes that live: its share by now."""
        core = self._honest()[0].core
        assert core is not None
        living = {machine.path for machine in self._honest()} | {liar}
        found = set()
        for row in core.rows():
            order = core.explain(Slot.parse(row.slot)).order
            if next(f"node/{a.node}" for a in order if f"node/{a.node}" in living) == liar:
                found.add(Slot.parse(row.slot))
        return found

    # --- what must hold --------------------------------------------------------------------------------------------------

    def _wrong(self) -> list[str]:
        return [*self.stopped, *self._taken(), *self._served(), *self._believed()]

    def _see(self, machine: Machine, effect: do.Effect) -> None:
        """No honest node stops, moves or gives up what it ran because of what one node says."""
        if not self.watched or getattr(machine, "captured", False):
            return
        told = ""
        if isinstance(effect, do.Stop) and effect.slot not in self.share:
            told = f"stops {effect.slot}"
        elif isinstance(effect, do.Note) and effect.kind in ("turned-back", "verdict"):
            told = f"{effect.kind} {effect.subject}"
        elif isinstance(effect, do.Note) and effect.kind == "down" and not self._is_captured(effect.subject):
            told = f"calls {effect.subject} down"
        if told:
            self.stopped.append(f"{self.cluster.clock.now_s:.2f}: {machine.path} {told}: {effect.reason}")

    def _is_captured(self, name: str) -> bool:
        return bool(getattr(self.cluster.machines.get(f"node/{name}"), "captured", False))

    def _honest(self) -> list[WholeMachine]:
        return [m for m in self.cluster.machines.values() if isinstance(m, WholeMachine) and m.on and not m.captured]

    def _taken(self) -> list[str]:
        """No traffic of others' slots goes to the captured node; theirs all have where to go."""
        wrong = []
        for machine in self._honest():
            for _, targets in machine.route.ports if machine.route is not None else ():
                wrong += [
                    f"{machine.path} sends traffic of {target.slot} to {target.node}"
                    for target in targets
                    if self._is_captured(target.node.removeprefix("node/")) and target.slot not in self.share
                ]
        return wrong

    def _served(self) -> list[str]:
        return self._unserved(self.share)

    def _unserved(self, leave_out: set[Slot], lost: str = "") -> list[str]:
        """Every other slot is held, healthy, by an honest node that lives, and all of them say so."""
        wrong = []
        for machine in self._honest():
            for row in machine.core.rows():  # type: ignore[union-attr]
                well = row.healthy and not self._is_captured(row.node) and f"node/{row.node}" != lost
                if not well and Slot.parse(row.slot) not in leave_out:
                    wrong.append(f"{machine.path} sees {row.slot} {row.state} on {row.node or 'nobody'}: {row.why}")
        return wrong

    def _believed(self) -> list[str]:
        """Documents are what they were."""
        now = self._documents()
        return [f"{path} holds other documents than before" for path in now if now[path] != self.before[path]]

    def _documents(self) -> dict[str, object]:
        return {m.path: dict(m.trusted.heads()) for m in self._honest()}

    def _say(self, what: str) -> None:
        self.log.append(f"{self.cluster.clock.now_s:7.2f} {what}")
