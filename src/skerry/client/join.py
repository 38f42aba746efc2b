"""`host add`: a machine joins over one SSH session. What joins SSH (machines), signing (trust) and asking (session)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from skerry.client.bundle import find_bundle
from skerry.client.enrolment import check_barred, enrol, enrol_machine, hand_over, handed_over, name_for, signed
from skerry.client.machines import slot_named
from skerry.client.pools import find_pool
from skerry.client.session import PORT, Session
from skerry.core.intent import Node
from skerry.errors import NotInTime, Refusal, SkerryError, Unreachable
from skerry.machines.install import Install
from skerry.machines.ssh import Ssh
from skerry.machines.survey import Survey, judge, survey
from skerry.trust import joining

JOIN_TIMEOUT_S = 30.0
TUNNEL_TIMEOUT_S = 5.0  # a tunnel's first handshake: both ends must have heard of the host

Progress = Callable[[str], None]


class HostUnfit(Refusal):
    """What the survey found rules the host out, for several reasons."""

    code = "host-unfit"


async def add(
    session: Session,
    target: str,
    *,
    name: str | None = None,
    labels: dict[str, str] | None = None,
    zone: str = "",
    slot: str = "",
    voter_only: bool = False,
    readmit: bool = False,
    ssh_config: Path | None = None,
    identity: Path | None = None,
    jump: str = "",
    host_keys: Sequence[str] = (),
    address: str | None = None,
    timeout_s: float = JOIN_TIMEOUT_S,
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Join the host behind `target` (root@address) over one SSH session; afterwards SSH is never used again.

    `voter_only`: it grants leases and runs nothing; no app's secrets are opened to it.
    `slot`: as that machine of a pool (burst/3), which somebody has brought; what it draws is then the pool's to say.

    Run again it changes nothing, and mends a broken agent. Raises what `judge` finds, NameTaken, HostBarred, Unreachable,
    NotInTime; until the host was found fit nothing is changed anywhere.
    """
    bundle = find_bundle()
    with Ssh(target, config=ssh_config, identity=identity, jump=jump, host_keys=host_keys) as ssh:
        found = await asyncio.to_thread(survey, ssh)
        for line in found.lines():
            progress(line)
        check_fit(found, target, session.file.id)
        await _learn(session, found)
        called = slot or name_for(session, found, name)
        held = session.trusted.nodes.get(f"node/{called}")
        if held is not None and isinstance(held.body, Node) and found.skerry_node == held.path:
            check_barred(session, called, (held.body.signing,), readmit)
        install = Install(ssh, progress)
        await asyncio.to_thread(install.bundle, bundle.path)
        keys = await asyncio.to_thread(install.keys, bundle.version)
        if slot:
            machine = slot_named(slot)
            own, at = msgspec.convert(keys, joining.Keys), address or found.address
            readmitted = check_barred(session, called, (own.signing, own.sealing, own.wireguard), readmit)
            wanted = enrol_machine(session, machine, find_pool(session, machine.pool), own, at, zone)
            wanted = msgspec.structs.replace(wanted, readmitted=readmitted)
        else:
            wanted = enrol(
                session,
                found,
                keys,
                bundle,
                called,
                labels=labels or {},
                zone=zone,
                address=address,
                readmit=readmit,
                voter_only=voter_only,
            )
        new = wanted.path not in session.nodes
        if not wanted.held:
            progress(f"signing {wanted.path}: {wanted.body.addresses[0]}, containers in {wanted.body.subnet}")
            await hand_over(session, signed(session, wanted), without=[wanted.path])
        await asyncio.to_thread(install.join, bundle.version, handed_over(session, wanted.path))
        await asyncio.to_thread(install.unit, bundle.version)
        await asyncio.to_thread(install.start, timeout_s)
    await wait_for_answer(session, wanted.path, timeout_s)
    return {
        "name": called,
        "address": wanted.body.addresses[0],
        "subnet": wanted.body.subnet,
        "new": new,
        "done": install.done,
        "unreachable_from": await closed_from(session, wanted.path, wanted.body),
        "open_ports": [f"{PORT}/tcp", f"{PORT}/udp"],
        "found": found.lines(),
    }


def check_fit(found: Survey, target: str, cloud: str) -> None:
    """Raises what stands in the way of joining; of several things all, with the exit code of the gravest."""
    problems = judge(found, cloud=cloud)
    if not problems:
        return
    if len(problems) == 1:
        raise problems[0]
    unfit = HostUnfit(
        f"{target} can't join",
        "\n".join(problem.why for problem in problems),
        "\n".join(dict.fromkeys(problem.fix for problem in problems)),
    )
    unfit.exit_code = max(problem.exit_code for problem in problems)  # type: ignore[misc]
    raise unfit


async def _learn(session: Session, found: Survey) -> None:
    """What the cloud holds by now. To mend one of its own hosts nobody else has to answer: it may be the only one."""
    if not session.nodes:
        return
    try:
        await session.sync()
    except Unreachable:
        if found.skerry_cloud != session.file.id or found.skerry_node not in session.nodes:
            raise


async def wait_for_answer(session: Session, path: str, timeout_s: float) -> dict[str, Any]:
    """Wait until that host's agent answers an operator. Raises NotInTime with the last reason."""
    deadline_s = time.monotonic() + timeout_s
    why = ""
    while time.monotonic() < deadline_s:
        try:
            return dict(await session.request("status", node=path))
        except SkerryError as error:
            why = str(error)
        await asyncio.sleep(0.1)
    raise NotInTime(
        f"{path.removeprefix('node/')} did not answer within {timeout_s:.0f} s",
        why,
        f"open {PORT}/tcp and {PORT}/udp on it; its own words: journalctl -u skerry",
    )


async def closed_from(session: Session, path: str, node: Node) -> list[str]:
    """Which other hosts can't reach this one, and by what: links (TCP), or the tunnel (UDP) behind which its names answer."""
    gateway = node.subnet.rpartition(".")[0] + ".1"
    others = [n for n in session.nodes if n != path]
    asked = {f"{PORT}/tcp": (node.addresses[0], 2.0), f"{PORT}/udp": (f"{gateway}:53", TUNNEL_TIMEOUT_S)}
    found = await asyncio.gather(
        *(_closed(session, n, port, *what) for n in others for port, what in asked.items()),
    )
    return [line for line in found if line]


async def _closed(session: Session, node: str, port: str, address: str, timeout_s: float) -> str:
    """Why `node` can't reach it, "" if it can or isn't there to be asked."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            answer = await session.request("reach", {"address": address}, node=node)
        except SkerryError:
            return ""
        if answer["ok"]:
            return ""
        if time.monotonic() > deadline_s:
            return f"{node.removeprefix('node/')} by {port}: {answer['why']}"
        await asyncio.sleep(0.2)
