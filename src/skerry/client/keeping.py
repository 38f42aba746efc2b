"""Who keeps a pool: their keys, their role, and the provider's token in a box for each of them and for each operator."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

import msgspec

from skerry.client import roles
from skerry.client.session import Session
from skerry.core.intent import Body, Node, Policy, Pool, Role
from skerry.core.records import MachineSlot
from skerry.trust import seal


def all_pools(session: Session) -> dict[str, Pool]:
    """Those that are not removed, by name."""
    bodies = {d.path.removeprefix("pool/"): d.body for d in session.documents("pool")}
    return {name: body for name, body in bodies.items() if isinstance(body, Pool) and not body.deleted}


async def keeper_keys(session: Session, paths: Sequence[str]) -> dict[str, str]:
    """The keeper key of each of these hosts, made there now if there was none. Raises Unreachable."""
    answers = await asyncio.gather(*(session.request("keeper-key", node=path) for path in paths))
    return {path: str(answer["key"]) for path, answer in zip(paths, answers, strict=True)}


def sealed(session: Session, token: str, keepers: dict[str, str]) -> dict[str, str]:
    """A provider's token, for each keeper and each operator alone; nothing where there is no token."""
    if not token:
        return {}
    holders = {operator.key: operator.sealing for operator in session.trusted.operators()}
    for path in keepers:
        body = session.nodes[path].body
        assert isinstance(body, Node)
        holders[path] = body.sealing
    return {
        holder: seal.make_box(token.encode(), sealing, secrets.token_bytes(32)) for holder, sealing in holders.items()
    }


def own_token(session: Session, pool: Pool) -> str:
    """The provider's token, as it was sealed to this operator, "" where the pool has none. Raises CannotOpen."""
    if not pool.tokens:
        return ""
    return seal.open_token(session.own.sealing, pool.tokens.get(session.signer.key, ""))


def renew_token(pool: str, new: str = "") -> str:
    """What is still to be done about a token that somebody knew. `new`: one was given in the same step."""
    if new:
        return "the provider's token that the pool had: take that one away at the provider"
    return (
        "the provider's token: make another one there, take the old one away, and: "
        f"skerry machine pool set {pool} --token-file FILE"
    )


def role_of(pool: str) -> str:
    return f"keeper-{pool}"


def with_keepers(policy: Policy, pool: str, keys: tuple[str, ...]) -> Policy:
    role = Role(name=role_of(pool), keys=keys, kinds=("node",), paths=(f"node/{pool}/*",))
    return msgspec.structs.replace(policy, roles=(*(r for r in policy.roles if r.name != role.name), role))


def without_keepers(
    session: Session,
    policy: Policy,
    paths: Sequence[str],
    kept: dict[str, Pool],
    instead: dict[str, Body],
    *,
    bar: bool,
) -> list[bytes]:
    """All that has to be signed so that these hosts keep these pools no more: the policy (`policy`, less their keys), the pools,
    and what their keys signed there, signed again in a new epoch; `instead`: what else is signed in the same step. `bar`: the
    keys are good for nothing any more, anywhere.
    """
    gone = tuple({key for pool in kept.values() for path, key in pool.keepers.items() if path in paths})
    bodies: dict[str, Body] = {}
    for name, pool in kept.items():
        keepers = {keeper: key for keeper, key in pool.keepers.items() if keeper not in paths}
        tokens = {holder: box for holder, box in pool.tokens.items() if holder not in paths}
        bodies[f"pool/{name}"] = msgspec.structs.replace(pool, keepers=keepers, tokens=tokens)
    those = {role_of(name) for name in kept}
    left = [_less(role, gone) if bar or role.name in those else role for role in policy.roles]
    barred = tuple(dict.fromkeys((*policy.barred, *gone))) if bar else policy.barred
    changed = msgspec.structs.replace(policy, barred=barred)
    return roles.without(
        session, changed, gone, [role for role in left if role is not None], instead={**bodies, **instead}
    )


def _less(role: Role, gone: Sequence[str]) -> Role | None:
    for key in gone:
        if key in role.keys:
            less = roles.less(role, key)
            if less is None:
                return None
            role = less
    return role


def kept_by(session: Session, path: str) -> dict[str, Pool]:
    """The pools that a host keeps, by name."""
    return {name: pool for name, pool in all_pools(session).items() if path in pool.keepers}


def signed_by(session: Session, path: str) -> list[str]:
    """The machines whose enrolment this host, as a keeper, has signed."""
    keys = {pool.keepers[path] for pool in all_pools(session).values() if path in pool.keepers}
    return sorted(
        document.path.removeprefix("node/")
        for document in session.nodes.values()
        if MachineSlot.of_path(document.path) is not None and keys & set(document.signers)
    )
