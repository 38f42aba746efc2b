"""What attackers do to records that were rightly signed. Each of the rooms beside it, in `attacks`, is one subject."""

from __future__ import annotations

import base64

import msgspec

from skerry.core.facts import Claim
from skerry.trust import envelope
from trust.world import (
    IMAGE,
    T0,
    YEAR_S,
    Host,
    root_body,
    sign,
)

CLAIM = Claim(spec="s", image=IMAGE, rank=0, reason="")


def forge(raw: bytes, change: bytes, to: bytes) -> bytes:
    """The same envelope around other bytes, the old signatures kept."""
    opened = msgspec.json.decode(raw)
    payload = base64.b64decode(opened["payload"])
    assert change in payload
    opened["payload"] = base64.b64encode(payload.replace(change, to)).decode()
    return msgspec.json.encode(opened)


def payload_of(raw: bytes) -> bytes:
    return envelope.parse(raw).payload


def next_root(host: Host, by: tuple[str, ...] = ("root-a", "root-b"), **changes) -> bytes:
    body = changes.pop("body", None) or root_body()
    header = {
        "version": host.held("root").version + 1,
        "prev": host.hash("root"),
        "expires": T0 + 5 * YEAR_S,
        **changes,
    }
    return sign("root", body, by, **header)
