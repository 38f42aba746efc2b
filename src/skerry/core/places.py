"""What an app document says of places, beside constraints. A shape only: what follows from it is placement.py's."""

from __future__ import annotations

import msgspec


class Placement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Where a service's replicas go, beside its constraints (core/placement.py). `max_per_node` (0: no limit) and `apart` are
    rules and may leave a slot empty; `spread`, `near` and `away` are wishes and never do.

    `spread`: "zone" or "label.<key>", the most important first; empty: zone. `every_node`: one replica on each host instead of
    `replicas`. Services of one's own app are named "web", others "app.web": hosts that run one of `near` come first, hosts that run
    one of `away` last, and no host runs one of `apart` beside it, whichever of the two says so.
    """

    every_node: bool = False
    max_per_node: int = 0
    spread: tuple[str, ...] = ()
    near: tuple[str, ...] = ()
    away: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()


ANYWHERE = Placement()  # this very value is left out of a document: what says nothing of it reads as before
