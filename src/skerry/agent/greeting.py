"""How each stream begins that a signed request leads: greeted with a nonce, asked once, judged, or refused in words."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from skerry.errors import BadFormat, SkerryError, TrustRefusal
from skerry.mesh.messages import Stream, recv_bytes, send_bytes
from skerry.trust.requests import REQUEST_BYTES, Request, judge_request

if TYPE_CHECKING:
    from skerry.agent.daemon import Agent


async def greeted(
    agent: Agent, stream: Stream, *, within_s: float, most_bytes: int = REQUEST_BYTES
) -> Callable[[], Request]:
    """What judges the one request that came (it raises as `judge_request` does). Raises Unreachable, BadFormat where none came."""
    nonce = os.urandom(16).hex()
    await send_bytes(stream, msgspec.json.encode({"node": agent.me, "nonce": nonce}))
    raw = await recv_bytes(stream, timeout_s=within_s, most_bytes=most_bytes)
    return partial(judge_request, raw, agent.trusted, node=agent.me, nonce=nonce, now_s=agent.clock.wall_s())


def refused(agent: Agent, error: SkerryError, who: str) -> dict[str, Any]:
    """What the other end is told; and this host's diary, where it was an attempt to do what isn't allowed."""
    if isinstance(error, TrustRefusal | BadFormat):
        agent.links.tell(error, who if who.startswith("node/") else f"client {who[:16]}")
    return error.as_dict() | {"exit_code": error.exit_code}
