"""Records as core sees them: verified by trust, without their signatures. Their bytes stay with the store, under `id`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from skerry.core.facts import Ask, FactBody, Votes
from skerry.core.intent import Body, Pool


class Document(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A verified document. `hash`: SHA-256 (hex) of the signed payload; `id`: the record's name, which is its path."""

    path: str
    kind: str
    epoch: int
    version: int
    prev: str
    issued: float
    expires: float
    hash: str
    body: Body
    signers: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return self.path

    @property
    def order(self) -> tuple[int, int, float, str]:
        """What is newer is greater: epoch, version; of one number the later issued, then the lower hash (hence inverted)."""
        return (self.epoch, self.version, self.issued, _inverted(self.hash))


class Fact(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A verified fact. `node` is the author's path ("node/vps-1"); `seq` is (start count, n); a body of None withdraws it."""

    node: str
    kind: str
    key: str
    seq: tuple[int, int]
    time: float
    body: FactBody | None
    hash: str = ""

    @property
    def id(self) -> str:
        return f"{self.node}|{self.kind}|{self.key}"

    @property
    def order(self) -> tuple[int, int, float, str]:
        return (*self.seq, 0.0, _inverted(self.hash))


Record = Document | Fact


class Slot(NamedTuple):
    """One replica: `guestbook.web/0`."""

    app: str
    service: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which no slot needs

    def __str__(self) -> str:
        return f"{self.app}.{self.service}/{self.index}"

    @classmethod
    def parse(cls, text: str) -> Slot:
        """Raises ValueError for what is not app.service/index."""
        name, _, index = text.rpartition("/")
        app, dot, service = name.partition(".")
        if not (app and dot and service and index.isascii() and index.isdigit()):
            raise ValueError(f"{text!r} is not a slot: app.service/index")
        return cls(app, service, int(index))

    @classmethod
    def read(cls, text: str) -> Slot | None:
        """As `parse`, for what others wrote: a key that is no slot gives None."""
        return _read_slot(text)


@functools.lru_cache(maxsize=32_768)  # facts are told by the key, four or more about each slot
def _read_slot(text: str) -> Slot | None:
    try:
        return Slot.parse(text)
    except ValueError:
        return None


def path_of(subject: str) -> str:
    """Whose right covers what is seen of a slot ("app/guestbook") or of a node (itself)."""
    return subject if subject.startswith("node/") else f"app/{subject.partition('.')[0]}"


class MachineSlot(NamedTuple):
    """One machine of a pool: `burst/3`, enrolled as `node/burst/3`."""

    pool: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which no slot needs

    def __str__(self) -> str:
        return f"{self.pool}/{self.index}"

    @property
    def path(self) -> str:
        return f"node/{self}"

    def is_beyond(self, pool: Body | None) -> bool:
        """Whether operators have said that there shall be no such machine."""
        return isinstance(pool, Pool) and (pool.deleted or self.index >= pool.max)

    @classmethod
    def read(cls, text: str) -> MachineSlot | None:
        """Of "burst/3"; None for what is no machine slot."""
        pool, slash, index = text.partition("/")
        if not (pool and slash and index.isascii() and index.isdigit() and str(int(index)) == index):
            return None
        return cls(pool, int(index))

    @classmethod
    def of_path(cls, path: str) -> MachineSlot | None:
        """Of an elastic node's path; None for a fixed node's."""
        return cls.read(path.removeprefix("node/")) if path.startswith("node/") else None


def is_meant(targets: Sequence[str], slot: str) -> bool:
    """Whether a person means the slot by one of these: a slot (`web/0`, `app.web/0`), a service or an app; none: everything."""
    app, _, rest = slot.partition(".")
    service = rest.partition("/")[0]
    return not targets or any(t in (slot, rest, f"{app}.{service}", service, app) for t in targets)


def is_about(targets: Sequence[str], subject: str) -> bool:
    """Whether an event's subject is meant: as `is_meant`, or a host, machine, image or document by its name; none: everything."""
    name = subject.removeprefix("node/")
    return is_meant(targets, subject) or any(t.removeprefix("node/") in (name, *subject.split("/")) for t in targets)


_INVERTED = str.maketrans("0123456789abcdef", "fedcba9876543210")


def _inverted(digest: str) -> str:
    return digest.translate(_INVERTED)


def is_direct(record: Record) -> bool:
    """A fact that is for whom its author sent it to, and that nobody passes on at once."""
    return isinstance(record, Fact) and isinstance(record.body, Ask | Votes) and record.body.direct
