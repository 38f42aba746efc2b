"""`machine pool`: what operators agree to let keepers rent. Everything is looked at before anything is signed.

A pool is one document and, where hosts keep it, one role of the policy: the keepers' own keys, for `node/<pool>/*` and nothing
else. Signed together, so that no keeper stands in one without the other.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from skerry.client.bundle import find_bundle
from skerry.client.enrolment import NAME, find, pool_block
from skerry.client.keeping import all_pools as all_pools
from skerry.client.keeping import (
    keeper_keys,
    own_token,
    renew_token,
    sealed,
    with_keepers,
    without_keepers,
)
from skerry.client.offers import SHOWN, Fit, alone, compare, price_lists, tokens_said
from skerry.client.pool_look import look
from skerry.client.session import Session
from skerry.client.upgrade import hand_bundle
from skerry.client.walls import Firewall, walled
from skerry.client.widening import widened
from skerry.core.intent import Body, Pool
from skerry.core.records import MachineSlot
from skerry.errors import BadInput, Refusal
from skerry.machines.providers import MEETING
from skerry.machines.userdata import ENROL_PORT

KEEPERS = 2  # where nobody says which: enough that one may be lost, few enough to hold a provider's token

Progress = Callable[[str], None]


class NoSuchPool(BadInput):
    code = "no-such-pool"


class PoolTaken(Refusal):
    """There is a pool, or a host, of that name."""

    code = "pool-taken"
    exit_code = 2


class StillMachines(Refusal):
    """What was asked for is only possible while the pool has no machine."""

    code = "pool-has-machines"
    exit_code = 2


async def set_(
    session: Session,
    name: str,
    changes: dict[str, Any],
    *,
    token: str = "",
    keepers: Sequence[str] | None = None,
    firewall: Firewall | None = None,
    progress: Progress = lambda line: None,
    warn: Progress = lambda line: None,
) -> dict[str, Any]:
    """Change fields of a pool, its provider's token, or who keeps it, in one step. Raises as `add` does."""
    await session.sync()
    pool = find_pool(session, name)
    if pool.others and (changes.get("size") or changes.get("image")):
        raise BadInput(
            f"pool {name} was not changed", "it has several providers, each with its own names of sizes and images",
            "another size: --cpus, --memory in a new pool; this one can be removed: skerry machine pool rm " + name,
        )  # fmt: skip
    changed = msgspec.structs.replace(pool, **changes)
    if token and pool.others:
        token = tokens_said(pool, own_token(session, pool), token)
    if changed.max != pool.max:
        changed = msgspec.structs.replace(changed, network=_network(session, name, changed))
    at = list(pool.keepers) if keepers is None else _other_keepers(session, name, pool, keepers)
    gone, new = [path for path in pool.keepers if path not in at], [path for path in at if path not in pool.keepers]
    result: dict[str, Any] = {"pool": name, "changed": sorted(changes) + ["token"] * bool(token)}
    if {*changes} & {"size", "image", "regions", "max", "spend_usd_month"} or token:
        looked = await look(session, changed, token or own_token(session, changed))
        if "spend_usd_month" not in changes and pool.spend_usd_month >= looked.whole(pool.max):
            changed = msgspec.structs.replace(changed, spend_usd_month=looked.whole(changed.max))
        for warning in looked.of(changed):
            warn(warning)
        progress(looked.most(changed))
        result["most"] = looked.most(changed)
    if firewall is not None:
        known = token or ("" if firewall.token else own_token(session, changed))
        changed = await walled(session, name, changed, firewall, known, progress, warn)
    if new:
        changed = await _with_keepers(session, changed, at, new, progress)
    if changed.keepers and (token or new):
        known = token or own_token(session, changed)
        changed = msgspec.structs.replace(changed, tokens=sealed(session, known, changed.keepers))
    if gone or new:
        policy = with_keepers(session.policy, name, tuple(changed.keepers.values()))
        await session.put(without_keepers(session, policy, gone, {name: changed}, {}, bar=False))
        progress(f"kept by {', '.join(path.removeprefix('node/') for path in find_pool(session, name).keepers)}")
    elif changed != pool:
        await session.change([(f"pool/{name}", changed)])
    if gone and pool.tokens:
        result["token_known_to"] = [path.removeprefix("node/") for path in gone]
        warn(
            f"{', '.join(result['token_known_to'])} {'knows' if len(gone) == 1 else 'know'} {renew_token(name, token)}"
        )
    return result


def _other_keepers(session: Session, name: str, pool: Pool, keepers: Sequence[str]) -> list[str]:
    """Paths. Also for a pool whose last keeper was expelled. Raises BadInput, NoSuchHost."""
    if not keepers or pool.options.get(MEETING):
        raise BadInput(
            f"the keepers of {name} are unchanged", "with and without keepers are two kinds of pools",
            f"remove it and add it anew: skerry machine pool rm {name}",
        )  # fmt: skip
    return [_fixed(session, each) for each in keepers]


async def _with_keepers(
    session: Session, pool: Pool, paths: Sequence[str], new: Sequence[str], progress: Progress
) -> Pool:
    """The pool with those who come, too: they have a key and its agent by then. Who goes is taken away with its right."""
    keys, bundle = await keeper_keys(session, new), find_bundle()
    await hand_bundle(session, bundle, paths if bundle.sha256 != pool.bundle else new, progress)
    return msgspec.structs.replace(pool, keepers={**pool.keepers, **keys}, bundle=bundle.sha256)


def _network(session: Session, name: str, pool: Pool) -> str:
    """A block for as many machines as it shall have. The one it has, if that is enough: machines keep their addresses."""
    held = ipaddress.IPv4Network(pool.network)
    if 1 << (24 - held.prefixlen) >= pool.max:
        return pool.network
    if any(slot.pool == name for path in session.nodes if (slot := MachineSlot.of_path(path)) is not None):
        raise StillMachines(
            f"pool {name} was not changed",
            f"its network {pool.network} is for {1 << (24 - held.prefixlen)} machines, and some are in it",
            f"add another pool, or empty it first: skerry machine pool set {name} --max 0",
        )
    return pool_block(session, pool.max, but=name)


async def forget(session: Session, name: str) -> None:
    """The tombstone of a pool that has no machine any more, and the end of its keepers' role."""
    pool = find_pool(session, name)
    over = Pool(provider=pool.provider, max=0, network=pool.network, deleted=True)
    if pool.keepers:
        raws = without_keepers(
            session, session.policy, list(pool.keepers), {name: pool}, {f"pool/{name}": over}, bar=False
        )
        await session.put(raws)
    else:
        await session.change([(f"pool/{name}", over)])


def ls(session: Session) -> list[dict[str, Any]]:
    return [
        {
            "pool": name,
            "provider": ", ".join(name or pool.provider for name in pool.offers()),
            "min": pool.min,
            "max": pool.max,
            "size": pool.size or "cheapest",
            "spend_usd_month": pool.spend_usd_month,
            "regions": list(pool.regions),
            "keepers": [path.removeprefix("node/") for path in pool.keepers],
        }
        for name, pool in all_pools(session).items()
    ]


def show(session: Session, name: str) -> dict[str, Any]:
    """All that operators signed of it, but for what is sealed."""
    pool = find_pool(session, name)
    holders = [path.removeprefix("node/") for path in pool.tokens if path.startswith("node/")]
    return {"pool": name, **msgspec.to_builtins(pool), "tokens": holders}


async def prices(session: Session, name: str, *, warn: Progress = lambda line: None) -> list[Fit]:
    """What the providers of a pool offer it now. Raises NoSuchPool, CannotOpen, and as providers do."""
    await session.sync(1)
    pool = find_pool(session, name)
    return compare(pool, await price_lists(pool, own_token(session, pool), warn=warn))


def find_pool(session: Session, name: str) -> Pool:
    """Raises NoSuchPool."""
    pools = all_pools(session)
    if name not in pools:
        raise NoSuchPool(
            f"there is no pool {name}", f"this cloud has: {', '.join(pools) or 'none'}", "see skerry machine pool ls"
        )
    return pools[name]


async def add(
    session: Session,
    name: str,
    wanted: Pool,
    *,
    token: str = "",
    keepers: Sequence[str] | None = None,
    firewall: Firewall | None = None,
    progress: Progress = lambda line: None,
    warn: Progress = lambda line: None,
) -> dict[str, Any]:
    """Sign pool `name`. `wanted`: without network, keepers, tokens and bundle, which are found here. `keepers`: None for the first
    two hosts, () for none: then operators rent, and `wanted.options` names the meeting point.

    Raises PoolTaken, NoSuchHost, NoSuchSize, and what the provider refuses, with nothing changed.
    """
    await session.sync()
    _check_name(session, name)
    bundle = find_bundle()
    at = _keepers(session, keepers, wanted)
    looked = await look(session, wanted, token)
    fits = looked.fits
    if wanted.others and not at:  # nobody is there to ask the others when the first has none
        wanted, token = alone(wanted, token)[fits[0].offer]
        looked = msgspec.structs.replace(looked, fits=(msgspec.structs.replace(fits[0], offer=""),))
    if not wanted.spend_usd_month:  # what was shown is what is signed: keepers rent nothing beyond it
        wanted = msgspec.structs.replace(wanted, spend_usd_month=looked.whole(wanted.max))
    for warning in looked.of(wanted):
        warn(warning)
    progress(looked.most(wanted))
    if firewall is not None:
        wanted = await walled(session, name, wanted, firewall, token, progress, warn)
    keys = await keeper_keys(session, at)
    holders = [*keys] if keys else [f"node/{wanted.options[MEETING]}"]
    await hand_bundle(session, bundle, holders, progress)
    pool = msgspec.structs.replace(
        wanted,
        network=pool_block(session, wanted.max, but=name),
        keepers=keys,
        tokens=sealed(session, token, keys) if keys else {},
        bundle=bundle.sha256,
    )
    changes: list[tuple[str, Body]] = [(f"pool/{name}", pool)]
    policy = widened(session.policy)
    if keys:
        policy = with_keepers(policy, name, tuple(keys.values()))
    if policy != session.policy:
        changes.insert(0, ("policy", policy))
    progress(f"signing {', '.join(path for path, _ in changes)}")
    await session.change(changes)
    return {
        "pool": name,
        "size": looked.size.name,
        "provider": looked.fits[0].offer or wanted.provider if looked.fits else wanted.provider,
        "fits": [fit.row() for fit in fits if fit.fit][:SHOWN],
        "max": pool.max,
        "most": looked.most(pool),
        "keepers": [path.removeprefix("node/") for path in keys],
        "network": pool.network,
        "open_ports": {path.removeprefix("node/"): f"{ENROL_PORT}/tcp" for path in holders},
        "warnings": list(looked.of(pool)),
    }


def _check_name(session: Session, name: str) -> None:
    if not NAME.fullmatch(name):
        raise BadInput(
            f"{name!r} can't be a pool's name", "it has small letters, digits and dashes, at most 63", "such as burst"
        )
    if name in all_pools(session) or f"node/{name}" in session.nodes:
        what = "a pool" if name in all_pools(session) else "a host"
        raise PoolTaken(
            f"pool {name} was not added",
            f"there is {what} of that name",
            f"skerry machine pool set {name}, or another name",
        )


def _keepers(session: Session, names: Sequence[str] | None, wanted: Pool) -> list[str]:
    """Paths. Raises NoSuchHost, BadInput."""
    fixed = [path for path in sorted(session.nodes) if MachineSlot.of_path(path) is None]
    if names is None:
        return fixed[:KEEPERS]
    if not names:
        find(session, wanted.options.get(MEETING, "") or "the meeting point")
    return [_fixed(session, name) for name in names]


def _fixed(session: Session, name: str) -> str:
    document, _ = find(session, name)
    if MachineSlot.of_path(document.path) is not None:
        raise BadInput(
            f"{name} can't keep a pool", "it is a machine of one, and may go", "name fixed hosts: skerry host ls"
        )
    return document.path
