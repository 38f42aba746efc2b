"""Which ports of this host other programs listen on. Reads /proc; changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from skerry.core.intent import Port


def taken_ports(ports: Sequence[Port]) -> list[tuple[Port, str]]:
    """Those whose `published` some process listens on, with its name ("?" if it can't be told)."""
    raise NotImplementedError
