"""`host expel` and `host rm`: a host is cut off, or taken out and left as it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from skerry.client import alerts
from skerry.client.bundle import find_bundle
from skerry.client.cutting import Spread, hand_to_all
from skerry.client.enrolment import find, ssh_target
from skerry.client.keeping import all_pools, kept_by, signed_by, without_keepers
from skerry.client.session import Session
from skerry.core.intent import MANUAL, Body, Pool, Secret
from skerry.core.records import MachineSlot
from skerry.errors import Refusal, Unreachable
from skerry.machines.errors import NotOurHost
from skerry.machines.install import Install
from skerry.machines.ssh import Ssh
from skerry.machines.survey import survey

Progress = Callable[[str], None]


class OfAPool(Refusal):
    """The host is a machine of a pool: it is rented and returned, not added and removed."""

    code = "machine-of-a-pool"
    exit_code = 2


class StillVotes(Refusal):
    """The host is one of the voters: more than half of them would sooner be lost."""

    code = "still-votes"
    exit_code = 2


async def expel(session: Session, name: str) -> dict[str, Any]:
    """Cut a host off everywhere: its links, facts, tunnel and keys. Lists the secrets that it could read."""
    await _sync(session, 1)  # who knows something newer says so, and it is signed again
    document, node = find(session, name, expelled=True)
    lost = await _with_data(session, name)
    kept, machines = kept_by(session, document.path), signed_by(session, document.path)
    spread = await _sign_off(session, name)
    readable = [
        d.path.removeprefix("secret/")
        for d in session.documents("secret")
        if isinstance(d.body, Secret) and document.path in d.body.boxes
    ]
    opened = [app for app in node.boxes if app not in readable]  # a machine's own are in its enrolment
    return {
        "name": name,
        "state": "expelled",
        "known_to": [path.removeprefix("node/") for path in spread.kept_by],
        "not_yet_known_to": [path.removeprefix("node/") for path in spread.missing],
        "secrets_it_could_read": sorted({*readable, *opened}),
        "receivers_it_could_read": alerts.readable_by(session, document.path),
        "without_their_data": lost,
        **_of_pools(document.path, kept),
        "machines_it_enrolled": machines,
        "voted": document.path in {*session.policy.voters, *session.policy.voters_before},
    }


async def rm(
    session: Session,
    name: str,
    purge: bool,
    *,
    target: str | None = None,
    ssh_config: Path | None = None,
    identity: Path | None = None,
    jump: str = "",
    host_keys: Sequence[str] = (),
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Take a host out of the cloud and leave the machine as it was; `purge` also deletes its volumes and keys there.

    SSH comes first: a host that can't be reached stays what it is. A broken agent is mended before it cleans up.
    Raises OfAPool, StillVotes, NotOurHost.
    """
    await _sync(session)
    document, node = find(session, name, expelled=True)
    slot = MachineSlot.of_path(document.path)
    pool = all_pools(session).get(slot.pool) if slot is not None else None
    if pool is not None and pool.provider != MANUAL:
        raise OfAPool(f"{name} was not removed", "it is a pool's machine", f"skerry machine rm {name}")
    if document.path in session.policy.voters and len(session.nodes) > 1:
        others = [path.removeprefix("node/") for path in session.policy.voters if path != document.path]
        raise StillVotes(
            f"{name} was not removed",
            "it votes about the leases of exclusive slots",
            f"let another vote instead: skerry host voters set {' '.join(others)} HOST",
        )
    pools = kept_by(session, document.path)
    with Ssh(target or ssh_target(node), config=ssh_config, identity=identity, jump=jump, host_keys=host_keys) as ssh:
        found = await asyncio.to_thread(survey, ssh)
        if found.skerry_cloud and (found.skerry_cloud, found.skerry_node) != (session.file.id, document.path):
            raise NotOurHost(ssh.target, name, found.skerry_node)
        install = Install(ssh, progress)
        if found.skerry_version or found.skerry_cloud:
            bundle = find_bundle()
            await asyncio.to_thread(install.mend, bundle.path)
        lost = await _with_data(session, name)
        await _sign_off(session, name)
        removed = await asyncio.to_thread(lambda: install.rm(purge=purge))
        kept = [] if purge else await asyncio.to_thread(install.kept)
    of_pools = _of_pools(document.path, pools)
    return {"name": name, "removed": removed, "kept": kept, "without_their_data": lost, **of_pools}


def _of_pools(path: str, kept: dict[str, Pool]) -> dict[str, list[str]]:
    """What is to be told of the pools that a host kept until now."""
    return {
        "kept_pools": sorted(kept),
        "tokens_it_could_read": sorted(name for name, pool in kept.items() if path in pool.tokens),
        "keys_of_its_own": sorted(n for n, pool in kept.items() if path not in pool.tokens and pool.provider != MANUAL),
        "without_keeper": sorted(name for name, pool in kept.items() if {*pool.keepers} == {path}),
    }


async def _with_data(session: Session, name: str) -> list[str]:
    """Slots whose data is there and only there: they begin empty elsewhere, as nobody can wait for a host that is out."""
    try:
        rows = await session.request("ps", {"subject": ""})
    except Unreachable:
        return []
    return sorted(row["slot"] for row in rows if row["node"] == name and row["pinned"])


async def _sync(session: Session, hosts: int = 2) -> None:
    """The last host of a cloud may be dead: then what is known here must do."""
    try:
        await session.sync(hosts)
    except Unreachable:
        if len(session.nodes) > 1:
            raise


async def _sign_off(session: Session, name: str) -> Spread:
    """Its enrolment as expelled, told to every host that answers."""
    path = f"node/{name}"
    return await hand_to_all(session, lambda: _signed_off(session, name), without=[path])


def _signed_off(session: Session, name: str) -> list[bytes]:
    """Keys that policy had let in again after an earlier expulsion are barred anew.

    What it signed as a keeper of machines is signed again in the same step, and its key is good for nothing any more.
    """
    document, node = find(session, name, expelled=True)
    policy = session.policy
    keys = {node.signing, node.sealing, node.wireguard}
    if keys & set(policy.readmitted):
        rest = tuple(key for key in policy.readmitted if key not in keys)
        policy = msgspec.structs.replace(policy, readmitted=rest)
    over: dict[str, Body] = {}
    if node.state != "expelled":
        over[document.path] = msgspec.structs.replace(node, state="expelled")
    if kept := kept_by(session, document.path):
        return without_keepers(session, policy, [document.path], kept, over, bar=True)
    changes: list[tuple[str, Body]] = [("policy", policy)] if policy != session.policy else []
    return [session.draft(path, body) for path, body in [*changes, *over.items()]]
