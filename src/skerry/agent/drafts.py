"""What waits on this host for more operators' signatures. Kept for them, never believed, never passed on to other hosts.

Each operator may leave a few; a stolen key can't push out what the others left. What rests on something that was
replaced meanwhile is dropped. docs/decisions/0006.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import msgspec

from skerry.errors import TrustRefusal
from skerry.outside import UNREADABLE
from skerry.store.disk import replace_synced
from skerry.trust import drafts
from skerry.trust.accept import Trusted
from skerry.trust.refusals import Quota

DRAFTS_EACH = 8  # of one operator


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`by`: the key that left it first."""

    by: str
    records: tuple[bytes, ...]


class Drafts:
    """One small file for each, below `directory`."""

    def __init__(self, directory: Path, trusted: Trusted) -> None:
        self._directory = directory
        self._trusted = trusted

    def leave(self, raws: Sequence[bytes], by: str) -> str:
        """Keep it, joined with the signatures that the same draft has here. Gives its name; raises TrustRefusal."""
        id = drafts.id_of(drafts.read(raws, self._trusted))
        held = self._read()
        if id in held:
            merged = drafts.merge(held[id].records, raws)
            drafts.read(merged, self._trusted)  # together they may be too many
            kept = _Kept(held[id].by, merged)
        else:
            kept = _Kept(by, tuple(raws))
            if sum(each.by == by for each in held.values()) >= DRAFTS_EACH:
                raise Quota(
                    "the draft was not kept", f"{DRAFTS_EACH} of this operator wait here", "let others sign those first"
                )
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace_synced(self._directory / id, msgspec.msgpack.encode(kept))
        return id

    def waiting(self) -> list[list[str]]:
        """All drafts, each as base64 envelopes."""
        return [[base64.b64encode(raw).decode() for raw in kept.records] for kept in self._read().values()]

    def _read(self) -> dict[str, _Kept]:
        found = {}
        for path in sorted(self._directory.glob("*")) if self._directory.is_dir() else []:
            try:
                kept = msgspec.msgpack.decode(path.read_bytes(), type=_Kept)
                drafts.read(kept.records, self._trusted)
            except (TrustRefusal, *UNREADABLE):
                path.unlink(missing_ok=True)
                continue
            found[path.name] = kept
        return found
