"""Diaries watch one another: each node tells now and then what its newest line is, and notes what the others told.

A node that writes its past anew can make its own chain hold again; what others noted of it before (fact `audit`) it can't change.
A head is told only once it is on disk, so that an honest node never forgets, by a power cut, a line that others know of. Of each
node few heads are kept, the older the sparser.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from skerry.core.constraints import name_of
from skerry.core.effects import Publish
from skerry.core.events import RecordAccepted
from skerry.core.facts import Audit
from skerry.core.intent import Node
from skerry.core.records import Document
from skerry.outside import UNREADABLE
from skerry.store.disk import DiskFull, replace_synced

if TYPE_CHECKING:
    from skerry.agent.daemon import Agent

TELL_S = 60.0
KEPT_EACH = 24
NODES_MOST = 1000
PIECE_BYTES = 256 << 10


class Noted(msgspec.Struct, frozen=True, array_like=True):
    """What a node said that its newest line is. `time`: unix seconds, when it was heard."""

    n: int
    hash: str
    time: float


def thinned(heads: list[Noted]) -> list[Noted]:
    """At most KEPT_EACH: of the older half every second one goes."""
    while len(heads) > KEPT_EACH:
        half = len(heads) // 2
        heads = heads[:half:2] + heads[half:]
    return heads


class Heads:
    """By node and its signing key: who was enrolled anew, with other keys, begins another diary."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._heads: dict[str, list[Noted]] = {}
        self._changed = False
        with contextlib.suppress(FileNotFoundError, *UNREADABLE):
            self._heads = msgspec.json.decode(path.read_bytes(), type=dict[str, list[Noted]])

    def note(self, node: str, key: str, head: Noted) -> None:
        """Heads as they come; one told twice is one."""
        whose = f"{node} {key[:16]}"
        held = self._heads.get(whose, [])
        if any((h.n, h.hash) == (head.n, head.hash) for h in held) or (not held and len(self._heads) >= NODES_MOST):
            return
        self._heads[whose] = thinned([*held, head])
        self._changed = True

    def of(self, keys: Mapping[str, str]) -> dict[str, list[Noted]]:
        """Node -> what it told, for these nodes and keys."""
        return {node: held for node, key in keys.items() if (held := self._heads.get(f"{node} {key[:16]}"))}

    def forget_but(self, keys: Mapping[str, str]) -> None:
        """Whoever belongs to the cloud no more."""
        kept = {f"{node} {key[:16]}" for node, key in keys.items()}
        for gone in [whose for whose in self._heads if whose not in kept]:
            del self._heads[gone]
            self._changed = True

    def save(self) -> None:
        if self._changed:
            with contextlib.suppress(DiskFull):  # it is tried again
                replace_synced(self._path, msgspec.json.encode(self._heads))
                self._changed = False


class Auditing:
    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._events = agent.events
        self._heads = Heads(agent.files.state / "events" / "heads.json")
        self._told = 0

    def _keys(self) -> dict[str, str]:
        """Node -> signing key, of all that belong to the cloud."""
        trusted = self._agent.trusted
        return {path: node.signing for path in trusted.nodes if (node := trusted.enrolled(path)) is not None}

    def heard(self, event: RecordAccepted) -> None:
        """Any record that was accepted: who signed which document is told, heads of others' diaries are noted."""
        record = event.record
        if isinstance(record, Document):
            if not event.from_disk:
                self._signed(record)
        elif isinstance(record.body, Audit) and record.node != self._agent.me:
            key = self._keys().get(record.node, "")
            self._heads.note(
                record.node, key, Noted(record.body.n, record.body.hash, round(self._agent.clock.wall_s(), 3))
            )

    def _signed(self, document: Document) -> None:
        held = self._agent.trusted.document(document.path)
        if held is None or held.hash != document.hash:
            return  # an older one, that another names as its fallback
        by = ", ".join(self._name(key) for key in document.signers)
        version = f"version {document.epoch}.{document.version}, signed by {by}"
        if isinstance(document.body, Node) and document.body.state == "expelled":
            self._events.append("expelled", name_of(document.path), f"it belongs to the cloud no more: {version}")
        else:
            more = {"hash": document.hash, "signers": " ".join(document.signers)}
            self._events.append("signed", document.path, version, more)

    def _name(self, key: str) -> str:
        """Of an operator, or of the role that a key is in."""
        trusted = self._agent.trusted
        operator = next((person.name for person in trusted.operators() if person.key == key), "")
        role = next((f"role {role.name}" for role in trusted.roles() if key in role.keys), "")
        return operator or role or f"key {key[:16]}"

    async def run(self) -> None:
        """Runs for ever."""
        while True:
            await asyncio.sleep(TELL_S)
            await self.tell()

    async def tell(self) -> None:
        """Our newest line, if there is a newer one; and what was heard goes to disk."""
        head = await asyncio.to_thread(self._events.sync)
        if head.n > self._told:
            self._told = head.n
            fact = Publish(kind="audit", key="", body=Audit(n=head.n, hash=head.hash), reason="others note it")
            self._agent.author.publish(fact)
        self._heads.forget_but(self._keys())
        self._heads.save()

    def shown(self) -> Iterator[dict[str, Any]]:
        """All that it takes to verify this node's diary and to doubt the others': first what was noted, then the lines."""
        anchor = self._events.anchor()
        yield {
            "node": self._agent.me,
            "anchor": anchor,
            "heads": self._heads.of(self._keys()),
            "head": self._events.head,
        }
        piece: list[bytes] = []
        size = 0
        for line in self._events.lines():
            piece.append(line)
            size += len(line) + 1
            if size >= PIECE_BYTES:
                yield {"lines": _packed(piece)}
                piece, size = [], 0
        yield {"lines": _packed(piece)}


def _packed(lines: list[bytes]) -> str:
    return base64.b64encode(zlib.compress(b"".join(line + b"\n" for line in lines), 3)).decode()
