"""The door: every record enters here, whoever brings it: a neighbour, an operator, our own disk, or ourselves.

judge (trust) → keep (store) → believe (trust) → tell (gossip, core), in this order, so that nothing is acted on that
was not verified, and nothing is told to others before it is on disk.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence

from skerry.core.events import Event, FactForgotten, RecordAccepted
from skerry.core.facts import SlotState, Up
from skerry.core.gossip import Gossip, Send, token
from skerry.core.messages import PUSH_RECORDS
from skerry.core.records import Document, Fact, Record, is_direct
from skerry.errors import TrustRefusal
from skerry.store.disk import DiskFull
from skerry.store.records import RecordStore
from skerry.trust import documents, drafts, envelope
from skerry.trust.accept import AlreadyHeld, FalseSignature, NotYet, Stale, Trusted, Twin
from skerry.trust.holdings import fallback_of
from skerry.trust.refusals import RateExceeded

log = logging.getLogger(__name__)
WAITING_EACH = (
    64  # of one neighbour, of keys, roles or versions that we don't know yet; the oldest goes, and comes again
)
SYNCED_FACTS = {"claim", "machine", "rent"}  # our own: these count only once they are on disk; so does all intent
ROOT_OF_ALL = {"root", "policy", "node"}  # without these no neighbour is known, and so nothing can be asked again


class Door:
    """`wall_s` reads the wall clock, `now_s` the monotonic one; `post` tells core, `send` carries out gossip's wishes,
    `report(kind, subject, reason)` writes an event for people.

    Lives on the agent's loop; not for several threads.
    """

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
        report: Callable[[str, str, str], object],
    ) -> None:
        self.trusted = trusted
        self._records = records
        self._gossip = gossip
        self._wall_s = wall_s
        self._now_s = now_s
        self._post = post
        self._send = send
        self._report = report
        self._live: dict[str, bytes] = {}  # `up` facts: new each second, worth nothing after a restart, never on disk
        self._waiting: dict[str, OrderedDict[bytes, None]] = {}  # by neighbour: none may push out another's
        self._clocks: dict[str, tuple[float, float]] = {}  # node -> its clock, and when we heard it (monotonic)
        self.members_changed = True  # since somebody has last asked for `members`

    def load(self) -> None:
        """At start: what our own disk holds, judged again; what no longer holds is dropped with a word in the log."""
        self._load([*(raw for _, raw in self._records.kept()), *(raw for _, raw in self._records.all())])

    def load_spare(self, raws: Iterable[bytes]) -> None:
        """What `members` gave in an earlier life, where the disk has lost it; everything else neighbours give back."""
        for record, raw in self._load(list(raws)):
            if self.trusted.heads().get(record.id, ("", "", ""))[2] == record.hash:
                self._put(record, raw)
            else:
                self._records.keep(record.hash, raw)  # an earlier root of the chain

    def _load(self, todo: list[bytes]) -> list[tuple[Record, bytes]]:
        loaded: list[tuple[Record, bytes]] = []
        while todo:
            left = []
            for raw in todo:
                try:
                    record = self.trusted.load(raw)
                except NotYet:
                    left.append(raw)
                except Stale:
                    self._take_named(raw, from_disk=True)
                except TrustRefusal as refusal:
                    log.warning("left on disk: %s", refusal)
                else:
                    loaded.append((record, raw))
                    self._tell(record, "", len(raw), from_disk=True)
            if len(left) == len(todo):
                log.warning("%s records on disk rest on what isn't there; left there", len(left))
                break
            todo = left
        return loaded

    def offer(
        self,
        raw: bytes,
        source: str = "",
        *,
        from_client: bool = False,
        binding: bool = False,
        to: tuple[str, ...] = (),
    ) -> Record | None:
        """Take one record in. None: it was held already. `binding`: our own word, which nobody may hear before it is on disk.
        `to`: these neighbours hear of it at once; (): all.

        Raises TrustRefusal, and for intent and what binds us DiskFull: it is not accepted then, and comes again. After a NotYet from a
        neighbour it is kept aside and tried again when root, policy or an enrolment changes.
        """
        try:
            record = self.trusted.judge(
                raw, now_s=self._wall_s(), source=source, from_client=from_client, neighbours_s=self.neighbours_s()
            )
        except AlreadyHeld:
            self._note_sender_has(raw, source)
            return None
        except Twin as twin:
            # Of a fact none is kept: a host that signs one number twice could fill our disk with its own proofs.
            if isinstance(twin.record, Document):
                self._records.evidence(twin.record.id, raw)
                self._report_twins(twin.record)
            raise
        except Stale:
            if self._take_named(raw):
                return None
            raise
        except NotYet:
            if source:
                self._put_aside(raw, source)
            raise
        except (RateExceeded, FalseSignature):  # passing; and what is false says nothing of the record that it names
            raise
        except TrustRefusal:
            self._not_again(raw)
            raise
        self._keep(record, raw, source, binding=binding, to=to)
        if isinstance(record, Document) and record.kind in ROOT_OF_ALL:
            self.members_changed = True
            self._try_waiting()
        return record

    def offer_step(self, raws: Sequence[bytes]) -> list[Record]:
        """From a client: all of these, in this order, or none of them. Raises TrustRefusal, with nothing changed."""
        drafts.rehearse(self.trusted, raws, now_s=self._wall_s(), neighbours_s=self.neighbours_s())
        return [record for raw in raws if (record := self.offer(raw, from_client=True)) is not None]

    def members(self) -> list[bytes]:
        """The chain of roots, policy and all enrolments, in the order in which they rest on one another."""
        self.members_changed = False
        ids = [id for id in self.trusted.heads() if id.partition("/")[0] in ROOT_OF_ALL]
        order = {"root": 0, "policy": 1}
        raws = [
            raw for id in sorted(ids, key=lambda id: order.get(id, 2)) if (raw := self._records.get(id)) is not None
        ]
        return [*(raw for _, raw in self._records.kept()), *raws]

    def bytes_of(self, ids: Iterable[str]) -> list[bytes]:
        """The exact bytes of these records, as far as they are held and may be shown."""
        shown = (id for id in ids if not self.trusted.lapsed(id))
        return [raw for id in shown if (raw := self._live.get(id) or self._records.get(id)) is not None]

    def named(self, hashes: Iterable[str]) -> list[bytes]:
        """Documents by the hash of their payload: fallbacks and earlier roots."""
        return [raw for hash in hashes if (raw := self._records.by_hash(hash)) is not None]

    def holds(self, hash: str) -> bool:
        """Whether the document with this payload hash is on our disk."""
        return self._records.by_hash(hash) is not None

    def newer_than(self, theirs: Mapping[str, tuple[int, int]]) -> list[bytes]:
        """All documents that are newer here than in `theirs` (path -> epoch, version), in the order in which they rest on one
        another: the roots one by one, the policy, hosts, the rest.
        """
        roots: list[bytes] = []
        root = self.trusted.root
        while root is not None and root.version > theirs.get("root", (0, 0))[1]:
            if (raw := self._records.by_hash(root.hash)) is None:
                break
            roots.append(raw)
            root = self.trusted.named(root.prev)
        newer = [p for p, head in self.trusted.heads().items() if p != "root" and head[:2] > theirs.get(p, (-1, -1))]
        newer.sort(key=documents.what_rests_on_what)
        return [*reversed(roots), *self.bytes_of(newer)]

    def told_of_slots(self) -> list[bytes]:
        """What all nodes say of the slots: who claims them, and where their data is."""
        return self.bytes_of(id for id in self.trusted.fact_heads() if id.split("|")[1] in ("claim", "slot"))

    def lacks(self, record: Document) -> str:
        """The hash of the fallback that a document names and that isn't here, "" if there is none."""
        hash = fallback_of(record)
        return hash if hash and self.trusted.named(hash) is None else ""

    def lacking(self) -> tuple[str, ...]:
        """The hashes of all fallbacks that aren't here, as many as may be asked for at once."""
        hashes = (self.lacks(document) for document in self.trusted.documents())
        return tuple(itertools.islice((hash for hash in hashes if hash), PUSH_RECORDS))

    def _keep(
        self, record: Record, raw: bytes, source: str, *, binding: bool = False, to: tuple[str, ...] = ()
    ) -> None:
        if record.kind == "up":
            self._live[record.id] = raw
        elif binding:  # before anything else: on a full disk it was never said
            self._records.put(record.id, raw, hash=record.hash, now=True)
        else:
            self._put(record, raw, source)
        change = self.trusted.commit(record, raw)
        for path, twin in change.evidence:
            self._records.evidence(path, twin)
            assert isinstance(record, Document)
            self._report_twins(record)
        for hash, old in change.named:
            self._records.keep(hash, old)
        for hash in change.unnamed:
            self._records.unkeep(hash)
        for id in change.forgotten:
            self._records.drop(id)
            self._gossip.forgotten(id)
            self._post(FactForgotten(*id.split("|", 2)))
        for node in change.expelled:
            for id in [id for id, _ in self._records.all() if id.startswith(f"{node}|")]:
                self._gossip.forgotten(id)
            self._records.drop_author(node)
            self._live.pop(f"{node}|up|", None)
            self._gossip.forgotten(f"{node}|up|")
            self._clocks.pop(node, None)
        self._tell(record, source, len(raw), to=to)

    def _put(self, record: Record, raw: bytes, source: str = "") -> None:
        if isinstance(record, Document):
            self._records.put(record.id, raw, hash=record.hash, sync=True)
            return
        try:
            # That data of a slot is here must be known after a power cut, or another node would start it empty.
            counts = record.kind in SYNCED_FACTS or (isinstance(record.body, SlotState) and record.body.data)
            sync = counts and not source
            self._records.put(record.id, raw, hash=record.hash, sync=sync)
        except DiskFull:  # what goes on must be told even so; a power cut before there is room again may take it
            self._records.put(record.id, raw, hash=record.hash)

    def _tell(
        self, record: Record, source: str, size_bytes: int, *, from_disk: bool = False, to: tuple[str, ...] = ()
    ) -> None:
        mark = ""
        if isinstance(record, Fact) and isinstance(record.body, Up):
            if record.node != self._gossip.me:  # our own is counted by who asks
                self._clocks[record.node] = (record.body.clock, self._now_s())
            # Another life, another root or policy: worth forwarding at once.
            mark = f"{record.seq[0]}/{record.body.root}/{record.body.policy}"
        # Core hears of it last. It may answer with a newer state of the same record, and gossip must not see the older one after
        # it; and what this node does about a document must not be known elsewhere before the document, or others would claim
        # the slots that it lets go.
        now_s = self._now_s()
        whom = to if is_direct(record) else None
        self._send(
            self._gossip.accepted(
                record.id, token(record), source, now_s, record.kind, size_bytes=size_bytes, mark=mark, to=whom
            )
        )
        self._post(RecordAccepted(record, source, from_disk))

    def _take_named(self, raw: bytes, *, from_disk: bool = False) -> bool:
        """Perhaps it isn't the newest, but what the newest names as the one to turn back to."""
        try:
            hash = hashlib.sha256(envelope.parse(raw).payload).hexdigest()
            if self.trusted.named(hash) is not None:
                return True
            record = self.trusted.judge_named(raw, hash)
        except TrustRefusal:
            return False
        self._records.keep(hash, raw)
        self._post(RecordAccepted(record, "", from_disk))
        return True

    def _report_twins(self, record: Document) -> None:
        """Honest signers never give one number twice: somebody was too quick, or a key is in two hands."""
        why = (
            f"version {record.epoch}.{record.version} was signed twice; all hosts take the same one, the other is kept"
        )
        self._report("same-number", record.path, f"{why} as evidence: keys {', '.join(k[:16] for k in record.signers)}")

    def _put_aside(self, raw: bytes, source: str) -> None:
        waiting = self._waiting.setdefault(source, OrderedDict())
        waiting[raw] = None
        if len(waiting) > WAITING_EACH:
            waiting.popitem(last=False)
        self._not_again(raw)

    def _not_again(self, raw: bytes) -> None:
        """Nobody is asked for these very bytes again for a while."""
        if (record := _read(raw)) is not None:
            self._gossip.refused(record.id, token(record), self._now_s())

    def _try_waiting(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for source, raws in waiting.items():
            for raw in raws:
                try:
                    self.offer(raw, source)
                except (TrustRefusal, DiskFull) as refusal:
                    log.debug("still not accepted: %s", refusal)

    def _note_sender_has(self, raw: bytes, source: str) -> None:
        """So that it isn't sent back to who has it."""
        if source and (record := _read(raw)) is not None and record.kind != "up":
            self._gossip.accepted(record.id, token(record), source, self._now_s(), record.kind)

    def neighbours_s(self) -> list[float]:
        """What the clocks of those heard of within a minute say now."""
        now_s = self._now_s()
        return [clock + now_s - heard_s for clock, heard_s in self._clocks.values() if now_s - heard_s < 60]


def _read(raw: bytes) -> Record | None:
    try:
        return documents.decode(envelope.parse(raw))[1]
    except TrustRefusal:
        return None
