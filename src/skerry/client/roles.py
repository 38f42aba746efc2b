"""Roles: who may sign what. Giving and taking away are one step: all documents that it needs, or none.

CI keys stand in the policy. Operators stand in the root, which only root keys sign, and in the policy's role `operators`;
secrets are opened to them, too. Taking a key away bars it, raises the epoch of what it signed, and signs the last good
documents there again.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from skerry.client import alerts
from skerry.client.session import Session
from skerry.core.intent import Body, Operator, Policy, Pool, Release, Role, Root, Secret
from skerry.core.records import Document
from skerry.errors import BadInput, Refusal
from skerry.trust import genesis, seal
from skerry.trust.identity import Signer
from skerry.trust.roles import OPERATORS

POLICY = "policy"  # the name under which `threshold` and `ls` speak of the root's operators


class NoSuchRole(BadInput):
    code = "no-such-role"


class RoleTaken(Refusal):
    code = "role-taken"
    exit_code = 2


class LastOperator(Refusal):
    """The last operator can't be taken away, nor can one take away oneself: nobody could sign any more."""

    code = "last-operator"


async def ls(session: Session) -> list[dict[str, Any]]:
    await session.sync(1)
    root = _root(session)
    names = {operator.key: operator.name for operator in root.operators}
    top = (
        Role(name="root", keys=root.keys, threshold=root.threshold, kinds=("root",), paths=("root",)),
        Role(name=POLICY, keys=tuple(names), threshold=root.policy_threshold, kinds=("policy",), paths=("policy",)),
    )
    return [_row(role, names) for role in (*top, *session.policy.roles)]


def _row(role: Role, names: dict[str, str]) -> dict[str, Any]:
    """`asks`: what its keys may ask about the paths; `until`: unix seconds, 0: no end."""
    return {
        "name": role.name,
        "holders": [names.get(key, key[:16]) for key in role.keys],
        "threshold": role.threshold,
        "kinds": list(role.kinds),
        "asks": list(role.asks),
        "paths": list(role.paths),
        "until": role.until,
        "keys": list(role.keys),
    }


async def add_ci(session: Session, name: str, public: Operator, apps: Sequence[str]) -> dict[str, Any]:
    """Let this key release the images of these apps, and do nothing else."""
    await session.sync()
    _check_free(session, name, public.key)
    if not apps:
        raise BadInput(f"role {name} was not added", "a CI key is for named apps", "name them: --app guestbook")
    paths = tuple(f"release/{app}" for app in apps)
    certificates = {public.key: public.certificate}
    role = Role(name=name, keys=(public.key,), kinds=("release",), paths=paths, certificates=certificates)
    await session.change([("policy", msgspec.structs.replace(session.policy, roles=(*session.policy.roles, role)))])
    return {"name": name, "kinds": list(role.kinds), "paths": list(role.paths)}


async def add_right(
    session: Session,
    right: str,
    name: str,
    public: Operator | None,
    *,
    apps: Sequence[str] = (),
    hosts: Sequence[str] = (),
    until: float = 0.0,
) -> dict[str, Any]:
    """Let this key (None: the operator's own) ask `right` (core/intent.py, RIGHTS) about these apps or hosts ("*": all), until then
    (unix seconds, 0: for good).

    It signs nothing. The key may be one that has other roles, an operator's too.
    """
    await session.sync()
    public = public or _own(session)
    _check_free(session, name, public.key)
    paths = tuple(dict.fromkeys([f"app/{app}" for app in apps] + [f"node/{host}" for host in hosts]))
    wrong = {"debug": hosts, "debug-host": apps}.get(right)
    if not paths or wrong:
        about = {"observe": "--app guestbook, --host vps-1", "debug": "--app guestbook"}.get(right, "--host vps-1")
        raise BadInput(
            f"role {name} was not added",
            f"the right to {right} is for {'hosts' if right == 'debug-host' else 'apps'}, which are to be named",
            f"name them, or '*' for all: {about}",
        )
    certificates = {public.key: public.certificate}
    role = Role(name=name, keys=(public.key,), paths=paths, asks=(right,), until=until, certificates=certificates)
    await session.change([("policy", msgspec.structs.replace(session.policy, roles=(*session.policy.roles, role)))])
    return {"name": name, "asks": [right], "paths": list(paths), "until": until}


def _own(session: Session) -> Operator:
    """The public half of whoever signs here. Raises BadInput where that is no operator."""
    for operator in _root(session).operators:
        if operator.key == session.signer.key:
            return operator
    raise BadInput("no right was given", "your own key is no operator's", "name another: --key FILE")


async def set_ci_apps(session: Session, name: str, apps: Sequence[str]) -> None:
    """Let a CI key release the images of these apps, too. None is taken away: what it signed would stand on nothing."""
    await session.sync()
    policy, role = session.policy, _role(session, name)
    paths = tuple(dict.fromkeys((*role.paths, *(f"release/{app}" for app in apps))))
    if role.kinds != ("release",):
        raise BadInput(f"role {name} was not changed", "it is no CI role", "see skerry role ls")
    if paths != role.paths:
        roles = tuple(msgspec.structs.replace(r, paths=paths) if r.name == name else r for r in policy.roles)
        await session.change([("policy", msgspec.structs.replace(policy, roles=roles))])


async def add_operator(session: Session, name: str, public: Operator, root_keys: Sequence[Signer]) -> dict[str, Any]:
    """Another person: into the root, into the role of operators, and every app's secret is opened to that key."""
    await session.sync()
    _check_free(session, name, public.key)
    root, policy = _root(session), session.policy
    operator = msgspec.structs.replace(public, name=name)
    role = _operators_role(policy)
    with_key = msgspec.structs.replace(role, keys=(*role.keys, operator.key))
    raws = [
        session.draft_root(msgspec.structs.replace(root, operators=(*root.operators, operator)), root_keys),
        session.draft("policy", msgspec.structs.replace(policy, roles=_with(policy, with_key))),
    ]
    for document in session.documents("secret"):
        body = _secret(document)
        box = seal.make_box(session.content_key(document), operator.sealing, secrets.token_bytes(32))
        raws.append(
            session.draft(document.path, msgspec.structs.replace(body, boxes={**body.boxes, operator.key: box}))
        )
    for document in session.documents("pool"):
        pool = document.body
        if isinstance(pool, Pool) and not pool.deleted and session.signer.key in pool.tokens:
            token = seal.open_token(session.own.sealing, pool.tokens[session.signer.key])
            box = seal.make_box(token.encode(), operator.sealing, secrets.token_bytes(32))
            changed = msgspec.structs.replace(pool, tokens={**pool.tokens, operator.key: box})
            raws.append(session.draft(document.path, changed))
    raws += [session.draft(path, body) for path, body in alerts.opened_to(session, operator.key, operator.sealing)]
    await session.put(raws)
    return {"name": name, "kinds": list(with_key.kinds), "paths": list(with_key.paths)}


async def threshold(session: Session, name: str, needed: int, root_keys: Sequence[Signer]) -> dict[str, Any]:
    """How many must sign: for `policy` (said by the root) or for a role of the policy."""
    await session.sync()
    policy = session.policy
    if name == POLICY:
        root = _root(session)
        _check_threshold(name, needed, len(root.operators))
        # The policy that is held may bear too few signatures for the new rule: it is signed again, under a new epoch.
        changed = msgspec.structs.replace(root, policy_threshold=needed, policy_epoch=root.policy_epoch + 1)
        raws = [session.draft_root(changed, root_keys), session.draft("policy", policy, epoch=changed.policy_epoch)]
    else:
        role = _role(session, name)
        _check_threshold(name, needed, len(role.keys))
        again = _with(policy, msgspec.structs.replace(role, threshold=needed))
        # What was signed under a lower threshold doesn't stand under a higher one.
        raws = without(session, policy, role.keys if needed > role.threshold else (), again)
    await session.put(raws)
    return {"name": name, "threshold": needed}


async def rm(
    session: Session, name: str, root_keys: Sequence[Signer] = (), *, turn_back: bool = False
) -> dict[str, Any]:
    """Take a role, or an operator, away: its keys are barred and its last good documents signed again, all in one step.

    `turn_back`: of the releases that it signed, not the last ones are taken for good but those before them.
    """
    await session.sync()
    root, policy = _root(session), session.policy
    operator = next((o for o in root.operators if o.name == name), None)
    gone: tuple[str, ...]
    if operator is not None:
        if operator.key == session.signer.key or len(root.operators) == 1:
            raise LastOperator(
                f"operator {name} was not taken away", "it is the one that signs this very change", "let another do it"
            )
        gone = (operator.key,)
        kept = tuple(o for o in root.operators if o.key != operator.key)
        needed = min(root.policy_threshold, len(kept))
        new_root = msgspec.structs.replace(
            root, operators=kept, policy_threshold=needed, policy_epoch=root.policy_epoch + 1
        )
        raws = [session.draft_root(new_root, root_keys)]
        roles = tuple(rest for role in policy.roles if (rest := less(role, operator.key)) is not None)
    else:
        role = _role(session, name)
        roles = tuple(r for r in policy.roles if r.name != name)
        if session.signer.key in role.keys and not any(session.signer.key in r.keys for r in roles):
            raise LastOperator(
                f"role {name} was not taken away",
                "it is the one that signs this very change",
                "let another operator do it",
            )
        gone = tuple(k for k in role.keys if not any(k in r.keys for r in roles))
        raws, new_root = [], root
    changed = msgspec.structs.replace(policy, roles=roles, barred=(*policy.barred, *gone))
    back = await _releases_before(session, gone) if turn_back else {}
    touched = _touched(session, gone)
    readable = [
        d.path.removeprefix("secret/") for d in session.documents("secret") if _secret(d).boxes.keys() & {*gone}
    ]
    tokens = [
        d.path.removeprefix("pool/")
        for d in session.documents("pool")
        if isinstance(d.body, Pool) and d.body.tokens.keys() & {*gone}
    ]
    again = without(session, changed, gone, roles, policy_epoch=new_root.policy_epoch, instead=back)
    await session.put([*raws, *again])
    return {
        "name": name,
        "signed_again": touched,
        "turned_back": sorted(back),
        "barred": list(gone),
        "secrets_it_could_read": readable,
        "tokens_it_could_read": tokens,
    }


def without(
    session: Session,
    policy: Policy,
    gone: Sequence[str],
    roles: Sequence[Role],
    *,
    policy_epoch: int | None = None,
    instead: Mapping[str, Body] | None = None,
) -> list[bytes]:
    """The policy, and what these keys signed, signed again: each in a new epoch, without boxes for who is gone. `instead`: other
    documents of the same step, and what is to stand where these keys signed something else.
    """
    touched = [d for d in session.trusted.documents() if d.path in _touched(session, gone)]
    epochs = dict(policy.epochs) | {d.path: session.trusted.epoch(d.path) + 1 for d in touched}
    raws = [session.draft("policy", msgspec.structs.replace(policy, roles=roles, epochs=epochs), epoch=policy_epoch)]
    bodies: dict[str, Body] = {d.path: d.body for d in touched}
    barred = set(policy.barred)
    for document in session.documents("secret"):
        body = _secret(document)
        if barred & body.boxes.keys():
            boxes = {holder: box for holder, box in body.boxes.items() if holder not in barred}
            bodies[document.path] = msgspec.structs.replace(body, boxes=boxes)
    for document in session.documents("pool"):
        pool = document.body
        if isinstance(pool, Pool) and barred & pool.tokens.keys():
            tokens = {holder: box for holder, box in pool.tokens.items() if holder not in barred}
            bodies[document.path] = msgspec.structs.replace(pool, tokens=tokens)
    for name, alert in alerts.receivers(session).items():
        if barred & alert.boxes.keys():
            boxes = {holder: box for holder, box in alert.boxes.items() if holder not in barred}
            bodies[f"alert/{name}"] = msgspec.structs.replace(alert, boxes=boxes)
    bodies |= instead or {}
    order = sorted(bodies, key=lambda path: (not path.startswith("node/"), path))
    return [*raws, *(session.draft(path, bodies[path], epoch=epochs.get(path)) for path in order)]


def _touched(session: Session, gone: Sequence[str]) -> list[str]:
    """What these keys signed, alone or with others, as it is held now."""
    documents = (d for d in session.trusted.documents() if d.kind not in ("root", "policy"))
    return sorted(d.path for d in documents if set(d.signers) & set(gone) and not session.trusted.lapsed(d.path))


async def _releases_before(session: Session, gone: Sequence[str]) -> dict[str, Release]:
    """Of each app whose release these keys signed: the one to turn back to, if it had one."""
    found: dict[str, Release] = {}
    for document in session.documents("release"):
        body = document.body
        if set(document.signers) & set(gone) and isinstance(body, Release) and body.fallback:
            before = (await session.named(body.fallback)).body
            assert isinstance(before, Release)
            found[document.path] = msgspec.structs.replace(before, fits=body.fits, fallback="")
    return found


def _check_free(session: Session, name: str, key: str) -> None:
    taken = {role.name for role in session.policy.roles} | {o.name for o in _root(session).operators} | {"root", POLICY}
    if name in taken:
        raise RoleTaken(
            f"role {name} was not added", "there is one of that name", "take it away first, or choose another name"
        )
    if key in session.policy.barred:
        raise RoleTaken(f"role {name} was not added", "its key was barred", "make a new one: skerry key new")


def _check_threshold(name: str, needed: int, holders: int) -> None:
    if not 1 <= needed <= holders:
        raise BadInput(f"the threshold of {name} is unchanged", f"{holders} hold it", f"give 1 to {holders}")


def _role(session: Session, name: str) -> Role:
    role = next((r for r in session.policy.roles if r.name == name), None)
    if role is None:
        known = ", ".join([*(o.name for o in _root(session).operators), *(r.name for r in session.policy.roles)])
        raise NoSuchRole(f"there is no role {name}", f"there are: {known}", "see skerry role ls")
    return role


def _operators_role(policy: Policy) -> Role:
    return next((role for role in policy.roles if role.name == OPERATORS), genesis.operators_role(()))


def _with(policy: Policy, role: Role) -> tuple[Role, ...]:
    return (*(r for r in policy.roles if r.name != role.name), role)


def less(role: Role, key: str) -> Role | None:
    """A role without a key; None when that was its last."""
    keys = tuple(k for k in role.keys if k != key)
    if not keys:
        return None
    certificates = {k: c for k, c in role.certificates.items() if k != key}
    return msgspec.structs.replace(role, keys=keys, threshold=min(role.threshold, len(keys)), certificates=certificates)


def _root(session: Session) -> Root:
    document = session.trusted.root
    assert document is not None and isinstance(document.body, Root)
    return document.body


def _secret(document: Document) -> Secret:
    assert isinstance(document.body, Secret)
    return document.body
