"""A plan, carried out step by step. What was done stays done: after an interruption or an error the same again goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from skerry.client import alerts, apps, deploy, drain, join, leave, machines, measures, pools, roles
from skerry.client.enrolment import find
from skerry.client.folder import alerts as alerting
from skerry.client.folder import tools as tooling
from skerry.client.folder.plan import Plan, pool_changes, wished_node
from skerry.client.folder.read import Folder
from skerry.client.folder.steps import Step
from skerry.client.images import LocalImages, Progress
from skerry.client.session import Session
from skerry.core.alerting.rules import RULES
from skerry.core.intent import Pool
from skerry.trust.seal import token_text

NETWORK = "10.77.0.0/16"  # a pool's own block is found when it is added


class How(msgspec.Struct, frozen=True, kw_only=True):
    """`token`: a provider's, by its name. `ssh`: what joining and leaving take of it. `timeout_s`: of each step."""

    images: LocalImages
    token: Callable[[str], str] = str
    ssh: dict[str, Any] = {}
    timeout_s: float = 300.0


async def apply(
    session: Session, folder: Folder, plan: Plan, how: How, progress: Progress = lambda line: None
) -> list[str]:
    """Gives what was done, "add app/shop". Raises what a step raises; the steps before it are done."""
    done: list[str] = []
    for step in plan.steps:
        progress(f"{step.action} {step.path}")
        if session.nodes:
            await session.sync()
        await _STEPS[step.kind](session, folder, step, how, progress)
        done.append(f"{step.action} {step.path}")
    return done


async def _role(session: Session, folder: Folder, step: Step, how: How, progress: Progress) -> None:
    if step.action == "remove":
        await roles.rm(session, step.name)
        return
    wish = (folder.roles or {})[step.name]
    if step.action == "change":
        await roles.set_ci_apps(session, step.name, wish.apps)
        return
    assert wish.public is not None
    await roles.add_ci(session, step.name, wish.public, wish.apps)


async def _host(session: Session, folder: Folder, step: Step, how: How, progress: Progress) -> None:
    if step.action == "remove":
        await leave.rm(session, step.name, purge=False, **how.ssh, progress=progress)
        return
    wish = (folder.hosts or {})[step.name]
    if step.action == "add":
        ssh = {**how.ssh, "jump": wish.jump or how.ssh.get("jump", "")}
        ssh["host_keys"] = wish.host_keys or how.ssh.get("host_keys", ())
        more: dict[str, Any] = {"labels": wish.labels, "zone": wish.zone or "", "address": wish.address or None}
        await join.add(session, wish.target, name=step.name, progress=progress, **more, **ssh)
    document, node = find(session, step.name)
    changed = msgspec.structs.replace(wished_node(node, wish), state=node.state)
    if changed != node:
        await session.change([(document.path, changed)])
    if wish.state == "draining" != node.state:
        await drain.drain(session, step.name, how.timeout_s, progress)
    elif wish.state == "active" != node.state:
        await drain.undrain(session, step.name)


async def _pool(session: Session, folder: Folder, step: Step, how: How, progress: Progress) -> None:
    if step.action == "remove":
        await machines.pool_rm(session, step.name, token=how.token, timeout_s=how.timeout_s, progress=progress)
        return
    wish = (folder.pools or {})[step.name]
    if step.action == "add":
        wanted = Pool(network=NETWORK, **wish.fields)
        token = token_text({name: how.token(name or offer.provider) for name, offer in wanted.offers().items()})
        await pools.add(session, step.name, wanted, token=token, keepers=wish.keepers, progress=progress, warn=progress)
        return
    changes: dict[str, Any] = pool_changes(pools.find_pool(session, step.name), wish)
    keepers = wish.keepers if any(field.field == "keepers" for field in step.fields) else None
    await pools.set_(session, step.name, changes, keepers=keepers, progress=progress, warn=progress)


async def _app(session: Session, folder: Folder, step: Step, how: How, progress: Progress) -> None:
    if step.action == "remove":
        await apps.rm(session, step.name, images=how.images, timeout_s=how.timeout_s, progress=progress)
        return
    app = (folder.apps or {})[step.name]
    await deploy.deploy(session, app, images=how.images, timeout_s=how.timeout_s, progress=progress)


async def _tools(session: Session, folder: Folder, step: Step, how: How, progress: Progress) -> None:
    wish = (folder.tools or {}).get(step.name)
    await tooling.carry_out(session, step.name, None if step.action == "remove" else wish, how.images, progress)


async def _receiver(session: Session, folder: Folder, step: Step, how: How, progress: Progress) -> None:
    if step.action == "remove":
        await alerts.rm(session, step.name)
        return
    wish = (folder.receivers or {})[step.name]
    await alerts.add(session, step.name, wish.receiver, wish.reach, replace=True)


async def _rule(session: Session, folder: Folder, step: Step, how: How, progress: Progress) -> None:
    if step.name not in RULES:
        wish = (folder.rules or {}).get(step.name)
        await (
            measures.rm(session, step.name) if wish is None else measures.set_measure(session, step.name, wish.changes)
        )
        return
    wish = (folder.rules or {}).get(step.name, alerting.RuleWish())
    await alerts.set_rule(session, step.name, wish.changes, reset=step.action == "remove")


_STEPS = {
    "host": _host,
    "role": _role,
    "pool": _pool,
    "tools": _tools,
    "receiver": _receiver,
    "rule": _rule,
    "app": _app,
}
