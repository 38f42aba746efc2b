"""Design section 7, rule 3: lies that a captured host may sign, within its own facts, over its own links.

They may cost the cloud the host's own share of slots: those for which the order names it first. Nothing else may change.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from attacks.captured import Link
from attacks.conftest import HONEST, REPLICAS, Scene
from skerry.core import messages as m
from skerry.core.facts import Claim, Decline, FactBody, Have, Lost, Saw, SlotState, Verdict
from skerry.core.records import Slot

SECONDS = 1.2  # long enough for whatever the lie might lead to: claims go by half seconds


class Liar:
    """A link to each honest host, an `up` each half second, as of a host that is well."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.links: dict[str, Link] = {}
        self.said: set[tuple[str, str]] = set()
        self._beats: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        for name in HONEST:
            self.links[name] = await self.scene.thief.link(name)
        self._beats = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            await self.push(self.scene.thief.up())

    async def push(self, *raws: bytes) -> None:
        for link in self.links.values():
            await link.send(*raws)

    async def tell(self, kind: str, key: str, body: FactBody | None, seq: tuple[int, int] = (0, 0)) -> None:
        self.said.add((kind, key))
        await self.push(self.scene.thief.fact(kind, key, body, seq=seq))

    async def end(self) -> None:
        """Takes all back, so that the next lie begins with a clean slate."""
        assert self._beats is not None
        self._beats.cancel()
        for kind, key in self.said:
            await self.push(self.scene.thief.fact(kind, key, None))
        for link in self.links.values():
            await link.settle()
            await link.close()


@contextmanager
def lying(scene: Scene) -> Iterator[Liar]:
    liar = Liar(scene)
    scene.aside.run(liar.begin())
    scene.aside.wait(
        "a living host", lambda: all("node/vps-3" in scene.cloud.agents[n].mesh.neighbours() for n in HONEST)
    )
    try:
        yield liar
    finally:
        scene.aside.run(liar.end())


def slots() -> list[Slot]:
    return [Slot("web", "web", index) for index in range(REPLICAS)]


def share(scene: Scene) -> set[str]:
    """The slots for which the order names the captured host before the others."""
    core = scene.cloud.agents["vps-1"].loop.core
    explained = {slot: scene.aside.look(lambda slot=slot: core.explain(slot)) for slot in slots()}
    return {str(slot) for slot, e in explained.items() if min(e.order, key=lambda a: a.rank).node == "vps-3"}


def run_here(scene: Scene) -> dict[str, str]:
    """slot -> container of the honest hosts."""
    found = {}
    for name in HONEST:
        for id, slot in scene.aside.look(scene.cloud.agents[name].containers.running).items():
            found[slot] = id
    return found


def spec_of_web(scene: Scene) -> str:
    rows = scene.aside.look(scene.cloud.agents["vps-1"].loop.core.rows)
    (spec,) = {row.version for row in rows}
    core = scene.cloud.agents["vps-1"].loop.core
    return scene.aside.look(lambda: core._s.newest_spec(slots()[0])) or spec


def watch(scene: Scene, seconds: float = SECONDS) -> None:
    """Nothing may change at any time while the lie stands; looked at often, for a limited time."""
    before = scene.world.look()
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        assert scene.world.look() == before
        time.sleep(0.1)


def test_who_claims_every_slot_and_calls_all_healthy_gets_no_more_than_its_share(scene: Scene) -> None:
    before, own = run_here(scene), share(scene)
    spec = spec_of_web(scene)
    with lying(scene) as liar:
        for slot in slots():
            claim = Claim(spec=spec, image=scene.image, rank=0, reason="all mine")
            address = f"10.77.4.{10 + slot.index}"
            state = SlotState(spec=spec, image=scene.image, state="running", address=address, healthy=True)
            scene.aside.run(liar.tell("claim", str(slot), claim))
            scene.aside.run(liar.tell("slot", str(slot), state))
        until_s = time.monotonic() + SECONDS
        while time.monotonic() < until_s:
            kept = run_here(scene)
            assert {slot: id for slot, id in before.items() if slot not in own}.items() <= kept.items()
            time.sleep(0.1)
        for name in HONEST:
            ports = scene.aside.look(lambda name=name: list(scene.cloud.agents[name].network.ports))
            targets = [t for _, some in ports for t in some]
            assert len([t for t in targets if t.node == "node/vps-3"]) <= len(own)
            assert len([t for t in targets if t.node != "node/vps-3"]) >= REPLICAS - len(own)
    scene.calm()


@pytest.mark.parametrize(
    "lie",
    ["lost", "verdict", "decline", "data", "saw", "images", "room", "withdraw"],
)
def test_a_lie_about_itself_changes_nothing_on_others(scene: Scene, lie: str) -> None:
    spec = spec_of_web(scene)
    with lying(scene) as liar:

        async def tell() -> None:
            if lie == "lost":
                for name in HONEST:
                    await liar.tell("lost", f"node/{name}", Lost(boot=2**53, beat=2**53, why="gone"))
                    for link in liar.links.values():
                        await link.stream.send(m.encode(m.ProbeAnswer(f"node/{name}", False)))
            elif lie == "verdict":
                everywhere = {f"node/{name}": "it failed" for name in (*HONEST, "vps-3")}
                await liar.tell("verdict", "web.web", Verdict(spec=spec, evidence=everywhere))
            elif lie == "decline":
                for slot in slots():
                    await liar.tell("decline", str(slot), Decline(spec=spec, reason="it failed", failed=True))
            elif lie == "data":
                for slot in slots():
                    state = SlotState(spec=spec, image=scene.image, state="exited", data=True)
                    await liar.tell("slot", str(slot), state)
                    await liar.tell("decline", str(slot), Decline(spec=spec, reason="it failed", failed=True))
            elif lie == "saw":
                for slot in slots():
                    for name in HONEST:
                        await liar.tell("saw", f"{slot}@node/{name}", Saw(spec=spec, ok=False, detail="dead"))
            elif lie == "images":
                for image in (scene.image, *(f"sha256:{n:064x}" for n in range(40))):
                    await liar.tell("object", image, Have())
            elif lie == "room":
                up = scene.thief.up(cpus=4096.0, memory_bytes=1 << 50, free_cpus=4096.0, free_memory_bytes=1 << 50)
                await liar.push(up)
            else:
                for slot in slots():
                    await liar.tell("claim", str(slot), None)
                    await liar.tell("slot", str(slot), None)

        scene.aside.run(tell())
        watch(scene)
    scene.calm()


def test_absurd_numbers_outbid_nobody_but_the_host_itself(scene: Scene) -> None:
    """The highest sequence that there can be: from then on its own facts of this key are old, and nobody else's."""
    highest = (2**53, 2**53)
    with lying(scene) as liar:
        scene.aside.run(liar.tell("decline", "other.other/0", Decline(spec="0" * 16, reason="x"), seq=highest))
        too_high = scene.thief.fact("decline", "other.other/1", None, seq=(2**53 + 1, 1))
        scene.aside.run(liar.push(too_high))
        watch(scene, 1.0)
        later = scene.thief.fact("decline", "other.other/0", None)
        scene.aside.run(liar.push(later))
        ids = scene.aside.look(lambda: scene.cloud.agents["vps-1"].trusted.fact_heads())
        assert ids["node/vps-3|decline|other.other/0"][:2] == highest and "node/vps-3|decline|other.other/1" not in ids
        liar.said.clear()
    scene.calm()


def test_facts_that_come_and_go_fill_no_memory(scene: Scene) -> None:
    """A new key each time, withdrawn at once: what is forgotten by trust is forgotten by core, store and gossip too."""
    agent = scene.cloud.agents["vps-1"]
    with lying(scene) as liar:

        async def churn() -> None:
            for n in range(120):
                await liar.push(
                    scene.thief.fact("decline", f"churn{n}.web/0", Decline(spec="0" * 16, reason="x")),
                    scene.thief.fact("decline", f"churn{n}.web/0", None),
                )

        scene.aside.run(churn())
        author = agent.trusted._authors["node/vps-3"]
        for id in [id for id in author.marks if "churn" in id][:50]:
            scene.aside.look(lambda id=id: agent.trusted._authors["node/vps-3"].marks[id])
        assert scene.aside.look(lambda: len(author.marks)) <= 1000
        scene.aside.wait(
            "no more in core than in trust",
            lambda: (
                sum(place[0] == "node/vps-3" for place in agent.loop.core._s.known._orders) <= len(author.marks) + 1
            ),
        )
    scene.calm()


def test_asked_to_knock_at_others_an_honest_host_is_no_battering_ram(scene: Scene) -> None:
    """Each ProbeAsk is a handshake with another host: few at once, whoever asks for how many."""
    agent = scene.cloud.agents["vps-1"]
    reached: list[str] = []
    real = agent.mesh.reach

    async def counted(peer: str, timeout_s: float) -> bool:
        reached.append(peer)
        await asyncio.sleep(0.5)
        return await real(peer, timeout_s)

    agent.mesh.reach = counted  # type: ignore[method-assign]
    try:
        with lying(scene) as liar:

            async def ask() -> None:
                for _ in range(500):
                    await liar.links["vps-1"].stream.send(m.encode(m.ProbeAsk("node/vps-2")))
                await liar.links["vps-1"].settle()

            scene.aside.run(ask())
            assert 1 <= len(reached) <= 4
    finally:
        agent.mesh.reach = real  # type: ignore[method-assign]
    scene.calm()
