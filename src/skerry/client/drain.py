"""`host drain` and `undrain`: replicas leave a host before it does, start-first, and may come back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec

from skerry.client.enrolment import find
from skerry.client.session import Session
from skerry.errors import NotInTime

POLL_S = 0.2


async def drain(
    session: Session, name: str, timeout_s: float, progress: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Move every replica off; wait until none is left. Slots that wait for their data stay, and are named."""
    await _set_state(session, name, "draining")
    deadline_s = time.monotonic() + timeout_s
    last = -1
    while True:
        rows = [
            r for r in await session.request("ps", {"subject": ""}) if r["node"] == name and r["state"] != "waiting"
        ]
        movable = [r["slot"] for r in rows if not r.get("pinned")]
        if len(movable) != last:
            last = len(movable)
            progress(f"{last} replicas left on {name}")
        if not movable:
            return {"name": name, "state": "draining", "left": [r["slot"] for r in rows]}
        if time.monotonic() > deadline_s:
            raise NotInTime(
                f"{name} is not empty yet",
                f"{', '.join(movable)} still run there",
                f"it goes on; look with skerry ps, or take it back: skerry host undrain {name}",
            )
        await asyncio.sleep(POLL_S)


async def undrain(session: Session, name: str) -> dict[str, Any]:
    await _set_state(session, name, "active")
    return {"name": name, "state": "active"}


async def _set_state(session: Session, name: str, state: str) -> None:
    """Sign the enrolment anew with this state; nothing is signed when it is so already."""
    await session.sync()
    document, node = find(session, name)
    if node.state != state:
        await session.change([(document.path, msgspec.structs.replace(node, state=state))])
