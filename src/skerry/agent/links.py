"""Record links: frames of neighbours to gossip and door, and gossip's wishes to frames.

Gossip is pure and speaks of record ids; the bytes are the door's. What a neighbour did wrong is answered here: a newer
record for an old one, the end of the link for a forged signature.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from skerry.core import gossip as g
from skerry.core import messages as m
from skerry.core.events import Event, LinkDown, LinkUp, PeerReached
from skerry.core.records import Document, Fact
from skerry.errors import BadFormat, SkerryError, TrustRefusal
from skerry.mesh.links import Mesh
from skerry.store.disk import DiskFull
from skerry.trust.accept import FalseSignature, Stale, Twin
from skerry.trust.refusals import RateExceeded, RootAhead

from .complaints import NO_FRAME, TWICE, Complaints
from .copies import Copies
from .door import Door

log = logging.getLogger(__name__)
REACH_TIMEOUT_S = 1.0
TOLD_AGAIN_S = 60.0
SOURCES = 2048  # who is told apart in that time: more than there are hosts
TOLD_EACH = 20  # different ones of one neighbour in that time
REACHES_EACH = 2  # at once for one neighbour: each is a handshake with another one
PAUSE_S = 0.1  # for so long a neighbour that sends too fast isn't read
TURN_RECORDS = 64  # of one frame at once: then others get their turn
TURN_S = 0.0005
LOOKED_UP = 4  # documents that are sought on the disk for a neighbour cost as much as one record that it brings
PUSH_BYTES = m.FRAME_BYTES - 4096


class Links:
    """`note(kind, subject, reason)` writes an event for people; `soon(act)` acts in the loop's next turn;
    `bundle(peer, message)` hears what neighbours say of bundles."""

    def __init__(
        self,
        mesh: Mesh,
        gossip: g.Gossip,
        door: Door,
        *,
        now_s: Callable[[], float],
        wall_s: Callable[[], float],
        post: Callable[[Event], None],
        note: Callable[[str, str, str], Any],
        spawn: Callable[..., None],
        soon: Callable[[Callable[[], None]], object],
        bundle: Callable[[str, m.WantBundle | m.Bundle], None],
    ) -> None:
        self._mesh = mesh
        self._gossip = gossip
        self._door = door
        self._now_s = now_s
        self._wall_s = wall_s
        self._post = post
        self._note = note
        self._spawn = spawn
        self._soon = soon
        self.complaints = Complaints(note, now_s)
        mesh.complain = self.complaints.against
        self.copies = Copies(self.carry, lambda: gossip.neighbours, door.holds)
        self._bundle = bundle
        self._waiting: list[g.Send] = []  # goes out in the loop's next turn, what is for one neighbour in one frame
        self._told: dict[str, dict[str, float]] = {}  # source -> what -> when
        self.forged = (0.0, "")  # the last false signature: when, and who brought it
        self._asked: set[tuple[str, str]] = set()  # (about whom, whom): answers that are awaited
        self._reaching: Counter[str] = Counter()
        self._begun: dict[str, tuple[bytes, int]] = {}  # by neighbour: a frame, and how many of its records are done

    def changed(self, peer: str, up: bool, why: str, goodbye: bool) -> None:
        if up:
            self._post(LinkUp(peer))
            self.carry(self._gossip.link_up(peer, self._now_s()))
        else:
            self._gossip.link_down(peer)
            self._begun.pop(peer, None)
            self._asked = {(about, via) for about, via in self._asked if via != peer}
            self._post(LinkDown(peer, why, goodbye))

    def heard(self, peer: str, data: bytes) -> float:
        """One frame of a neighbour; a malformed one costs it the link.

        Gives 0, or after how many seconds to come again with the same frame: the neighbour's rate is used up, and so it waits.
        """
        begun, done = self._begun.pop(peer, (b"", 0))
        if begun is not data:
            done = 0
        try:
            if not done:
                self._door.trusted.charge_link(peer, self._wall_s())
            message = m.decode(data)
            if isinstance(message, m.WantNamed | m.HoldsAsk):
                self._door.trusted.charge_link(peer, self._wall_s(), len(message.hashes) // LOOKED_UP)
        except RateExceeded as refusal:
            self.tell(refusal, peer)
            return PAUSE_S
        except BadFormat as error:
            self.complaints.against(peer, NO_FRAME, str(error))
            self._close(peer, f"sent a malformed frame: {error}")
            return 0.0
        if isinstance(message, m.Push):
            turn = message.records[done : done + TURN_RECORDS]
            done += (taken := self._offer_some(turn, peer))
            if done < len(message.records):
                self._begun[peer] = (data, done)
                return TURN_S if taken == len(turn) else PAUSE_S
        elif isinstance(message, m.ProbeAsk):
            if self._reaching[peer] < REACHES_EACH:
                self._reaching[peer] += 1
                self._spawn(self._reach_for(peer, message.peer))
        elif isinstance(message, m.ProbeAnswer):
            # Only what was asked: else a neighbour could say of anybody, unasked, that it can't be reached.
            if (message.peer, peer) in self._asked:
                self._asked.discard((message.peer, peer))
                self._post(PeerReached(message.peer, peer, message.ok))
        elif isinstance(message, m.WantBundle | m.Bundle):
            self._bundle(peer, message)
        elif isinstance(message, m.WantNamed):
            self._push(peer, self._door.named(dict.fromkeys(message.hashes)))
        elif isinstance(message, m.HoldsAsk):
            self.copies.asked(peer, message)
        elif isinstance(message, m.HoldsAnswer):
            self.copies.answered(peer, message)
        else:
            self.carry(self._gossip.heard(peer, message, self._now_s()))
        return 0.0

    def carry(self, sends: Iterable[g.Send]) -> None:
        """Send soon: one decision makes several facts, and a frame of its own for each would cost more than it carries."""
        waits = bool(self._waiting)
        self._waiting += sends
        if self._waiting and not waits:
            self._soon(self._send)

    def _send(self) -> None:
        sends, self._waiting = self._waiting, []
        for send in g.grouped(sends):
            if isinstance(send, g.SendRecords):
                self._push(send.peer, self._door.bytes_of(send.ids))
            else:
                self._mesh.send(send.peer, m.encode(send.message))

    def ask_reach(self, peer: str, via: str) -> None:
        self._asked.add((peer, via))
        self._mesh.send(via, m.encode(m.ProbeAsk(peer)))

    def refused(self, refusal: TrustRefusal, source: str) -> None:
        """What to do about a neighbour that brought what trust refuses."""
        if isinstance(refusal, Twin) and isinstance(refusal.record, Fact):
            self.complaints.against(refusal.record.node, TWICE, refusal.id)
        if isinstance(refusal, Stale):
            self.carry(self._gossip.outdated(refusal.id, source, self._now_s()))
            return
        if isinstance(refusal, RootAhead) and refusal.prev:
            self._mesh.send(source, m.encode(m.WantNamed((refusal.prev,))))
        self.tell(refusal, source)
        if isinstance(refusal, FalseSignature):
            self._close(source, str(refusal))

    def tell(self, refusal: SkerryError, source: str) -> None:
        """An event for people: the same one of the same neighbour at most once a minute, and few different ones.

        A flood must not fill the diary, whatever it consists of.
        """
        now_s = self._now_s()
        self.complaints.refused(refusal, source)
        if isinstance(refusal, FalseSignature):
            self.forged = (now_s, f"brought by {source.removeprefix('node/')}: {refusal.what}"[:200])
        if source not in self._told and len(self._told) >= SOURCES:  # strangers come from ever new addresses
            self._told = {
                s: t for s, t in self._told.items() if any(now_s - at_s < TOLD_AGAIN_S for at_s in t.values())
            }
            if len(self._told) >= SOURCES:
                return
        told = self._told.setdefault(source, {})
        for what in [what for what, at_s in told.items() if now_s - at_s >= TOLD_AGAIN_S]:
            del told[what]
        key = refusal.code if isinstance(refusal, RateExceeded) else f"{refusal.code} {refusal.what}"
        if key in told or len(told) > TOLD_EACH:
            return
        told[key] = now_s
        if len(told) > TOLD_EACH:
            self._note("refused", source, f"more than {TOLD_EACH} things within a minute: the rest is not told")
        else:
            self._note("refused", source, f"{refusal} ({refusal.code})")

    def _push(self, peer: str, raws: list[bytes]) -> None:
        """As few frames as the bound on a frame allows."""
        batch: list[bytes] = []
        size = 0
        for raw in raws:
            if batch and (size + len(raw) > PUSH_BYTES or len(batch) == m.PUSH_RECORDS):
                self._mesh.send(peer, m.encode(m.Push(tuple(batch))))
                batch, size = [], 0
            batch.append(raw)
            size += len(raw) + 8
        if batch:
            self._mesh.send(peer, m.encode(m.Push(tuple(batch))))

    def _offer_some(self, raws: Iterable[bytes], peer: str) -> int:
        """As many as the neighbour's rate allows now; gives how many."""
        count = 0
        for raw in raws:
            try:
                self._offer(raw, peer)
            except RateExceeded as refusal:
                self.tell(refusal, peer)
                return count
            count += 1
        return count

    def _offer(self, raw: bytes, peer: str) -> None:
        try:
            record = self._door.offer(raw, peer)
        except RateExceeded as refusal:
            if refusal.of_link:
                raise
            self.refused(refusal, peer)
            return
        except TrustRefusal as refusal:
            self.refused(refusal, peer)
            return
        except DiskFull as full:  # gossip brings it again
            self.tell(full, peer)
            return
        if isinstance(record, Document) and (hash := self._door.lacks(record)):
            self._mesh.send(peer, m.encode(m.WantNamed((hash,))))

    def _close(self, peer: str, why: str) -> None:
        log.warning("closing the link to %s: %s", peer, why)
        self._mesh.cut(peer, why)

    async def _reach_for(self, asker: str, peer: str) -> None:
        try:
            ok = await self._mesh.reach(peer, REACH_TIMEOUT_S)
        finally:
            self._reaching[asker] -= 1
        self._mesh.send(asker, m.encode(m.ProbeAnswer(peer, ok)))

    async def tick(self) -> None:
        """Runs for ever: the background reconciliation."""
        while True:
            await asyncio.sleep(max(0.05, self._gossip.next_s - self._now_s()))
            self.look_round()

    def look_round(self) -> None:
        """Compare with the next neighbour; and ask it for fallbacks that didn't come with the documents that name them."""
        sends = self._gossip.tick(self._now_s())
        self.carry(sends)
        if sends and (hashes := self._door.lacking()):
            self._mesh.send(sends[0].peer, m.encode(m.WantNamed(hashes)))
