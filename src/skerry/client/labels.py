"""`host label`: what constraints and preferences ask of a host, as its enrolment says from now on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from skerry.client.enrolment import find
from skerry.client.session import Session


async def set_labels(
    session: Session, name: str, labels: Mapping[str, str], *, without: Sequence[str] = (), zone: str | None = None
) -> dict[str, Any]:
    """Sign the enrolment anew with these labels beside those that it has; `zone` None: as it is. Nothing is signed when it is so."""
    await session.sync()
    document, node = find(session, name)
    kept = {key: value for key, value in node.labels.items() if key not in without}
    changed = msgspec.structs.replace(node, labels=kept | dict(labels), zone=node.zone if zone is None else zone)
    if changed != node:
        await session.change([(document.path, changed)])
    return {"name": name, "labels": changed.labels, "zone": changed.zone}
