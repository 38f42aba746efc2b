"""Operators and their laptops: each signs over what it last saw, some of them long ago, and hands it to whichever host it reaches.

What was accepted is written down: no such document may be lost while one of those that synced it lives (design section 7, sentence
2). And all that was ever signed: nothing else may be believed (sentence 1).
"""

from __future__ import annotations

import msgspec

from skerry.core.intent import Body
from skerry.core.records import Document
from skerry.errors import TrustRefusal
from skerry.sim.lives.host import Host, LiveCluster
from skerry.sim.machine import CLOCK_AT_ZERO
from skerry.sim.signing import DAY_S
from skerry.trust import envelope
from skerry.trust.documents import sign_document


class Seen(msgspec.Struct, frozen=True):
    version: int
    hash: str


class Laptop:
    """`heads`: what it last saw of each path. `off_s`: how much its clock is ahead."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.heads: dict[str, Seen] = {}
        self.off_s = 0.0


class Office:
    """`accepted`: path -> the newest that a host accepted, and who had synced it then."""

    def __init__(self, cluster: LiveCluster, laptops: int) -> None:
        self._cluster = cluster
        self.laptops = [Laptop(f"laptop {n}") for n in range(1, laptops + 1)]
        self.signed: set[str] = set()
        self.images: set[str] = set()  # that a signed release names
        self.accepted: dict[str, tuple[Document, set[str]]] = {}
        self.burnt: set[str] = set()  # machines whose disk is gone
        self.wrong: list[str] = []

    def know(self, document: Document) -> None:
        """One that was there when the cloud began."""
        self.signed.add(document.hash)

    def refresh(self, laptop: Laptop, host: Host) -> None:
        """As every command begins that asks first."""
        laptop.heads = {d.path: Seen(d.version, d.hash) for d in host.trusted.documents()}

    def sign(self, laptop: Laptop, path: str, body: Body, *, epoch: int = 0) -> bytes:
        seen = laptop.heads.get(path)
        operator, now_s = self._cluster.operator, CLOCK_AT_ZERO + self._cluster.clock.now_s + laptop.off_s
        raw = sign_document(
            operator.signer, operator.cloud, path, body, epoch=epoch, version=seen.version + 1 if seen else 1,
            prev=seen.hash if seen else "", issued=now_s, expires=now_s + 365 * DAY_S,
        )  # fmt: skip
        self.signed.add(envelope.parse(raw).hash)
        return raw

    def hand_over(self, laptop: Laptop, host: Host, path: str, body: Body) -> str:
        """Why it was refused, "" if it is accepted. A refusal changes nothing (sentence 7)."""
        raw = self.sign(laptop, path, body)
        before = dict(host.trusted.heads())
        try:
            record = host.door.offer(raw, from_client=True)
        except TrustRefusal as refusal:
            if dict(host.trusted.heads()) != before:
                self.wrong.append(f"{host.path} refused {path} and holds other documents than before")
            return f"{refusal} ({refusal.code})"
        if isinstance(record, Document):
            laptop.heads[path] = Seen(record.version, record.hash)
            self._second(host, raw)
            self._note(record)
        return ""

    def _second(self, host: Host, raw: bytes) -> None:
        """Before a client is told so, another has it on its disk, if there is one that can be asked."""
        wires = self._cluster.wires
        for peer in sorted(host.linked):
            other = self._cluster.host(peer)
            if other.on and not other.captured and wires.reaches(host.path, peer):
                try:
                    other.door.offer(raw)
                except TrustRefusal:
                    continue
                return

    def _note(self, record: Document) -> None:
        before = self.accepted.get(record.path)
        if before is None or record.order > before[0].order:
            self.accepted[record.path] = (record, self._keepers(record))

    def _keepers(self, record: Document) -> set[str]:
        return {h.path for h in self._cluster.hosts() if h.records.by_hash(record.hash) is not None and not h.captured}

    def loses(self, host: Host) -> None:
        """What it has on its disk is about to go. What nobody else has then is lost, and nobody promised otherwise."""
        for path, (record, _) in self.accepted.items():
            self.accepted[path] = (record, self._keepers(record) - {host.path})

    def lost(self, hosts: list[Host]) -> list[str]:
        """Of each path every one of these holds the newest that was accepted, or one that replaced it."""
        found = []
        for path, (record, kept) in self.accepted.items():
            if not kept:
                continue  # nobody that synced it lives
            for host in hosts:
                held = host.trusted.document(path)
                if held is None or held.order < record.order:
                    what = f"version {held.version}" if held is not None else "nothing"
                    found.append(f"{path} {record.version} was accepted, and {host.path} holds {what}")
        return found
