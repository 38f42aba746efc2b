"""A large cloud, lived on virtual time: `python -m bench.large --nodes 1000 --slots 10000 --full 6 --json`.

A thousand whole cores would need a thousand times the memory of one. So a sample of the nodes is real, `--full` NodeCores that hear
everything, share all decoded documents and facts, claim, witness and heal as on a host; the others are one plain model: they follow
the order, without error, and give every sign of life. What a node costs is measured on the real ones, one by one; what all would cost
is that times their number, and is said as such. All records reach every node once, some 10 to 60 ms later; links drop nothing.

Phases: nothing runs -> all slots held; one host falls silent -> its slots are held by others; an app's next version -> all moved.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import resource
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgspec

from bench.deciding import CLOCK, IMAGE, SERVICES, Cloud, address, document, service
from skerry.core import effects as do
from skerry.core import events as ev
from skerry.core.effects import Effect
from skerry.core.facts import Claim, FactBody, Lost, SlotState
from skerry.core.field import Field
from skerry.core.intent import App, Node
from skerry.core.node import NodeCore
from skerry.core.records import Document, Fact, Slot
from skerry.sim.clock import Clock

START_S, WELL_S = 0.3, 1.5  # from a claim until its container runs, until its probe has said that it is well
MISSED_S = 3.0  # from a host's end until its neighbours have said so


class Real:
    """One node whose core is real. Containers start, answer and stop as they should."""

    def __init__(self, large: Large, path: str) -> None:
        self.large, self.path, self.core = large, path, NodeCore()
        self.wake_s = -1.0
        self.linked: set[str] = set()
        self.watched: dict[tuple[Slot, str], str] = {}  # -> spec
        self.steps: list[float] = []  # milliseconds of the processor
        self.heard = 0

    def step(self, event: ev.Event) -> None:
        begun = time.process_time()
        effects = self.core.step(event, self.large.clock.now_s)
        self.steps.append(1000 * (time.process_time() - begun))
        for effect in effects:
            self.carry_out(effect)

    def hear(self, record: Document | Fact) -> None:
        self.heard += 1
        self.step(ev.RecordAccepted(record=record, source="node/h1"))

    def boot(self) -> None:
        large = self.large
        self.step(ev.Booted(node=self.path, boot=1, cpus=8.0, memory_bytes=1 << 34, clock=CLOCK))
        for record in large.documents:
            self.core.step(ev.RecordAccepted(record=record, from_disk=True), large.clock.now_s)
        self.step(ev.ImageReady(image=IMAGE))
        self.step(ev.Timer())

    def carry_out(self, effect: Effect) -> None:
        large, after = self.large, self.large.clock.after
        match effect:
            case do.Wake(at_s=at_s):
                self.wake_s = at_s
                large.clock.at(at_s, lambda: self.step(ev.Timer()) if self.wake_s == at_s else None)
            case do.Publish():
                large.tell(large.cloud.fact(self.path, effect.kind, effect.key, effect.body))
            case do.Peers(dial=dial):
                for peer in dial:
                    self.linked.add(peer)
                    after(0.01, lambda peer=peer: self.step(ev.LinkUp(peer=peer)))  # type: ignore[misc]
            case do.Start(slot=slot, spec=spec):
                after(START_S, lambda: self.step(ev.ContainerStarted(slot, spec, address(slot), f"{slot} {spec}")))
            case do.Stop(slot=slot, spec=spec, container=container):
                after(0.1, lambda: self.step(ev.ContainerStopped(slot, spec, container)))
            case do.Watch(slot=slot, node=node, spec=spec):
                self.watched[slot, node] = spec
                after(0.5, lambda: self.answer(slot, node, spec, node not in large.dead))
            case do.Unwatch(slot=slot, node=node):
                self.watched.pop((slot, node), None)
            case do.ProbePeer(peer=peer, via=via):
                after(0.1, lambda: self.step(ev.PeerReached(peer=peer, via=via, ok=peer not in large.dead)))

    def answer(self, slot: Slot, node: str, spec: str, ok: bool) -> None:
        if self.watched.get((slot, node)) == spec:
            self.step(ev.ProbeAnswered(slot=slot, node=node, spec=spec, ok=ok))


class Large:
    """`said`: of each slot who holds it, in which version, and whether it is well, by all that was told."""

    def __init__(self, nodes: int, slots: int, full: int) -> None:
        self.clock, self.random = Clock(), random.Random(1)
        self.cloud = Cloud(nodes, slots, 0)
        self.documents: list[Document] = [*self.cloud.nodes, *self.cloud.apps, *self.cloud.releases]
        self.field = Field({d.path: d.body for d in self.cloud.nodes if isinstance(d.body, Node)}, small=False)
        self.cloud.n = dict.fromkeys(self.cloud.names, 0)
        step = max(1, nodes // full)
        self.real = {path: Real(self, path) for path in self.cloud.names[::step][:full]}
        self.holders = self._holders()
        self.said: dict[Slot, tuple[str, str, bool]] = {}
        self.dead: set[str] = set()
        self.facts = self.fact_bytes = self.ups = 0
        self.figures: dict[str, Any] = {"nodes": nodes, "slots": len(self.holders), "full": full}

    def _holders(self) -> dict[Slot, str]:
        """The first of each slot's order."""
        found, ranked, name = {}, [], ""
        salted = {path: f"{path}\0{node.salt}\0".encode() for path, node in self.field.nodes.items()}
        for slot in sorted(self.cloud.holders):
            if f"{slot.app}.{slot.service}" != name:
                name = f"{slot.app}.{slot.service}"
                scores = {path: sha256(salt + name.encode()).digest() for path, salt in salted.items()}
                ranked = sorted(scores, key=scores.__getitem__, reverse=True)
            found[slot] = ranked[slot.index % len(ranked)]
        return found

    # --- what is told -------------------------------------------------------------------------------------------------

    def tell(self, fact: Fact) -> None:
        """Every real node hears of it, each after its own while."""
        if fact.kind == "up":
            self.ups += 1
        else:
            self.facts += 1
            self.fact_bytes += len(msgspec.json.encode(fact.body)) + len(fact.key)
        if fact.kind == "slot" and isinstance(fact.body, SlotState):
            self.said[Slot.parse(fact.key)] = (fact.node, fact.body.spec, bool(fact.body.healthy))
        for host in self.real.values():
            if host.path != fact.node:
                self.clock.after(self.random.uniform(0.01, 0.06), lambda host=host: host.hear(fact))  # type: ignore[misc]

    def say(self, node: str, kind: str, key: str, body: FactBody | None) -> None:
        if node not in self.dead:
            self.tell(self.cloud.fact(node, kind, key, body))

    def beats(self) -> None:
        """A second of all other nodes' signs of life."""
        for path in self.cloud.names:
            if path in self.real or path in self.dead:
                continue
            up = self.cloud.up(path)
            self.ups += 1
            for host in self.real.values():
                host.hear(up)
        self.clock.after(1.0, self.beats)

    # --- what nodes do that are not real ------------------------------------------------------------------------------

    def take(self, slot: Slot, node: str, why: str) -> None:
        """Claim it, start it, be well."""
        spec, key = self.cloud.spec(slot), str(slot)
        self.say(node, "claim", key, Claim(spec=spec, image=IMAGE, rank=0, reason=why))

        def state(healthy: bool | None) -> SlotState:
            return SlotState(spec=spec, image=IMAGE, state="running", address=address(slot), healthy=healthy, since=CLOCK,
                             versions=(1, 1))  # fmt: skip

        self.clock.after(START_S, lambda: self.say(node, "slot", key, state(None)))
        self.clock.after(START_S + WELL_S, lambda: self.say(node, "slot", key, state(True)))

    def roll(self, app: str) -> None:
        """Slots of an app go to its new version one after the other, as their turn comes."""
        for name, count in SERVICES.items():
            for slot in (Slot(app, name, index) for index in range(count)):
                node, spec, well = self.said[slot]
                if spec == self.cloud.spec(slot) and well:
                    continue
                if node not in self.real and spec != self.cloud.spec(slot) and slot not in self.rolling:
                    self.rolling.add(slot)
                    self.take(slot, node, "its turn")
                break
        self.clock.after(0.25, lambda: self.roll(app))

    # --- the three phases ---------------------------------------------------------------------------------------------

    def begin(self) -> None:
        gc.collect()
        before = _rss_bytes()
        begun = time.process_time()
        for host in self.real.values():
            host.boot()
        self.figures["boot_cpu_s_node"] = round((time.process_time() - begun) / len(self.real), 2)
        self.beats()
        for slot, node in self.holders.items():
            if node not in self.real:
                self.clock.after(
                    self.random.uniform(0.5, 0.6), lambda slot=slot, node=node: self.take(slot, node, "rank 0")
                )  # type: ignore[misc]
        self._until("start", lambda core: not core._s.unheld and len(core._s.standings) == len(self.holders))
        gc.collect()
        self.figures["memory_mb_node"] = round((_rss_bytes() - before) / 1e6 / len(self.real), 1)
        self._run("quiet", 25.0)

    def lose(self) -> None:
        held: dict[str, list[Slot]] = {}
        for slot, node in self.holders.items():
            held.setdefault(node, []).append(slot)
        lost = max((node for node in held if node not in self.real), key=lambda node: len(held[node]))
        self.figures["lost_slots"] = len(held[lost])
        self.dead.add(lost)
        self.clock.after(MISSED_S, lambda: self._missed(lost, held[lost]))
        self._run("silent", MISSED_S + 0.5)
        self._until("heal", lambda core: core._s.presence.is_down(lost) and not core._s.unheld)
        self.figures["heal_virtual_s"] = round(self.figures["heal_virtual_s"] + MISSED_S + 0.5, 2)

    def _missed(self, lost: str, slots: list[Slot]) -> None:
        for host in self.real.values():
            for (slot, node), spec in list(host.watched.items()):
                if node == lost:
                    host.answer(slot, node, spec, False)
            if lost in host.linked:
                host.step(ev.LinkDown(peer=lost, why="silent"))
        for voter in [path for path in self.cloud.names if path not in self.real and path != lost][:10]:
            self.say(voter, "lost", lost, Lost(boot=1, beat=self.cloud.n[lost], why="its link went down"))
        for slot in slots:
            heir = next(
                path for path in self.field.order(f"{slot.app}.{slot.service}", slot.index) if path not in self.dead
            )
            self.holders[slot] = heir
            if heir not in self.real:
                self.clock.after(0.2, lambda slot=slot, heir=heir: self.take(slot, heir, "rank 0"))  # type: ignore[misc]

    def update(self) -> None:
        own = next((slot.app for slot, node in self.holders.items() if node in self.real), "a0")
        i = int(own[1:])
        services = {name: service(name, 10_000 + i, more="2") for name in SERVICES}
        self.cloud.apps[i] = document(f"app/{own}", App(services=services), 2)
        self.rolling: set[Slot] = set()
        for host in self.real.values():
            host.hear(self.cloud.apps[i])
        self.roll(own)
        slots = [slot for slot in self.holders if slot.app == own]

        def moved(core: NodeCore) -> bool:
            held = [core._s.standings[slot].winner for slot in slots]
            return all(
                of is not None and of.spec == self.cloud.spec(slot) for of, slot in zip(held, slots, strict=True)
            )

        self._until("update", moved)

    def _until(self, phase: str, well: Callable[[NodeCore], bool], most_s: float = 90.0) -> None:
        begun_s, told = self.clock.now_s, self._begin()
        while not all(well(host.core) for host in self.real.values()) and self.clock.now_s < begun_s + most_s:
            self.clock.run_until(self.clock.now_s + 0.1)
        self._end(phase, begun_s, told)
        self.figures[f"{phase}_done"] = all(well(host.core) for host in self.real.values())

    def _run(self, phase: str, seconds: float) -> None:
        begun_s, told = self.clock.now_s, self._begin()
        self.clock.run_until(self.clock.now_s + seconds)
        self._end(phase, begun_s, told)

    def _begin(self) -> tuple[float, int]:
        for host in self.real.values():
            host.steps.clear()
        return time.process_time(), self.facts

    def _end(self, phase: str, begun_s: float, told: tuple[float, int]) -> None:
        steps = sorted(taken for host in self.real.values() for taken in host.steps)
        self.figures |= {
            f"{phase}_virtual_s": round(self.clock.now_s - begun_s, 2),
            f"{phase}_cpu_s": round(time.process_time() - told[0], 2),
            f"{phase}_cpu_s_node": round(sum(steps) / 1000 / len(self.real), 3),
            f"{phase}_steps_node": len(steps) // len(self.real),
            f"{phase}_step_ms_p50": round(steps[len(steps) // 2], 3) if steps else 0.0,
            f"{phase}_step_ms_p99": round(steps[len(steps) * 99 // 100], 3) if steps else 0.0,
            f"{phase}_step_ms_worst": round(steps[-1], 2) if steps else 0.0,
            f"{phase}_facts": self.facts - told[1],
        }

    def ended(self) -> None:
        whole = self.figures["nodes"] / self.figures["full"]
        cpu = sum(self.figures[f"{phase}_cpu_s"] for phase in ("start", "quiet", "silent", "heal", "update"))
        self.figures |= {
            "fact_bytes_mean": round(self.fact_bytes / max(1, self.facts)),
            "max_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6),
            "whole_memory_gb": round(
                self.figures["memory_mb_node"] * self.figures["nodes"] / 1000, 1
            ),  # reckoned, not run
            "whole_cpu_h": round((self.figures["boot_cpu_s_node"] * self.figures["nodes"] + cpu * whole) / 3600, 2),
        }


def _rss_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="bench.large", description="A large cloud on virtual time, a sample of it real."
    )
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=10_000)
    parser.add_argument("--full", type=int, default=6, help="so many nodes are real cores")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    large = Large(given.nodes, given.slots, given.full)
    for phase in (large.begin, large.lose, large.update):
        phase()
    large.ended()
    if given.json:
        print(json.dumps(large.figures, indent=2))
    else:
        for name, figure in large.figures.items():
            print(f"{name:32} {figure}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
