"""`key rotate`: this operator's key is replaced by a new one, for when the old one may be in other hands.

Two changes, each a new root: the new key is let in, then, signed with it, the old one is taken away: barred, and what it
signed last is signed again. In between both are good, so an interruption locks nobody out.
"""

from __future__ import annotations

import re

from skerry.client import roles
from skerry.client.identity import new_operator
from skerry.client.session import Session
from skerry.errors import BadInput
from skerry.trust.identity import Signer
from skerry.trust.recovery import OperatorKeys


async def let_in(session: Session, root_keys: list[Signer]) -> tuple[OperatorKeys, str]:
    """Make new keys for this operator and let them in: (the keys, the name of the old ones, which are still good)."""
    await session.sync()
    people = {operator.key: operator.name for operator in session.trusted.operators()}
    old = people.get(session.signer.key)
    if old is None:
        raise BadInput(
            "no key was replaced", "the key here is no operator's", "a CI key is replaced by role rm and role add"
        )
    base = re.sub(r"-[0-9]+$", "", old)
    name = next(name for n in range(2, 1000) if (name := f"{base}-{n}") not in people.values())
    keys, public = new_operator(name)
    await roles.add_operator(session, name, public, root_keys)
    return keys, old
