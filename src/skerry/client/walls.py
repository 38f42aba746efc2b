"""The provider's own firewall before a pool's machines: made and taken away by operators, with a token that no keeper gets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from skerry.client.keeping import own_token
from skerry.client.offers import alone
from skerry.client.session import Session
from skerry.core.intent import Pool
from skerry.errors import BadInput
from skerry.machines.contract import ProviderDenied, tags_of
from skerry.machines.providers import provider_of
from skerry.trust.refusals import CannotOpen

FIREWALL_FIX = "give another one for this once: --firewall-token-file FILE"

Progress = Callable[[str], None]


class Firewall(msgspec.Struct, frozen=True):
    """The provider's own is wanted before a pool's machines. `token`: one that may make it, and is kept nowhere; "": the pool's."""

    token: str = ""


async def walled(
    session: Session, name: str, pool: Pool, firewall: Firewall, own: str, progress: Progress, warn: Progress
) -> Pool:
    """The pool, once the firewall of each of its providers stands before its machines. `own`: the pool's tokens. Raises BadInput
    where a provider has none, and as providers do.
    """
    for one, known in alone(pool, own).values():
        ensure = getattr(provider_of(one, firewall.token or known), "ensure_firewall", None)
        if ensure is None:
            raise BadInput(
                f"pool {name} has no firewall", f"{one.provider} has none of its own", "leave out --firewall"
            )
        try:
            await asyncio.to_thread(ensure, tags_of(session.file.id, name)[1])
        except ProviderDenied as denied:
            denied.fix = FIREWALL_FIX
            raise
    progress("its machines are behind the provider's firewall: 7077 alone is open from outside")
    if not firewall.token:
        warn(f"the pool's own token, which its keepers get, may change firewalls: {FIREWALL_FIX}")
    return msgspec.structs.replace(pool, firewall=True)


def unwall(session: Session, name: str, pool: Pool, token: str) -> str:
    """Take a pool's firewall away with this token, else the pool's own. Gives the name of one that had to be left, "" for none."""
    tag = tags_of(session.file.id, name)[1]
    try:
        for one, known in alone(pool, token or own_token(session, pool)).values():
            provider_of(one, token or known).remove_firewall(tag)  # type: ignore[attr-defined]
    except (ProviderDenied, BadInput, CannotOpen) as refusal:
        if token:
            raise
        return f"that of tag {tag} ({refusal.why})"
    return ""
