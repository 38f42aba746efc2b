"""Which providers there are. Each is loaded when it is asked for: a host that rents nothing holds no HTTP library in memory."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from skerry.core.intent import Pool
from skerry.errors import BadInput
from skerry.machines.contract import Provider

PROVIDERS: dict[str, str] = {
    "digitalocean": "skerry.machines.digitalocean:DigitalOcean",
    "libvirt": "skerry.machines.libvirt:Libvirt",
    "manual": "skerry.machines.manual:Manual",
}
"""Name -> "module:class". The class is called with (token, endpoint, options)."""


MEETING = "meeting"  # a pool's option that is no provider's: the host where machines of a pool without keepers wait


class UnknownProvider(BadInput):
    """No provider is called so."""

    code = "unknown-provider"


def open_provider(
    name: str, *, token: str = "", endpoint: str = "", options: Mapping[str, str] | None = None
) -> Provider:
    """Raises UnknownProvider, and BadInput for an endpoint or an option that this provider doesn't take."""
    asked = {option: value for option, value in (options or {}).items() if option != MEETING}
    made: Provider = _class_of(name)(token, endpoint, asked)
    return made


def provider_of(pool: Pool, token: str) -> Provider:
    """A pool's. Raises as `open_provider`."""
    return open_provider(pool.provider, token=token, endpoint=pool.endpoint, options=pool.options)


def needs_token(name: str) -> bool:
    """Whether a provider of that name can do nothing without one. Raises UnknownProvider."""
    return bool(_class_of(name).least_scopes)


def _class_of(name: str) -> Any:
    where = PROVIDERS.get(name)
    if where is None:
        raise UnknownProvider(f"there is no provider {name!r}", "", f"one of: {', '.join(sorted(PROVIDERS))}")
    module, _, called = where.partition(":")
    return getattr(importlib.import_module(module), called)
