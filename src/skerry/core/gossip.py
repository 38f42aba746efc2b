"""How records spread: what each node sends to which neighbour, and when. Pure: ids and tokens, never bytes.

New records are pushed to every neighbour but the one they came from. Nothing rests on a push having arrived: every few
seconds a node compares digests with one neighbour, in turn, and both send what the other lacks. What a record says, and
whether it may be believed, is not known here. Prior art: Demers 1987 (rumours and anti-entropy).

One comparison:  Heads ->  <- Buckets (if they differ)  Ids of those that differ ->  <- records, Want  records ->
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Generic, TypeVar

import msgspec

from skerry.core.held import Held, digest_of, number_of, parts
from skerry.core.messages import (
    BUCKETS,
    FRAME_BYTES,
    IDS_A_MESSAGE,
    PUSH_RECORDS,
    AnyMessage,
    Buckets,
    Heads,
    Ids,
    ProbeAnswer,
    ProbeAsk,
    Push,
    Want,
    WantNamed,
    decode,
    encode,
)
from skerry.core.records import Record

__all__ = [  # the messages too: who uses Gossip needs both
    "FRAME_BYTES",
    "Buckets",
    "Gossip",
    "Heads",
    "Ids",
    "ProbeAnswer",
    "ProbeAsk",
    "Push",
    "Send",
    "SendMessage",
    "SendRecords",
    "Want",
    "WantNamed",
    "decode",
    "encode",
    "grouped",
    "heads_digest",
    "token",
]

RECONCILE_S = 3.0
FORWARD_UP_S = 15.0  # a neighbour's `up` is forwarded at most so often
RELAY_UP_S = 10.0  # the same for one that somebody else forwarded: less, or two hops could make it 30 s
SHOW_UP_S = 20.0  # a new neighbour is shown `up` facts no older than this
REFUSED_S = 30.0  # what trust refused is not asked for again so soon
AGAIN_S = 2.5  # the same record is not sent twice to one neighbour within this, then twice this, ...
AGAIN_MOST_S = 60.0  # ... up to this
ROUND_BYTES = 900_000  # of records to one neighbour before it is asked to compare again; well below the link's queue
REMEMBERED = 16_384  # records that we remember of each neighbour: what it has, what it was sent, what was refused


class SendRecords(msgspec.Struct, frozen=True):
    """Push these records to the neighbour. The agent fills in the bytes, in as many messages as they need."""

    peer: str
    ids: tuple[str, ...]


class SendMessage(msgspec.Struct, frozen=True):
    peer: str
    message: AnyMessage


Send = SendRecords | SendMessage
V = TypeVar("V")


def token(record: Record) -> str:
    """Short name of one state of a record: 16 hex digits over its order and its hash."""
    return blake2b("|".join(map(str, (*record.order, record.hash))).encode(), digest_size=8).hexdigest()


def heads_digest(heads: Mapping[str, str]) -> str:
    """What `up` facts carry: one hash over the newest version of every path. `heads`: path -> payload hash."""
    return digest_of(heads.items()).hex()


def grouped(sends: Iterable[Send]) -> list[Send]:
    """The same, with record lists to one neighbour joined (up to one push) where nothing else to it stands between."""
    out: list[Send] = []
    last: dict[str, int] = {}
    for send in sends:
        at = last.get(send.peer)
        before = None if at is None else out[at]
        if at is not None and isinstance(send, SendRecords) and isinstance(before, SendRecords):
            ids = tuple(dict.fromkeys((*before.ids, *send.ids)))
            if len(ids) <= PUSH_RECORDS:
                out[at] = SendRecords(send.peer, ids)
                continue
        last[send.peer] = len(out)
        out.append(send)
    return out


class Gossip:
    """The state of spreading on one node. Times are seconds of one monotonic clock; every call says what to send now.

    Tell it of each record that was accepted (from disk at start, own, from neighbours), of links that come and go, and
    of each message but the probes, which are the agent's; call `tick` when `next_s` has come.
    """

    def __init__(self, me: str) -> None:
        self.me = me
        self.next_s = 0.0  # when `tick` wants to be called
        self._held = Held()
        self._ups: dict[str, _Up] = {}
        self._peers: dict[str, _Peer] = {}
        self._refused = _Memory[tuple[str, float]]()
        self._turn = number_of(me)  # not all nodes begin with the same neighbour

    @property
    def neighbours(self) -> tuple[str, ...]:
        return tuple(self._peers)

    @property
    def digest(self) -> str:
        """Over all records held but `up` facts. Nodes that hold the same have the same."""
        return self._held.digest().hex()

    def accepted(
        self,
        id: str,
        token: str,
        source: str,
        now: float,
        kind: str = "",
        *,
        size_bytes: int = 1024,
        mark: str = "",
        to: Collection[str] | None = None,
    ) -> list[Send]:
        """A record was accepted and is in the store. `source`: the neighbour it came from, "" for all else.

        For `up` facts `mark` is what must be forwarded at once when it changes: start count, root and policy version.
        Call it too for a record that was held already: then it only notes that `source` has it. `to`: of the neighbours only these
        are told at once; None: all.
        """
        if source in self._peers:
            self._peers[source].known.put(id, token)
        if kind == "up":
            return self._accepted_up(id, token, source, now, mark)
        if self._held.token(id) == token:
            return []
        self._held.put(id, token, size_bytes)
        return self._push(id, token, source, to)

    def forgotten(self, id: str) -> None:
        """The record was dropped: its author was expelled, or it ended."""
        self._held.drop(id)
        self._ups.pop(id, None)

    def refused(self, id: str, token: str, now: float) -> None:
        """Trust did not take this state of the record (not yet, or never): don't ask for it with each comparison."""
        self._refused.put(id, (token, now + REFUSED_S))

    def outdated(self, id: str, source: str, now: float) -> list[Send]:
        """`source` pushed an older state than ours: show it the newer one, so that a restored node finds its number."""
        if source not in self._peers or (id not in self._ups and self._held.token(id) is None):
            return []
        return self._send(source, [id], now)

    def link_up(self, peer: str, now: float) -> list[Send]:
        """Compare at once, and show the new neighbour who lives."""
        self._peers[peer] = _Peer()
        fresh = [id for id, up in self._ups.items() if now - up.at_s <= SHOW_UP_S]
        shown = [SendRecords(peer, tuple(part)) for part in parts(fresh, PUSH_RECORDS)]
        return [SendMessage(peer, Heads(self._held.digest())), *shown]

    def link_down(self, peer: str) -> None:
        self._peers.pop(peer, None)

    def tick(self, now: float) -> list[Send]:
        """Every RECONCILE_S: begin a comparison with the next neighbour."""
        if now < self.next_s:
            return []
        self.next_s = now + RECONCILE_S
        if not self._peers:
            return []
        names = sorted(self._peers)
        self._turn += 1
        return [SendMessage(names[self._turn % len(names)], Heads(self._held.digest()))]

    def heard(self, peer: str, message: AnyMessage, now: float) -> list[Send]:
        """A message of a neighbour. What else than records is asked is the agent's to answer: nothing happens here."""
        known = self._peers.get(peer)
        if known is None:
            return []
        match message:
            case Heads(digest):
                known.begin()
                differs = digest != self._held.digest()
                return [SendMessage(peer, Buckets(self._held.digests()))] if differs else []
            case Buckets(digests):
                known.begin()
                return [SendMessage(peer, ids) for ids in self._lists(digests)]
            case Ids():
                return self._compare(peer, message, now)
            case Want(ids):
                return self._send(peer, [id for id in ids if id in self._ups or self._held.token(id)], now)
            case _:
                return []

    def _accepted_up(self, id: str, token: str, source: str, now: float, mark: str) -> list[Send]:
        before = self._ups.get(id)
        if before is not None and before.token == token:
            return []
        author = id.partition("|")[0]
        gap_s = 0.0 if author == self.me else FORWARD_UP_S if source == author else RELAY_UP_S
        due = before is None or before.mark != mark or now - before.sent_s >= gap_s
        sent_s = now if before is None or due else before.sent_s
        self._ups[id] = _Up(token, mark, now, sent_s)
        return self._push(id, token, source) if due else []

    def _push(self, id: str, token: str, source: str, to: Collection[str] | None = None) -> list[Send]:
        out: list[Send] = []
        for name, peer in self._peers.items():
            if name != source and (to is None or name in to) and peer.known.get(id) != token:
                peer.known.put(id, token)
                out.append(SendRecords(name, (id,)))
        return out

    def _lists(self, digests: tuple[bytes, ...]) -> Iterator[Ids]:
        """Our lists of the buckets that differ; of many, this round's part, beginning with another bucket each time."""
        listed, ours = 0, self._held.digests()
        self._turn += 1
        for i in range(BUCKETS):
            bucket = (i + self._turn) % BUCKETS
            if digests[bucket] == ours[bucket]:
                continue
            for ids in self._held.lists(bucket):
                yield ids
                listed += len(ids.tokens)
            if listed >= IDS_A_MESSAGE:
                return

    def _compare(self, peer: str, theirs: Ids, now: float) -> list[Send]:
        ours = self._held.between(theirs.bucket, theirs.after, theirs.until)
        lacked = [id for id, token in ours.items() if theirs.tokens.get(id) != token]
        wanted = [
            id
            for id, token in theirs.tokens.items()
            if ours.get(id) != token and self._held.token(id) != token and not self._was_refused(id, token, now)
        ]
        asks = [SendMessage(peer, Want(tuple(part))) for part in parts(wanted, PUSH_RECORDS)]
        return [*asks, *self._send(peer, lacked, now)]

    def _was_refused(self, id: str, token: str, now: float) -> bool:
        refused = self._refused.get(id)
        return refused is not None and refused[0] == token and now < refused[1]

    def _send(self, peer: str, ids: list[str], now: float) -> list[Send]:
        """Records for a comparison: not what was sent just now, and no more than the round has room for.

        When the room ends, our Heads go behind: they make the neighbour ask for the next round as soon as it has read
        this one. So a new node is filled at the speed of its link, and the link's queue stays short.
        """
        known = self._peers[peer]
        chosen: list[str] = []
        cut = False
        for id in ids:
            up = self._ups.get(id)
            token = up.token if up else self._held.token(id) or ""
            size = 1024 if up else self._held.size(id)
            if not known.may_send(id, token, now):
                continue
            if known.room_bytes < size:
                cut = True
                break
            known.room_bytes -= size
            known.note_sent(id, token, now)
            chosen.append(id)
        out: list[Send] = [SendRecords(peer, tuple(part)) for part in parts(chosen, PUSH_RECORDS)]
        if cut and not known.told_more:
            known.told_more = True
            out.append(SendMessage(peer, Heads(self._held.digest())))
        return out


class _Up(msgspec.Struct, frozen=True):
    token: str
    mark: str
    at_s: float  # accepted
    sent_s: float  # forwarded


class _Memory(Generic[V]):
    """The newest REMEMBERED entries: no neighbour may fill our memory."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, V] = OrderedDict()

    def get(self, id: str) -> V | None:
        return self._entries.get(id)

    def put(self, id: str, value: V) -> None:
        self._entries[id] = value
        self._entries.move_to_end(id)
        if len(self._entries) > REMEMBERED:
            self._entries.popitem(last=False)


class _Peer:
    """What we remember of one neighbour while its link lasts."""

    def __init__(self) -> None:
        self.known = _Memory[str]()  # id -> token that it has, or was sent when new
        self._sent = _Memory[tuple[str, float, float]]()  # id -> token, not again before, gap
        self.begin()

    def begin(self) -> None:
        """A comparison begins: it has read all that was sent before."""
        self.room_bytes = ROUND_BYTES
        self.told_more = False

    def may_send(self, id: str, token: str, now: float) -> bool:
        sent = self._sent.get(id)
        return sent is None or sent[0] != token or now >= sent[1]

    def note_sent(self, id: str, token: str, now: float) -> None:
        sent = self._sent.get(id)
        gap_s = min(sent[2] * 2, AGAIN_MOST_S) if sent is not None and sent[0] == token else AGAIN_S
        self._sent.put(id, (token, now + gap_s, gap_s))
