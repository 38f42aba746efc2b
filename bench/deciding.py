"""What one node's deciding costs: `python -m bench.deciding --nodes 1000 --slots 10000 --json`.

One NodeCore that holds everything, told by the events that its agent would tell it by. All slots are held and well: what one event
costs in a cloud at rest. Times are the processor's, of `step` alone; memory is of the core with all that it was given.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import resource
import statistics
import sys
import time
from collections.abc import Iterable
from typing import Any

import msgspec

from skerry.core import events as ev
from skerry.core.effects import Effect
from skerry.core.facts import Claim, FactBody, Have, Saw, SlotState, Up
from skerry.core.intent import App, Body, Node, Port, Probe, Release, Service, spec_of
from skerry.core.node import NodeCore
from skerry.core.order import order_for
from skerry.core.records import Document, Fact, Slot

ME = "node/h0"
CLOCK = 1_800_000_000.0
IMAGE = "sha256:" + "ab" * 32
SERVICES = {"web": 6, "api": 3, "job": 1}  # replicas, of each app
SLOTS_AN_APP = sum(SERVICES.values())
REPEATS = 40
BEATS = 2_000


def document(path: str, body: Body, version: int = 1) -> Document:
    digest = hashlib.sha256(f"{path} {version}".encode()).hexdigest()
    return Document(path=path, kind=path.partition("/")[0], epoch=0, version=version, prev="", issued=0.0, expires=1e12,
                    hash=digest, body=body)  # fmt: skip


def node(i: int, zones: int) -> Document:
    body = Node(signing=f"{i:064x}", sealing=f"{i:064x}", wireguard=f"{i:064x}", certificate="", addresses=(f"h{i}:7077",),
                subnet=f"10.{i >> 8 & 255}.{i & 255}.0/24", salt=f"salt of h{i}",
                zone=f"zone-{i % zones}" if zones else "")  # fmt: skip
    return document(f"node/h{i}", body)


def service(name: str, port: int, *, more: str = "") -> Service:
    ports = (Port(target=80, published=port),) if name == "web" else ()
    probe = Probe(kind="tcp", port=80) if name != "job" else None
    return Service(replicas=SERVICES[name], command=(name, more), ports=ports, probe=probe)


class Cloud:
    """The documents and facts of a cloud at rest. Who holds a slot: this node, where its order says so; else anybody."""

    def __init__(self, nodes: int, slots: int, zones: int) -> None:
        self.nodes = [node(i, zones) for i in range(nodes)]
        self.names = [document.path for document in self.nodes]
        self.apps: list[Document] = []
        self.releases: list[Document] = []
        self.holders: dict[Slot, str] = {}
        self.boots = dict.fromkeys(self.names, 1)
        self.n = dict.fromkeys(self.names, 0)
        enrolled = {d.path: d.body for d in self.nodes if isinstance(d.body, Node)}
        for i in range(slots // SLOTS_AN_APP):
            services = {name: service(name, 10_000 + i) for name in SERVICES}
            self.apps.append(document(f"app/a{i}", App(services=services)))
            self.releases.append(document(f"release/a{i}", Release(images=dict.fromkeys(services, IMAGE), fits=1)))
            for name, count in SERVICES.items():
                for index in range(count):
                    slot = Slot(f"a{i}", name, index)
                    self.holders[slot] = holder(slot, enrolled, self.names)

    def spec(self, slot: Slot) -> str:
        app = self.apps[int(slot.app[1:])].body
        assert isinstance(app, App)
        return spec_of(app.services[slot.service], IMAGE, "")

    def fact(self, node: str, kind: str, key: str, body: FactBody | None) -> Fact:
        self.n[node] += 1
        return Fact(
            node=node, kind=kind, key=key, seq=(self.boots[node], self.n[node]), time=CLOCK, body=body, hash="ab"
        )

    def up(self, node: str) -> Fact:
        return self.fact(node, "up", "", Up(root=1, policy=1, heads="", uptime_s=9.0, cpus=8.0, memory_bytes=1 << 34,
                                            free_cpus=4.0, free_memory_bytes=1 << 33))  # fmt: skip

    def claim(self, slot: Slot, node: str) -> Fact:
        return self.fact(node, "claim", str(slot), Claim(spec=self.spec(slot), image=IMAGE, rank=0, reason="rank 0"))

    def state(self, slot: Slot, node: str, *, healthy: bool = True, **more: Any) -> Fact:
        body = SlotState(spec=self.spec(slot), image=IMAGE, state="running", address=address(slot), healthy=healthy,
                         since=CLOCK, versions=(1, 1), **more)  # fmt: skip
        return self.fact(node, "slot", str(slot), body)

    def saw(self, slot: Slot, node: str, witness: str, *, ok: bool = True) -> Fact:
        return self.fact(witness, "saw", f"{slot}@{node}", Saw(spec=self.spec(slot), ok=ok))

    def on_disk(self) -> list[Document | Fact]:
        records: list[Document | Fact] = [*self.nodes, *self.apps, *self.releases]
        records += [self.up(name) for name in self.names if name != ME]
        records += [self.fact(name, "object", IMAGE, Have()) for name in self.names[1:4]]
        for i, (slot, node) in enumerate(self.holders.items()):
            records += [self.claim(slot, node), self.state(slot, node)]
            if slot.service != "job":
                others = [self.names[(i * 7 + k * 13) % len(self.names)] for k in (1, 2)]
                records += [self.saw(slot, node, other) for other in others if other not in (node, ME)]
        return records


def address(slot: Slot) -> str:
    return f"10.9.{int(slot.app[1:]) & 255}.{slot.index + 1}"


def holder(slot: Slot, enrolled: dict[str, Node], names: list[str]) -> str:
    """In small clouds the best of its order. In large ones that takes long: this node where it is the best, else anybody."""
    name = f"{slot.app}.{slot.service}"
    if len(enrolled) <= 100:
        return order_for(name, slot.index, enrolled)[0]
    return _anybody(slot, enrolled, names)


def _anybody(slot: Slot, enrolled: dict[str, Node], names: list[str]) -> str:
    at = int.from_bytes(hashlib.sha256(str(slot).encode()).digest()[:4], "big")
    return names[at % len(names)]


# --- measuring --------------------------------------------------------------------------------------------------------


class Bench:
    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.core = NodeCore()
        self.now = 100.0
        self.figures: dict[str, Any] = {}
        self.effects: list[Effect] = []

    def step(self, event: ev.Event, pass_s: float = 0.001) -> float:
        """Seconds of the processor that it took."""
        self.now += pass_s
        begun = time.process_time()
        self.effects = self.core.step(event, self.now)
        return time.process_time() - begun

    def hear(self, record: Document | Fact, pass_s: float = 0.001) -> float:
        return self.step(ev.RecordAccepted(record=record, source="node/h1"), pass_s)

    def told(self, name: str, times: Iterable[float]) -> None:
        taken = list(times)
        self.figures[f"{name}_ms"] = round(1000 * statistics.median(taken), 3)
        self.figures[f"{name}_ms_worst"] = round(1000 * max(taken), 3)

    def start(self, boot: int = 2) -> None:
        cloud = self.cloud
        records = cloud.on_disk()
        gc.collect()
        before = _rss_bytes()
        begun = time.process_time()
        self.step(ev.Booted(node=ME, boot=boot, cpus=8.0, memory_bytes=1 << 34, clock=CLOCK))
        for record in records:
            self.core.step(ev.RecordAccepted(record=record, from_disk=True), self.now)
        for slot, node in cloud.holders.items():
            if node == ME:
                self.step(ev.ContainerFound(slot=slot, spec=cloud.spec(slot), image=IMAGE, address=address(slot),
                                            container=str(slot), running=True), 0.0)  # fmt: skip
        self.step(ev.ImageReady(image=IMAGE), 0.0)
        self.figures["load_s"] = round(time.process_time() - begun, 3)
        self.figures["decide_all_s"] = round(self.step(ev.Timer()), 3)
        self.figures["from_nothing_s"] = round(self.figures["load_s"] + self.figures["decide_all_s"], 3)
        for slot, node in cloud.holders.items():
            if node == ME:
                self.step(ev.ProbeAnswered(slot=slot, node=ME, spec=cloud.spec(slot), ok=True), 0.0)
        for name in cloud.names[1:11]:
            self.step(ev.LinkUp(peer=name))
        self._first_ups()
        gc.collect()
        self.figures["memory_mb"] = round((_rss_bytes() - before) / 1e6, 1)
        for _ in range(25):
            self.beats(1.0)

    def _first_ups(self, most_s: float = 60.0) -> None:
        """All others are heard of; after `most_s` in a shorter way, or slow versions could not be measured at all."""
        taken: list[float] = []
        for name in self.cloud.names[1:]:
            if sum(taken) < most_s:
                taken.append(self.hear(self.cloud.up(name), 0.0))
            else:
                self.core._s.presence.beat(name, (1, 1), False, self.now)
        self.told("first_up_of_another", taken)
        self.figures["first_ups_s"] = round(sum(taken), 2)

    def beats(self, pass_s: float) -> list[float]:
        """One second of the cloud: everybody says that it lives, and this node's timer goes off."""
        taken = [self.step(ev.Timer(), pass_s)]
        return taken + [self.hear(self.cloud.up(name), 0.0) for name in self.cloud.names[1:]]

    def measure(self) -> None:
        cloud = self.cloud
        beats = self.beats(1.0)
        self.told("up", beats[1:])
        self.told("timer", (self.step(ev.Timer(), 0.5) for _ in range(50)))
        self.beats(0.5)
        others = [(slot, node) for slot, node in cloud.holders.items() if node != ME]
        some = others[:: max(1, len(others) // REPEATS)][:REPEATS]
        self.told("claim", (self.hear(cloud.claim(slot, _next(cloud, node))) for slot, node in some))
        self.told(
            "claim_gone", (self.hear(cloud.fact(_next(cloud, node), "claim", str(slot), None)) for slot, node in some)
        )
        self.told("slot_ill", (self.hear(cloud.state(slot, node, healthy=False)) for slot, node in some))
        self.told("slot_well", (self.hear(cloud.state(slot, node)) for slot, node in some))
        self.told("slot_same", (self.hear(cloud.state(slot, node, restarts=1)) for slot, node in some))
        self.told("saw_no", (self.hear(cloud.saw(slot, node, _next(cloud, node), ok=False)) for slot, node in some))
        self.told("saw_yes", (self.hear(cloud.saw(slot, node, _next(cloud, node))) for slot, node in some))
        own = [slot for slot, node in cloud.holders.items() if node == ME][:REPEATS]
        if own:
            self.told("probe_ill", (self._probe(slot, ok=False) for slot in own))
            self.told("probe_well", (self._probe(slot, ok=True) for slot in own))
        self.beats(0.2)
        self._documents()
        self._hosts()
        cpu = 0.0
        for _ in range(5):
            cpu += sum(self.beats(1.0))
        self.figures["second_at_rest_ms"] = round(1000 * cpu / 5, 2)
        self.figures["max_rss_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, 1)

    def _probe(self, slot: Slot, *, ok: bool) -> float:
        return self.step(ev.ProbeAnswered(slot=slot, node=ME, spec=self.cloud.spec(slot), ok=ok))

    def _documents(self) -> None:
        cloud, taken = self.cloud, []
        for i in range(0, len(cloud.apps), max(1, len(cloud.apps) // 10)):
            services = {name: service(name, 10_000 + i, more="2") for name in SERVICES}
            cloud.apps[i] = document(f"app/a{i}", App(services=services), 2)
            taken.append(self.hear(cloud.apps[i]))
        self.told("app_changed", taken)
        self.beats(0.2)
        self.told("node_changed", [self.hear(document(d.path, msgspec.structs.replace(d.body, labels={"x": "y"}), 2))
                                   for d in cloud.nodes[20:23]])  # fmt: skip

    def _hosts(self) -> None:
        """Hosts that are silent for so long that they count as lost, one after the other, and their return."""
        fall, rise = [], []
        for name in self.cloud.names[11:16]:
            for second in range(41):
                if second == 39:
                    self.step(ev.Timer(), 0.0)  # all else that has become due: alerts are looked at each 5 s
                self.now += 1.0
                for other in self.cloud.names[1:]:
                    if other != name:
                        self.core._s.presence.beat(other, (1, 10_000_000), False, self.now)
            self.core._s.presence.next_s = self.now  # as if its vote had come just now
            fall.append(self.step(ev.Timer(), 0.0))
            self.step(ev.Timer(), 0.1)
            self.hear(self.cloud.up(name), 0.0)
            rise.append(self.hear(self.cloud.up(name), 1.0))
        self.told("lost_host", fall)
        self.told("host_back", rise)


def _next(cloud: Cloud, node: str) -> str:
    names = cloud.names
    return names[1 + (names.index(node) + 1) % (len(names) - 1)]


def _rss_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.deciding", description="What one node's deciding costs.")
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--slots", type=int, default=1000)
    parser.add_argument("--zones", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--start-only", action="store_true", help="only from nothing")
    given = parser.parse_args(arguments)
    bench = Bench(Cloud(given.nodes, given.slots, given.zones))
    bench.start()
    if not given.start_only:
        bench.measure()
    if given.json:
        print(json.dumps({"nodes": given.nodes, "slots": given.slots, "zones": given.zones, **bench.figures}, indent=2))
    else:
        for name, figure in bench.figures.items():
            print(f"{name:32} {figure}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
