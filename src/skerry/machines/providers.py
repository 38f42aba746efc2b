"""Which providers there are. Each is loaded when it is asked for: a host that rents nothing holds no HTTP library in memory."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from skerry.errors import BadInput
from skerry.machines.contract import Provider

PROVIDERS: dict[str, str] = {
    "digitalocean": "skerry.machines.digitalocean:DigitalOcean",
}
"""Name -> "module:class". The class is called with (token, endpoint, options)."""


class UnknownProvider(BadInput):
    """No provider is called so."""

    code = "unknown-provider"


def open_provider(
    name: str, *, token: str = "", endpoint: str = "", options: Mapping[str, str] | None = None
) -> Provider:
    """Raises UnknownProvider, and BadInput for an endpoint or an option that this provider doesn't take."""
    where = PROVIDERS.get(name)
    if where is None:
        raise UnknownProvider(f"there is no provider {name!r}", "", f"one of: {', '.join(sorted(PROVIDERS))}")
    module, _, called = where.partition(":")
    made: Provider = getattr(importlib.import_module(module), called)(token, endpoint, dict(options or {}))
    return made
