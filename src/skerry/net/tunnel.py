"""The WireGuard tunnel between hosts."""

from __future__ import annotations

import msgspec


class TunnelPeer(msgspec.Struct, frozen=True, kw_only=True):
    """Another host, from its enrolment. `public_key`: 64 hex digits or base64; `endpoints`: host:port candidates, best first;
    `subnet`: the containers' network there."""

    public_key: str
    endpoints: tuple[str, ...]
    subnet: str
