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
    await session.sync()
    seen = await session.request("ps", {"subject": ""})  # before it is signed: some go within a moment
    left, ailing = _movable(seen, name), {row["slot"] for row in seen if not row["healthy"]}  # these are not waited for
    await _set_state(session, name, "draining")
    deadline_s = time.monotonic() + timeout_s
    moved: dict[str, str] = {}  # slot -> where it is now
    # Slot that is no longer there, and not yet well elsewhere -> what was said of it last.
    arriving: dict[str, str] = {}
    last = -1
    while True:
        seen = await session.request("ps", {"subject": ""})
        rows = [r for r in seen if r["node"] == name and r["state"] != "waiting"]
        movable = _movable(seen, name)
        arriving |= {slot: left[slot] for slot in sorted(left.keys() - movable.keys())}
        for slot in list(arriving):
            row = next((r for r in seen if r["slot"] == slot), None)
            if row is None or row["healthy"] or row["finished"] or row["state"] == "asleep" or slot in ailing:
                to = moved[slot] = row["node"] if row is not None else ""
                progress(f"{slot} is on {to} now" if to else f"{slot} has stopped")
                del arriving[slot]
            elif row["node"] and arriving[slot] != (said := f"starts on {row['node']}"):
                arriving[slot] = said
                progress(f"{slot} {said}")
        before, left = left, movable
        if len(movable) != last:
            last = len(movable)
            progress(f"{last} {'replica' if last == 1 else 'replicas'} left on {name}")
        for slot in sorted(movable):  # at the first look some may be taken already
            if movable[slot] != before.get(slot, "is running here"):
                progress(f"{slot} {movable[slot]}")
        if not movable and not arriving:
            return {"name": name, "state": "draining", "left": [r["slot"] for r in rows], "moved": moved}
        if time.monotonic() > deadline_s:
            first = min(movable or arriving)
            raise NotInTime(
                f"{name} is not empty yet" if movable else f"{name} is empty, and not all that left it is well",
                f"{', '.join(movable)} still run there" if movable else f"{', '.join(arriving)} not well elsewhere yet",
                f"it goes on by itself; why it waits: skerry explain {first}; or take it back: skerry host undrain {name}",
            )
        await asyncio.sleep(POLL_S)


def _movable(rows: list[dict[str, Any]], name: str) -> dict[str, str]:
    """Slot -> why it is still there."""
    here = (row for row in rows if row["node"] == name and row["state"] != "waiting")
    return {row["slot"]: _state(row) for row in here if not row.get("pinned")}


def _state(row: dict[str, Any]) -> str:
    """What a person who waits is told of a replica that is still there: who takes it, if somebody does."""
    others = [node for node in row["claims"] if node != row["node"]]
    return f"starts on {others[0]}" if others else f"is {row['state']} here"


async def undrain(session: Session, name: str) -> dict[str, Any]:
    await _set_state(session, name, "active")
    return {"name": name, "state": "active"}


async def _set_state(session: Session, name: str, state: str) -> None:
    """Sign the enrolment anew with this state; nothing is signed when it is so already."""
    await session.sync()
    document, node = find(session, name)
    if node.state != state:
        await session.change([(document.path, msgspec.structs.replace(node, state=state))])
