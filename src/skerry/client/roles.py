"""Roles: who may sign what. Giving and taking away are one new policy; taking away also signs the last good documents again."""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.client.session import Session
from skerry.core.intent import Body, Role
from skerry.errors import BadInput, Refusal


class NoSuchRole(BadInput):
    code = "no-such-role"


class RoleTaken(Refusal):
    code = "role-taken"
    exit_code = 2


class LastOperator(Refusal):
    """The last operator can't be taken away: nobody could sign any more."""

    code = "last-operator"


async def ls(session: Session) -> list[dict[str, Any]]:
    await session.sync(1)
    return [
        {"name": r.name, "keys": list(r.keys), "threshold": r.threshold, "kinds": list(r.kinds), "paths": list(r.paths)}
        for r in session.policy.roles
    ]


async def add(session: Session, kind: str, name: str, key: str, certificate: str, apps: list[str]) -> dict[str, Any]:
    """Give `key` (hex) the role `ci` for the releases of `apps`, or `operator` for all kinds below policy."""
    await session.sync()
    policy = session.policy
    if any(role.name == name for role in policy.roles):
        raise RoleTaken(
            f"role {name} was not added", "there is one of that name", "take it away first, or choose another name"
        )
    if kind == "ci":
        if not apps:
            raise BadInput(f"role {name} was not added", "a CI key is for named apps", "name them: --app guestbook")
        role = Role(
            name=name,
            keys=(key,),
            kinds=("release",),
            paths=tuple(f"release/{a}" for a in apps),
            certificates={key: certificate},
        )
    else:
        paths = ("node/*", "app/*", "release/*", "secret/*")
        role = Role(
            name=name,
            keys=(key,),
            kinds=("node", "app", "release", "secret"),
            paths=paths,
            certificates={key: certificate},
        )
    await session.change([("policy", msgspec.structs.replace(policy, roles=(*policy.roles, role)))])
    return {"name": name, "kinds": list(role.kinds), "paths": list(role.paths)}


async def rm(session: Session, name: str) -> dict[str, Any]:
    """Take a role away: its keys are barred, its paths' epochs raised, and what was good there is signed again, all in one act."""
    await session.sync()
    policy = session.policy
    role = next((r for r in policy.roles if r.name == name), None)
    if role is None:
        raise NoSuchRole(
            f"there is no role {name}", f"there are: {', '.join(r.name for r in policy.roles)}", "see skerry role ls"
        )
    rest = tuple(r for r in policy.roles if r.name != name)
    if session.signer.key in role.keys and not any(session.signer.key in r.keys for r in rest):
        raise LastOperator(
            f"role {name} was not taken away", "it is the one that signs this very change", "let another operator do it"
        )
    touched = [
        d
        for d in session.trusted.documents()
        if d.kind in role.kinds and _covers(role, d.path) and set(d.signers) & set(role.keys)
    ]
    epochs = dict(policy.epochs) | {d.path: policy.epochs.get(d.path, 0) + 1 for d in touched}
    gone = tuple(k for k in role.keys if not any(k in r.keys for r in rest))
    changed = msgspec.structs.replace(policy, roles=rest, epochs=epochs, barred=(*policy.barred, *gone))
    bodies: list[tuple[str, Body]] = [(d.path, d.body) for d in touched]
    raws = [session.draft("policy", changed), *(session.draft(path, body, epoch=epochs[path]) for path, body in bodies)]
    await session.put(raws)
    return {"name": name, "signed_again": [d.path for d in touched], "barred": list(gone)}


def _covers(role: Role, path: str) -> bool:
    return any(path == p or (p.endswith("/*") and path.startswith(p[:-1])) for p in role.paths)
