"""`host adopt`: hosts whose cloud's keys are lost are taken into this cloud by SSH alone; what they run goes on running.

All hosts of the old cloud should be named at once: they change over together, so nobody takes another's slots for vacant.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from skerry.client.bundle import find_bundle
from skerry.client.enrolment import NAME, Enrolment, NameTaken, enrol, hand_over, handed_over, signed
from skerry.client.join import JOIN_TIMEOUT_S, check_fit, wait_for_answer
from skerry.client.session import Session
from skerry.core.intent import App, Body, Node, Release
from skerry.errors import BadFormat, BadInput, Refusal
from skerry.machines.install import Install
from skerry.machines.ssh import Ssh
from skerry.machines.survey import Survey, survey
from skerry.outside import UNREADABLE
from skerry.trust import seal
from skerry.trust.accept import Trusted, load_all

Progress = Callable[[str], None]


class NothingToAdopt(Refusal):
    """The host is in no cloud, or in this one."""

    code = "nothing-to-adopt"


class SeveralClouds(BadInput):
    """The hosts to adopt say that they are of different clouds."""

    code = "several-clouds"


class _Handover(msgspec.Struct, frozen=True):
    """What `skerry-agent handover` prints."""

    cloud: str
    node: str
    records: list[bytes]
    facts: list[str]
    boxes: dict[str, str]


class _Adopted(msgspec.Struct):
    """One host on its way over."""

    install: Install
    found: Survey
    given: _Handover
    enrolment: Enrolment


async def adopt(
    session: Session,
    targets: Sequence[str],
    *,
    ssh_config: Path | None = None,
    identity: Path | None = None,
    jump: str = "",
    host_keys: Sequence[str] = (),
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Take these hosts and their apps into this cloud. Raises what `host add` raises, NothingToAdopt, SeveralClouds."""
    bundle = find_bundle()
    if session.nodes:
        await session.sync()
    with contextlib.ExitStack() as stack:
        sshs = [
            stack.enter_context(Ssh(target, config=ssh_config, identity=identity, jump=jump, host_keys=host_keys))
            for target in targets
        ]
        looked = await asyncio.gather(*(asyncio.to_thread(survey, ssh) for ssh in sshs))
        for ssh, found in zip(sshs, looked, strict=True):
            _check(session, ssh.target, found)
        if len({found.skerry_cloud for found in looked}) > 1:
            raise SeveralClouds(
                "nothing was adopted",
                "; ".join(f"{found.hostname} is of cloud {found.skerry_cloud[:12]}" for found in looked),
                "adopt the hosts of one cloud at a time",
            )
        adopted = []
        for ssh, found in zip(sshs, looked, strict=True):
            install = Install(ssh, progress)
            await asyncio.to_thread(install.bundle, bundle.path)
            keys = await asyncio.to_thread(install.keys, bundle.version)
            asked = msgspec.json.encode({"cloud": session.file.id, "sealing": _sealing(session)})
            answer = await asyncio.to_thread(install.handover, bundle.version, asked)
            given = _read(answer, found.hostname)
            was = _old(given).nodes.get(given.node)
            enrolment = enrol(
                session, found, keys, bundle, given.node.removeprefix("node/"), labels={}, zone="", address=None,
                like=was.body if was is not None and isinstance(was.body, Node) else None,
            )  # fmt: skip
            adopted.append(_Adopted(install, found, given, enrolment))
        apps = await _sign(session, adopted, progress)
        await _change_over(session, adopted, bundle.version)
    for each in adopted:
        await wait_for_answer(session, each.enrolment.path, JOIN_TIMEOUT_S)
    return {"hosts": [each.enrolment.path.removeprefix("node/") for each in adopted], "apps": apps}


def _check(session: Session, target: str, found: Survey) -> None:
    """Before anything is changed anywhere."""
    check_fit(found, target, "")
    name = found.skerry_node.removeprefix("node/")
    if not found.skerry_cloud or found.skerry_cloud == session.file.id or not NAME.fullmatch(name):
        where = "this cloud already" if found.skerry_cloud else "no cloud"
        raise NothingToAdopt(
            f"{target} was not adopted", f"it is in {where}", f"join or mend it: skerry host add {target}"
        )
    if f"node/{name}" in session.nodes:
        raise NameTaken(
            f"{target} was not adopted",
            f"this cloud has another host called {name}",
            f"skerry host rm {name}, and again",
        )


async def _sign(session: Session, adopted: list[_Adopted], progress: Progress) -> list[str]:
    """Enrolments first, as secrets are opened to them; then each app as the old cloud's newest documents have it."""
    paths = [each.enrolment.path for each in adopted]
    progress(f"signing {', '.join(paths)}")
    for each in adopted:
        await hand_over(session, signed(session, each.enrolment), without=paths)
    boxes = {app: box for each in adopted for app, box in each.given.boxes.items()}
    old = load_all(adopted[0].given.cloud, [raw for each in adopted for raw in each.given.records])
    apps = []
    for document in sorted(old.documents(), key=lambda d: d.path):
        app = document.path.removeprefix("app/")
        if not isinstance(document.body, App) or document.body.deleted or session.document(document.path) is not None:
            continue
        changes: list[tuple[str, Body]] = []
        if app in boxes:
            key = seal.open_box(session.own.sealing, boxes[app])
            changes.append((f"secret/{app}", session.seal_for_all(key)))
        changes.append((document.path, msgspec.structs.replace(document.body, fallback="")))
        release = old.document(f"release/{app}")
        if release is not None and isinstance(release.body, Release):
            changes.append((release.path, msgspec.structs.replace(release.body, fits=1, fallback="")))
        progress(f"signing {', '.join(path for path, _ in changes)}")
        await hand_over(session, [session.draft(path, body) for path, body in changes], without=paths)
        apps.append(app)
    return apps


async def _change_over(session: Session, adopted: list[_Adopted], version: str) -> None:
    """All agents stop, change their cloud, and start together; containers run on meanwhile."""
    for each in adopted:
        await asyncio.to_thread(each.install.stop)
    facts = [fact for each in adopted for fact in each.given.facts]
    for each in adopted:
        records = handed_over(session, each.enrolment.path, facts)
        await asyncio.to_thread(each.install.join, version, records, adopt=True)
        await asyncio.to_thread(each.install.unit, version)
    await asyncio.gather(*(asyncio.to_thread(each.install.start, JOIN_TIMEOUT_S) for each in adopted))


def _read(answer: bytes, host: str) -> _Handover:
    """What a host that may be anybody's prints. Raises BadFormat."""
    try:
        return msgspec.json.decode(answer, type=_Handover)
    except UNREADABLE as error:
        raise BadFormat(
            f"{host} was not adopted", f"what it hands over can't be read: {error}", "install it anew"
        ) from None


def _old(given: _Handover) -> Trusted:
    return load_all(given.cloud, given.records)


def _sealing(session: Session) -> str:
    """This operator's public sealing key."""
    return next(o.sealing for o in session.trusted.operators() if o.key == session.signer.key)
