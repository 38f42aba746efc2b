"""Which state of each record a node holds, in buckets with their digests: what two nodes compare. `up` facts are not in it.

Digests are hashes over sorted lists. Sums or XORs would be cheaper to keep, but an author of a few hundred facts could
choose them so that two different states look the same, and so hold a neighbour in the past.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b

from skerry.core.messages import BUCKETS, IDS_A_MESSAGE, Ids


class Held:
    """Which state of each record is held, in buckets with their digests. `up` facts are not among them."""

    def __init__(self) -> None:
        self._buckets: list[dict[str, str]] = [{} for _ in range(BUCKETS)]  # id -> token
        self._sizes: dict[str, int] = {}
        self._digests: list[bytes | None] = [None] * BUCKETS
        self._whole: bytes | None = None

    def token(self, id: str) -> str | None:
        return self._buckets[bucket_of(id)].get(id)

    def size(self, id: str) -> int:
        return self._sizes.get(id, 0)

    def put(self, id: str, token: str, size_bytes: int) -> None:
        bucket = bucket_of(id)
        self._buckets[bucket][id] = token
        self._sizes[id] = size_bytes
        self._digests[bucket] = self._whole = None

    def drop(self, id: str) -> None:
        bucket = bucket_of(id)
        if self._buckets[bucket].pop(id, None) is not None:
            del self._sizes[id]
            self._digests[bucket] = self._whole = None

    def digests(self) -> tuple[bytes, ...]:
        for i, digest in enumerate(self._digests):
            if digest is None:
                self._digests[i] = digest_of(self._buckets[i].items())
        return tuple(digest for digest in self._digests if digest is not None)

    def digest(self) -> bytes:
        if self._whole is None:
            self._whole = blake2b(b"".join(self.digests()), digest_size=16).digest()
        return self._whole

    def between(self, bucket: int, after: str, until: str) -> dict[str, str]:
        return {id: tok for id, tok in self._buckets[bucket].items() if after < id and (not until or id <= until)}

    def lists(self, bucket: int) -> Iterator[Ids]:
        """The whole bucket in one or more messages; their ranges leave no gap, so that what isn't listed isn't held."""
        ranges = list(parts(sorted(self._buckets[bucket]), IDS_A_MESSAGE)) or [[]]
        after = ""
        for i, part in enumerate(ranges):
            until = part[-1] if i + 1 < len(ranges) else ""
            yield Ids(bucket, after, until, {id: self._buckets[bucket][id] for id in part})
            after = until


def bucket_of(id: str) -> int:
    return number_of(id) % BUCKETS


def number_of(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=2).digest(), "big")


def digest_of(entries: Iterable[tuple[str, str]]) -> bytes:
    digest = blake2b(digest_size=16)
    for id, token in sorted(entries):
        digest.update(f"{len(id)}|{id}{token}\n".encode())
    return digest.digest()


def parts(ids: Sequence[str], most: int) -> Iterator[list[str]]:
    for at in range(0, len(ids), most):
        yield list(ids[at : at + most])
