"""Clouds that are older than a kind of documents: their operators' role is widened, once every host would take that.

A host with an older agent refuses a policy that names a kind which it doesn't know, and with it all that rests on that policy.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from skerry.client.session import Session
from skerry.core.intent import Policy
from skerry.errors import Refusal, Unreachable
from skerry.trust import genesis
from skerry.trust.roles import OPERATORS


class HostsTooOld(Refusal):
    """A host's agent would refuse a document of this kind."""

    code = "hosts-too-old"


def narrow(policy: Policy) -> tuple[str, ...]:
    """Kinds of documents that operators may not sign here, as the cloud is older than they are."""
    held = next((role for role in policy.roles if role.name == OPERATORS), None)
    if held is None:
        return ()
    return tuple(kind for kind in genesis.operators_role(()).kinds if kind not in held.kinds)


def widened(policy: Policy) -> Policy:
    """The same with an operators' role for all kinds."""
    new = narrow(policy)
    roles = tuple(
        msgspec.structs.replace(
            role, kinds=(*role.kinds, *new), paths=tuple(dict.fromkeys((*role.paths, *(f"{kind}/*" for kind in new))))
        )
        if role.name == OPERATORS
        else role
        for role in policy.roles
    )
    return msgspec.structs.replace(policy, roles=roles)


async def hosts_know(session: Session, kinds: Collection[str], progress: Callable[[str], None]) -> bool:
    """Whether every host would take documents of these kinds; one whose agent is too old, or that is silent, is named."""
    old, silent = [], []
    for node, answer in (await session.everywhere("kinds")).items():
        if isinstance(answer, Unreachable):
            silent.append(node.removeprefix("node/"))
        elif not (isinstance(answer, list) and set(kinds) <= set(answer)):
            old.append(node.removeprefix("node/"))
    whys = [f"the agent of {', '.join(old)} is older: skerry host upgrade"] * bool(old)
    whys += [f"{', '.join(silent)} can't be asked now"] * bool(silent)
    if whys:
        progress(f"documents of kind {', '.join(kinds)} can't be signed yet: {'; '.join(whys)}")
    return not whys
