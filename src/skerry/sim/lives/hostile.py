"""A captured host of a life: the tricks of sim/captured.py, and those that take wires of a life or a keeper's key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from skerry.core.facts import Alarm, Claim, Machine, SlotState, Up, Wake, Wish
from skerry.core.intent import Node, Pool
from skerry.core.messages import Heads, Ids, Push, Want, encode
from skerry.core.records import MachineSlot
from skerry.core.renting import dealings as deal
from skerry.sim.captured import FAR, Captured
from skerry.sim.documents import image_of
from skerry.sim.lives.host import Host
from skerry.trust import envelope
from skerry.trust.documents import sign_document, sign_fact

if TYPE_CHECKING:
    from skerry.sim.lives.life import Life

EVERY_S = 3.0
FLOOD = 60


class Hostile(Captured):
    """`machine` does what its tricks say, from now on."""

    def __init__(self, life: Life, machine: Host, tricks: Sequence[str]) -> None:
        self.life, self.host = life, machine
        super().__init__(machine, tricks, every_s=EVERY_S, flood=FLOOD)

    def _peers(self) -> list[str]:
        return sorted(self.machine.linked)

    def _to(self, peer: str, data: bytes) -> None:
        self.machine.cluster.wires.frame(self.machine, peer, data)

    def trick_answers_nothing(self) -> None:
        """It takes all that comes and never says a word of what it holds: comparisons with it lead nowhere."""
        self.machine.mute = True

    def trick_babbles(self) -> None:
        """What is no message, and messages that say that it has, and wants, everything."""
        chance = self.machine.cluster.chance
        for peer in self._peers():
            self._to(peer, chance.randbytes(chance.choice([1, 40, 4000])))
            self._to(peer, encode(Heads(chance.randbytes(16))))
            lists = {f"{peer}|claim|shop.web/{n}": f"{n:016x}" for n in range(200)}
            self._to(peer, encode(Ids(chance.randrange(64), "", "", lists)))
            self._to(peer, encode(Want(tuple(lists))))

    def trick_blames(self) -> None:
        """False signatures under another's name: whoever passes them on would lose its links."""
        now_s = self.machine.wall_s()
        for node in self._others()[:3]:
            body = Claim(spec="0" * 16, image=image_of("theirs"), rank=0, reason="not said by it")
            raw = sign_fact(self.machine.signer, self._cloud, node, "claim", "shop.web/0", (FAR, 1), now_s, body)
            held = self.machine.trusted.nodes.get(node)
            if held is not None and isinstance(held.body, Node):
                parsed = envelope.parse(raw)
                blamed = msgspec.structs.replace(parsed.signatures[0], keyid=held.body.signing)
                self._throw(msgspec.json.encode(msgspec.structs.replace(parsed, signatures=(blamed,))))

    def trick_equivocates(self) -> None:
        """One number, and another story for each neighbour."""
        self._n += 1
        seq = (self.machine.boots, FAR + self._n)
        for slot, want in self._wants()[:6]:
            for index, peer in enumerate(self._peers()):
                body = (
                    Claim(spec=want.spec, image=want.image, rank=index, reason=f"said to {peer}") if index % 2 else None
                )
                raw = sign_fact(
                    self.machine.signer, self._cloud, self.machine.path, "claim", str(slot), seq, self._clock(), body
                )
                self._to(peer, encode(Push((raw,))))

    def trick_goes_back(self) -> None:
        """Lives and numbers of its own that are long over, and ones that are far ahead."""
        now_s = self._clock()
        for seq in ((0, 1), (1, 1), (FAR * FAR, FAR * FAR)):
            up = Up(
                root=0, policy=0, heads="", uptime_s=0.0, cpus=0.0, memory_bytes=0, free_cpus=0.0, free_memory_bytes=0
            )
            self._throw(sign_fact(self.machine.signer, self._cloud, self.machine.path, "up", "", seq, now_s, up))

    def trick_has_all_data(self) -> None:
        """The data of every slot is here, and nowhere else."""
        for slot, want in self._wants():
            self._say("slot", str(slot), SlotState(spec=want.spec, image=want.image, state="waiting", data=True))

    def trick_knocks(self) -> None:
        """Somebody waits here for every service; and all is wrong with it."""
        for name in sorted({f"{slot.app}.{slot.service}" for slot, _ in self._wants()}):
            self._say("wake", name, Wake(since=1.0))
        for index in range(20):
            self._say("alarm", f"disk:{index}", Alarm(since=1.0, figure=1.0, limit=0.0, why="it is full"))

    def trick_wishes(self) -> None:
        """As many as one can say, or none at all."""
        chance = self.machine.cluster.chance
        for name in sorted({f"{slot.app}.{slot.service}" for slot, _ in self._wants()}):
            self._say("wish", name, Wish(replicas=chance.choice([0, 1, 9, 1000]), step=chance.choice([0, 10**12])))

    def trick_rents(self) -> None:
        """As a keeper: rents, gives back what others use, claims all machines, and enrols beyond its pool and with hosts' names."""
        rented = self.life.rented
        if rented is None or self.machine.path not in rented.keepers:
            return
        cluster, chance = self.machine.cluster, self.machine.cluster.chance
        slot = MachineSlot("burst", chance.randrange(5))
        cluster.happened(
            self.machine, deal.CreateMachine(slot=slot, size="small", region="", token_s=60.0, reason="I like it")
        )
        for droplet in rented.provider.living()[:1]:
            cluster.happened(
                self.machine, deal.DestroyMachine(pool="burst", id=droplet.id, name=droplet.name, reason="gone")
            )
        for index in range(4):
            self._say("machine", f"burst/{index}", Machine(state="joined", id="1", token="0" * 64))
        held = self.machine.trusted.document("pool/burst")
        if held is not None and isinstance(held.body, Pool):
            self._enrol_all(held.body)

    def _enrol_all(self, of: Pool) -> None:
        from skerry.sim.lives.renting import keeper_of

        own, now_s = self.machine.trusted.nodes[self.machine.path].body, self.machine.wall_s()
        assert isinstance(own, Node)
        key = keeper_of(self.machine.path)
        for path in (f"node/burst/{of.max}", "node/burst/999", "node/vps-1", "node/vps-99"):
            held = self.machine.trusted.document(path)
            body = msgspec.structs.replace(own, weight=10_000, subnet=f"10.78.{of.max}.0/24")
            raw = sign_document(
                key, self._cloud, path, body, version=held.version + 1 if held is not None else 1,
                prev=held.hash if held is not None else "", issued=now_s, expires=now_s + 1e6,
            )  # fmt: skip
            self._throw(raw)
