"""The whole cloud as the pages show it, and what changed since the one before. Few bytes: it is looked at each second."""

from __future__ import annotations

from typing import Any

from skerry.client import views
from skerry.client.session import Session

Snapshot = dict[str, Any]
TABLES = ("hosts", "slots")
SLOT = (
    *("app", "service", "node", "state", "healthy", "version", "image", "since", "why", "address", "restarts"),
    *("outdated", "wanted", "failed", "verdict", "finished", "exit_code", "pinned", "claims"),
)


async def look(session: Session) -> Snapshot:
    """Hosts and slots by name. Raises Unreachable."""
    hosts = await views.host_ls(session)
    rows = await views.ps(session)
    return {
        "cloud": session.name,
        "hosts": {row["name"]: row for row in hosts},
        "slots": {row["slot"]: {key: row[key] for key in SLOT if key in row} for row in rows},
    }


def difference(before: Snapshot, after: Snapshot) -> Snapshot | None:
    """What `after` has that `before` has not: rows of tables that are new or others, None for those that are gone; None: nothing."""
    told: Snapshot = {}
    for key, value in after.items():
        if key not in TABLES:
            if before.get(key) != value:
                told[key] = value
            continue
        old = before.get(key, {})
        rows = {name: row for name, row in value.items() if old.get(name) != row}
        rows |= dict.fromkeys(old.keys() - value.keys())
        if rows:
            told[key] = rows
    return told or None
