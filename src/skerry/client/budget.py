"""`host budget`: how much of a host's disk images may take, as its enrolment says from now on."""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.client.enrolment import find
from skerry.client.session import Session


async def set_budget(session: Session, name: str, size_bytes: int) -> dict[str, Any]:
    """Sign the enrolment anew with this budget (0: what the host itself thinks right); nothing is signed when it is so."""
    await session.sync()
    document, node = find(session, name)
    before = node.image_budget_bytes
    if before != size_bytes:
        await session.change([(document.path, msgspec.structs.replace(node, image_budget_bytes=size_bytes))])
    return {"name": name, "from_bytes": before, "image_budget_bytes": size_bytes}
