"""What must be in an image beyond what ELF files ask for: one file for each reason, applied in this order.

Each rule was found by a program that failed without it, some of them silently (docs/decisions/). A rule looks at
what the closure has kept and adds to it; `packages` are those whose files it may want, so that they are locked with
the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from skerry.image.building.rules import base, certificates, libc, openssl, zones

if TYPE_CHECKING:
    from skerry.image.building.closure import Closure


def packages_for(names: Iterable[str]) -> set[str]:
    """The packages that rules want beside packages of these names."""
    have = set(names)
    wanted: set[str] = set()
    for module in (libc, openssl):
        if module.WHEN in have:
            wanted |= set(module.PACKAGES)
    return wanted - have


def apply_rules(closure: Closure, user: str, *, tls: bool | None = None, tz: bool = False) -> None:
    """Add what libraries and every image need. `user`: "uid:gid" of the app; `tls`: the authorities,
    None: where OpenSSL goes; `tz`: the time zones."""
    if openssl.is_kept(closure) if tls is None else tls:
        certificates.apply(closure)
    if tz:
        zones.apply(closure)
    openssl.apply(closure)
    libc.apply(closure)
    base.apply(closure, user)
