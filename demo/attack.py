"""The attacker's turn: the keys of a dead machine, taken off its disk, and five records forged with them.

The thief is a good engineer: the links are real, the signatures valid, the versions newer. What it lacks is a role.
"""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from demo.skerry import Skerry
from skerry.client.home import Home
from skerry.core.facts import SlotState
from skerry.core.intent import App, Node, Policy, Release
from skerry.core.messages import Push, encode
from skerry.core.records import Document
from skerry.lab.lab import Lab
from skerry.mesh.dial import Identity, dial
from skerry.trust.accept import Trusted
from skerry.trust.documents import sign_document, sign_fact
from skerry.trust.identity import Signer, private_pem

ANSWER_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Result:
    what: str
    host: str
    accepted: bool
    answer: str


def play(lab: Lab, skerry: Skerry) -> list[Result]:
    """Kill a machine, take its keys, forge, hand over, and look at what the others did."""
    rows = skerry.json("ps")
    store = next(r["node"] for r in rows if r["service"] == "store")
    victim = next(m.name for m in lab.status() if m.name != store)
    lab.kill(victim)
    stolen = lab.disk(victim)
    signer = Signer(bytes.fromhex((stolen / "keys" / "signing").read_text().strip()))
    certificate = (stolen / "keys" / "certificate.der").read_bytes()
    trusted = _read_what_it_held(skerry.home)
    others = {d.path: d for d in trusted.nodes.values() if d.path != f"node/{victim}"}
    forged = _forge(trusted, signer, victim, next(iter(others)))
    results: list[Result] = []
    for path, document in others.items():
        before = _heads(skerry)
        asyncio.run(_hand_over(document, Identity(certificate, private_pem(signer.seed)), list(forged.values())))
        refusals = _refusals(skerry, path, victim, len(forged))
        after = _heads(skerry)
        for what in forged:
            answer = next((r for r in refusals if what.partition(" ")[0] in r), "refused without a word")
            results.append(Result(what, path.removeprefix("node/"), before != after, answer))
    lab.boot(victim)
    return results


def _read_what_it_held(home: Path) -> Trusted:
    """The thief knows all records that the machine held; they are no secret. Here they come from the operator's copy."""
    file = Home(home).cloud("demo").read()
    trusted = Trusted(file.id)
    for text in (*file.roots, *file.documents.values()):
        trusted.load(base64.b64decode(text))
    return trusted


def _forge(trusted: Trusted, thief: Signer, victim: str, other: str) -> dict[str, bytes]:
    """Five records, each newer than what is held and signed with the stolen key."""

    def next_of(path: str, change: Any) -> bytes:
        held = trusted.document(path)
        assert isinstance(held, Document)
        now_s = time.time()
        return sign_document(
            thief,
            trusted.cloud,
            path,
            change(held.body),
            epoch=held.epoch,
            version=held.version + 1,
            prev=held.hash,
            issued=now_s,
            expires=now_s + 86400,
        )

    def more_rights(body: App) -> App:
        web = msgspec.structs.replace(body.services["web"], capabilities=("SYS_ADMIN",), user="0:0")
        return msgspec.structs.replace(body, services={**body.services, "web": web})

    def other_code(body: Release) -> Release:
        return msgspec.structs.replace(body, images={**body.images, "web": "sha256:" + "66" * 32})

    def own_keys(body: Node) -> Node:
        return msgspec.structs.replace(body, signing=thief.key, weight=10_000)

    def own_role(body: Policy) -> Policy:
        roles = tuple(msgspec.structs.replace(role, keys=(*role.keys, thief.key)) for role in body.roles)
        return msgspec.structs.replace(body, roles=roles)

    lie = SlotState(spec="0" * 16, image="sha256:" + "66" * 32, state="running", address="10.77.66.6", healthy=True)
    return {
        "app/guestbook with every right": next_of("app/guestbook", more_rights),
        "release/guestbook with its own code": next_of("release/guestbook", other_code),
        f"{other} enrolled with the thief's key": next_of(other, own_keys),
        "policy with the thief as operator": next_of("policy", own_role),
        f"fact of {other}: a slot on the thief's address": sign_fact(
            thief, trusted.cloud, other, "slot", "guestbook.web/0", (10**6, 1), time.time(), lie
        ),
    }


async def _hand_over(document: Document, identity: Identity, forged: list[bytes]) -> None:
    """As the captured machine: its own link, pinned by its own certificate, is let in."""
    enrolment = document.body
    assert isinstance(enrolment, Node)
    for raw in forged:
        stream = await dial(enrolment.addresses, base64.b64decode(enrolment.certificate), identity, "/link", 3.0)
        await stream.send(encode(Push((raw,))))
        await asyncio.sleep(0.3)  # an honest answer would be a closed link
        await stream.close()


def _heads(skerry: Skerry) -> Any:
    """What the cloud runs, as any host tells it: it must be the same before and after."""
    rows = skerry.json("host", "ls")
    return {r["name"]: r["labels"] for r in rows}, {r["slot"]: (r["image"], r["version"]) for r in skerry.json("ps")}


def _refusals(skerry: Skerry, host: str, thief: str, expected: int) -> list[str]:
    """The words with which that host refused what the thief's machine sent."""

    def said() -> list[str]:
        rows = skerry.json("events", "--tail", "200")
        mine = [
            r["reason"]
            for r in rows
            if r["node"] == host.removeprefix("node/") and r["kind"] == "refused" and thief in r["subject"]
        ]
        return mine if len(mine) >= expected else []

    return list(skerry.wait(f"{host} to name what it refused", said, ANSWER_TIMEOUT_S))
