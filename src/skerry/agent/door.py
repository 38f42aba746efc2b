"""The door: every record enters here, whoever brings it: a neighbour, an operator, our own disk, or ourselves.

judge (trust) → keep (store) → believe (trust) → tell (core, gossip), in this order, so that nothing is acted on that
was not verified, and nothing is told to others before it is on disk.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable

from skerry.core.events import Event, RecordAccepted
from skerry.core.facts import Up
from skerry.core.gossip import Gossip, Send, token
from skerry.core.records import Document, Fact, Record
from skerry.errors import TrustRefusal
from skerry.store.records import RecordStore
from skerry.trust.accept import AlreadyHeld, NotYet, Trusted

log = logging.getLogger(__name__)
WAITING_MAX = (
    512  # records of keys, roles or versions that we don't know yet; the oldest is dropped, gossip brings it again
)
SYNCED_FACTS = {"claim"}  # a claim counts only once it is on disk; so does all intent


class Door:
    """`wall_s` reads the wall clock, `post` tells core. Not thread-safe: it lives on the agent's loop."""

    def __init__(
        self,
        trusted: Trusted,
        records: RecordStore,
        gossip: Gossip,
        *,
        wall_s: Callable[[], float],
        now_s: Callable[[], float],
        post: Callable[[Event], None],
        send: Callable[[Iterable[Send]], None],
    ) -> None:
        self.trusted = trusted
        self._records = records
        self._gossip = gossip
        self._wall_s = wall_s
        self._now_s = now_s
        self._post = post
        self._send = send
        self._live: dict[str, bytes] = {}  # `up` facts change each second: they never touch the disk
        self._waiting: OrderedDict[bytes, str] = OrderedDict()
        self.refused: Callable[[TrustRefusal, str], None] = lambda refusal, source: None

    def load(self) -> None:
        """At start: what our own disk holds, judged again; what no longer holds is dropped with a word in the log."""
        todo = list(self._records.all())
        while todo:
            left = []
            for id, raw in todo:
                try:
                    record = self.trusted.load(raw)
                except NotYet:
                    left.append((id, raw))
                except TrustRefusal as refusal:
                    log.warning("dropped from disk: %s: %s", id, refusal)
                    self._records.drop(id)
                else:
                    self._told(record, "", len(raw), from_disk=True)
            if len(left) == len(todo):
                for id, _ in left:
                    log.warning("dropped from disk: %s: nothing here covers it any more", id)
                    self._records.drop(id)
                break
            todo = left
        for hash, raw in self._records.kept():
            record = self.trusted.judge_named(raw, hash)
            self._post(RecordAccepted(record, "", True))

    def offer(self, raw: bytes, source: str = "", *, from_client: bool = False) -> Record | None:
        """Take one record in. None: it is held already, or waits for what it rests on.

        Raises TrustRefusal: Stale and FalseSignature are for the caller to answer, the rest is for its author.
        """
        try:
            record = self.trusted.judge(raw, now_s=self._wall_s(), source=source, from_client=from_client)
        except AlreadyHeld:
            return None
        except NotYet:
            if from_client:
                raise
            self._waiting[raw] = source
            if len(self._waiting) > WAITING_MAX:
                self._waiting.popitem(last=False)
            return None
        self._keep(record, raw, source)
        if isinstance(record, Document) and record.kind in ("root", "policy", "node"):
            self._try_waiting()
        return record

    def offer_named(self, raw: bytes, hash: str) -> None:
        """A document that isn't the newest, but that a newest one names by hash as the one to fall back to."""
        record = self.trusted.judge_named(raw, hash)
        self._records.keep(hash, raw)
        self._post(RecordAccepted(record, ""))

    def bytes_of(self, ids: Iterable[str]) -> list[bytes]:
        """The exact bytes of these records, as far as they are held."""
        found = (self._live.get(id) or self._records.get(id) for id in ids)
        return [raw for raw in found if raw is not None]

    def by_hash(self, hash: str) -> bytes | None:
        return self._records.by_hash(hash)

    def _keep(self, record: Record, raw: bytes, source: str) -> None:
        if isinstance(record, Fact) and record.kind == "up":
            self._live[record.id] = raw
        else:
            sync = isinstance(record, Document) or record.kind in SYNCED_FACTS
            self._records.put(record.id, raw, token=token(record), sync=sync)
        outcome = self.trusted.commit(record, raw, self._wall_s())
        for id, evidence in outcome.evidence:
            self._records.evidence(id, evidence)
        for hash, old in outcome.named:
            self._records.keep(hash, old)
        for node in outcome.expelled:
            self._records.drop_author(node)
            self._forget_author(node)
        self._told(record, source, len(raw))

    def _told(self, record: Record, source: str, size_bytes: int, from_disk: bool = False) -> None:
        self._send(
            self._gossip.accepted(
                record.id, token(record), source, self._now_s(), record.kind, size_bytes=size_bytes, mark=_mark(record)
            )
        )
        self._post(RecordAccepted(record, source, from_disk))

    def _try_waiting(self) -> None:
        waiting, self._waiting = self._waiting, OrderedDict()
        for raw, source in waiting.items():
            try:
                self.offer(raw, source)
            except TrustRefusal as refusal:
                self.refused(refusal, source)


def _mark(record: Record) -> str:
    """What makes an `up` worth forwarding at once: another life, another root or policy."""
    if not isinstance(record.body, Up) or not isinstance(record, Fact):
        return ""
    return f"{record.seq[0]}/{record.body.root}/{record.body.policy}"
