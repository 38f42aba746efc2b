"""A captured node: real keys, real links, and a mind of its own. What it signs about itself is valid, and none of it is true.

Each trick is one method, played again and again; which of them it plays is the caller's to say. It still listens, so that
it knows what the others want; it carries out nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from skerry.core import effects as do
from skerry.core import events as ev
from skerry.core.facts import Claim, Decline, FactBody, Have, Home, Lost, Saw, SlotState, Up, Verdict
from skerry.core.intent import App, Node, Policy, Release
from skerry.core.messages import Push, encode
from skerry.core.records import Document, Slot
from skerry.sim.documents import image_of
from skerry.sim.still import Container
from skerry.sim.whole import WholeMachine
from skerry.trust.documents import sign_document, sign_fact

if TYPE_CHECKING:
    from skerry.core.versions import Want

EVERY_S = 1.0
REPLAYED = 40  # old records that it throws in at once
FLOOD = 100  # facts at once: five times what an author may in a second
FAR = 10**6


class Captured:
    """Takes `machine` over, from now on. `tricks`: names of methods below."""

    def __init__(
        self, machine: WholeMachine, tricks: Sequence[str], *, every_s: float = EVERY_S, flood: int = FLOOD
    ) -> None:
        assert machine.core is not None
        self.every_s, self.flood = every_s, flood
        self.machine, self.mind, self.tricks = machine, machine.core, tuple(tricks)
        self._heard: list[bytes] = []
        self._n = 0
        machine.captured = True
        machine.mute = "withholds" in tricks
        machine.step = self._listen  # type: ignore[method-assign]
        machine.heard = self._hear  # type: ignore[method-assign]
        self._play()

    @classmethod
    def all_tricks(cls) -> tuple[str, ...]:
        return tuple(sorted(name.removeprefix("trick_") for name in dir(cls) if name.startswith("trick_")))

    # --- listening -----------------------------------------------------------------------------------------------------

    def _listen(self, event: ev.Event) -> None:
        for effect in self.mind.step(event, self.machine.cluster.clock.now_s):
            if isinstance(effect, do.Peers):
                self.machine._do_peers(effect)

    def _hear(self, peer: str, data: bytes) -> None:
        message = msgspec.msgpack.decode(data)
        if message[0] == "push":
            self._heard += message[1]
        self.machine.links.heard(peer, data)

    # --- lying ---------------------------------------------------------------------------------------------------------

    def _play(self) -> None:
        self._say("up", "", Up(root=1, policy=1, heads="0" * 64, uptime_s=1e6, cpus=64, memory_bytes=1 << 40, free_cpus=64,
                               free_memory_bytes=1 << 40, clock=self._clock()))  # fmt: skip
        for trick in self.tricks:
            getattr(self, f"trick_{trick}")()
        self.machine.soon(self.every_s, self._play)

    def _clock(self) -> float:
        return self.machine.wall_s() + (1e6 if "false_clock" in self.tricks else 0.0)

    def _say(self, kind: str, key: str, body: FactBody | None) -> None:
        """A valid fact about itself, handed to every neighbour."""
        self._n += 1
        seq = (self.machine.boots, FAR + self._n)
        self._throw(sign_fact(self.machine.signer, self._cloud, self.machine.path, kind, key, seq, self._clock(), body))

    def _throw(self, *raws: bytes) -> None:
        for peer in sorted(self.machine.linked):
            self.machine.cluster.wires.frame(self.machine, peer, encode(Push(tuple(raws))))

    @property
    def _cloud(self) -> str:
        return self.machine.operator.cloud

    def _wants(self) -> list[tuple[Slot, Want]]:
        slots = [Slot.parse(row.slot) for row in self.mind.rows()]
        return [(slot, want) for slot in slots if (want := self.mind._s.want(slot)) is not None]

    def _others(self) -> list[str]:
        return [path for path in self.machine.cluster.machines if path != self.machine.path]

    def _address(self) -> str:
        return f"10.77.{int(self.machine.path.rpartition('-')[2])}.66"

    def trick_claims_all(self) -> None:
        """Every slot is mine, runs, is healthy, and its data is here."""
        for slot, want in self._wants():
            self._say("claim", str(slot), Claim(spec=want.spec, image=want.image, rank=0, reason="mine"))
            state = SlotState(
                spec=want.spec, image=want.image, state="running", address=self._address(), healthy=True, data=True
            )
            self._say("slot", str(slot), state)

    def trick_serves_data(self) -> None:
        """The data of every slot that has some is here, it says, and what it says it runs answers all who probe it."""
        for slot, want in self._wants():
            if not want.service.volumes:
                continue
            self._say("claim", str(slot), Claim(spec=want.spec, image=want.image, rank=0, reason="its data is here"))
            state = SlotState(
                spec=want.spec, image=want.image, state="running", address=self._address(), healthy=True, data=True
            )
            self._say("slot", str(slot), state)
            for node in self._others():
                self._say("saw", f"{slot}@{node}", Saw(spec=want.spec, ok=False, detail="no data there"))
            self._say("home", str(slot), Home(node=self.machine.path))
            fake = Container(id=f"fake of {slot}", slot=slot, spec=want.spec, image=want.image, address=self._address())
            self.machine.containers[fake.id] = fake

    def trick_grabs_and_drops(self) -> None:
        held = self._n // 8 % 2 == 0
        for slot, want in self._wants():
            claim = Claim(spec=want.spec, image=want.image, rank=0, reason="mine, for a moment") if held else None
            self._say("claim", str(slot), claim)

    def trick_votes_all_lost(self) -> None:
        for node in self._others():
            self._say("lost", node, Lost(boot=FAR, beat=FAR, why="gone"))

    def trick_condemns(self) -> None:
        """All versions failed, on me and on everybody."""
        for slot, want in self._wants():
            self._say("decline", str(slot), Decline(spec=want.spec, reason="it failed here", failed=True))
            evidence = dict.fromkeys((self.machine.path, *self._others()), "it failed")
            self._say(
                "verdict",
                f"{slot.app}.{slot.service}",
                Verdict(spec=want.spec, evidence=dict(list(evidence.items())[:8])),
            )

    def trick_sees_all_ill(self) -> None:
        for slot, want in self._wants():
            for node in self._others():
                self._say("saw", f"{slot}@{node}", Saw(spec=want.spec, ok=False, detail="dead"))

    def trick_has_all_images(self) -> None:
        """And gives none."""
        for image in sorted({want.image for _, want in self._wants()}):
            self._say("object", image, Have())

    def trick_replays(self) -> None:
        chance = self.machine.cluster.chance
        if self._heard:
            self._throw(*(chance.choice(self._heard) for _ in range(min(REPLAYED, len(self._heard)))))
            self._heard = self._heard[-5000:]

    def trick_floods(self) -> None:
        for index in range(self.flood):
            decline = Decline(spec=f"{self._n}", reason="x" * 400, failed=True)
            self._say("decline", f"shop.web/{(self._n + index) % 999}", decline)

    def trick_forges(self) -> None:
        """Intent that it has no role for, and facts of others, all with valid signatures of its own key."""
        signer, now_s = self.machine.signer, self.machine.wall_s()
        for held in list(self.machine.trusted.documents()):
            body = _worse(held, signer.key)
            if body is not None:
                forged = sign_document(
                    signer, self._cloud, held.path, body, epoch=held.epoch, version=held.version + 1, prev=held.hash,
                    issued=now_s, expires=now_s + 1e6,
                )  # fmt: skip
                self._throw(forged)
        for node in self._others():
            lie = Claim(spec="0" * 16, image=image_of("theirs"), rank=0, reason="not said by it")
            self._throw(sign_fact(signer, self._cloud, node, "claim", "shop.web/0", (FAR, 1), now_s, lie))

    def trick_withholds(self) -> None:
        """Passes on nothing of others (see `mute`), and says of everybody that it can be reached."""

    def trick_false_clock(self) -> None:
        """Its clock is eleven days ahead (see `_clock`)."""


def _worse(document: Document, key: str) -> App | Release | Node | Policy | None:
    body = document.body
    if isinstance(body, App):
        return msgspec.structs.replace(body, deleted=True, services={})
    if isinstance(body, Release):
        return msgspec.structs.replace(body, images=dict.fromkeys(body.images, image_of("theirs")))
    if isinstance(body, Node):
        return msgspec.structs.replace(body, signing=key, weight=10_000)
    if isinstance(body, Policy):
        return msgspec.structs.replace(
            body, roles=tuple(msgspec.structs.replace(r, keys=(*r.keys, key)) for r in body.roles)
        )
    return None
