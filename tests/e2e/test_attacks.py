"""With a captured host's keys, over real links between whole machines, nothing changes on the others.

What each single lie and forgery meets is tried in tests/attacks; here is the whole of it at once, while people use the app.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from demo.clients import Clients
from websockets.exceptions import ConnectionClosed

from e2e.conftest import Cloud
from skerry.client.home import Home
from skerry.core.facts import Claim, Decline, FactBody, Lost, SlotState, Up, Verdict
from skerry.core.intent import App, Node, Policy, Release
from skerry.core.messages import Push, encode
from skerry.core.records import Document
from skerry.errors import SkerryError
from skerry.mesh.dial import Identity, dial
from skerry.trust import genesis
from skerry.trust.accept import Trusted
from skerry.trust.documents import sign_document, sign_fact
from skerry.trust.identity import Signer, private_pem

pytestmark = pytest.mark.e2e
SECONDS = 6.0


class Thief:
    """The keys off a dead machine's disk, and everything that it knew."""

    def __init__(self, cloud: Cloud, victim: str) -> None:
        keys = cloud.lab.disk(victim) / "keys"
        self.node = f"node/{victim}"
        self.signer = Signer(bytes.fromhex((keys / "signing").read_text().strip()))
        self.identity = Identity((keys / "certificate.der").read_bytes(), private_pem(self.signer.seed))
        self.trusted = _known(cloud.skerry.home)
        self._n = itertools.count(1)

    def fact(self, kind: str, key: str, body: FactBody | None, *, node: str = "") -> bytes:
        seq = (100_000, next(self._n))
        return sign_fact(self.signer, self.trusted.cloud, node or self.node, kind, key, seq, time.time(), body)

    def up(self) -> bytes:
        body = Up(root=1, policy=1, heads="", uptime_s=9.0, cpus=64.0, memory_bytes=1 << 40, free_cpus=64.0,
                  free_memory_bytes=1 << 40, clock=time.time())  # fmt: skip
        return self.fact("up", "", body)

    def next_of(self, path: str, body: Any) -> bytes:
        held = self.trusted.document(path)
        assert held is not None
        now_s = time.time()
        return sign_document(self.signer, self.trusted.cloud, path, body, epoch=held.epoch, version=held.version + 1,
                             prev=held.hash, issued=now_s, expires=now_s + 86400)  # fmt: skip

    def forged(self, other: str) -> list[bytes]:
        def body(path: str) -> Any:
            held = self.trusted.document(path)
            assert held is not None
            return held.body

        app, release, node = body("app/guestbook"), body("release/guestbook"), body(other)
        assert isinstance(app, App) and isinstance(release, Release) and isinstance(node, Node)
        web = msgspec.structs.replace(app.services["web"], capabilities=("SYS_ADMIN",), user="0:0")
        evil = dict.fromkeys(release.images, "sha256:" + "66" * 32)
        return [
            self.next_of("app/guestbook", msgspec.structs.replace(app, services={**app.services, "web": web})),
            self.next_of("release/guestbook", msgspec.structs.replace(release, images=evil)),
            self.next_of(other, msgspec.structs.replace(node, state="expelled")),
            self.next_of("policy", Policy(roles=(genesis.operators_role([self.signer.key]),))),
            self.fact("claim", "guestbook.web/0", None, node=other),
        ]

    def lies(self, rows: list[dict[str, Any]], others: list[str]) -> list[bytes]:
        told: list[bytes] = []
        for row in rows:
            slot, spec, image = row["slot"], row["version"], row["image"]
            told.append(self.fact("claim", slot, Claim(spec=spec, image=image, rank=0, reason="all mine")))
            state = SlotState(spec=spec, image=image, state="running", healthy=True, data=True, address=self._address())
            told.append(self.fact("slot", slot, state))
            told.append(self.fact("decline", slot, Decline(spec=spec, reason="it failed", failed=True)))
            everywhere = dict.fromkeys([*others, self.node], "it failed")
            told.append(self.fact("verdict", slot.partition("/")[0], Verdict(spec=spec, evidence=everywhere)))
        told += [self.fact("lost", other, Lost(boot=2**53, beat=1, why="gone")) for other in others]
        return told

    def _address(self) -> str:
        enrolment = self.trusted.nodes[self.node].body
        assert isinstance(enrolment, Node)
        return enrolment.subnet.replace(".0/24", ".66")

    async def play(self, others: dict[str, Document], rows: list[dict[str, Any]], seconds: float) -> None:
        """Everything at once, again on a new link whenever one is cut."""
        await asyncio.gather(*(self._at(document, list(others), rows, seconds) for document in others.values()))

    async def _at(self, document: Document, others: list[str], rows: list[dict[str, Any]], seconds: float) -> None:
        enrolment = document.body
        assert isinstance(enrolment, Node)
        pinned = base64.b64decode(enrolment.certificate)
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            try:
                link = await dial(enrolment.addresses, pinned, self.identity, "/link", 3.0)
                while time.monotonic() < until_s:
                    await link.send(encode(Push((self.up(), *self.forged(document.path), *self.lies(rows, others)))))
                    await asyncio.sleep(0.5)
                await link.close()
            except (SkerryError, OSError, ConnectionClosed):
                await asyncio.sleep(0.2)


def _known(home: Path) -> Trusted:
    file = Home(home).cloud("e2e").read()
    trusted = Trusted(file.id)
    for text in (*file.roots, *file.documents.values()):
        trusted.load(base64.b64decode(text))
    return trusted


def _share(cloud: Cloud, victim: str) -> set[str]:
    """The slots for which the order names the captured host before the two others."""
    found = set()
    for row in cloud.ps():
        (explained,) = cloud.skerry.json("explain", row["slot"]).values()
        ranked = [answer for answer in explained["order"] if answer["rank"] >= 0]
        if min(ranked, key=lambda answer: answer["rank"])["node"] == victim:
            found.add(row["slot"])
    return found


def test_a_captured_hosts_keys_change_nothing_on_the_others(cloud: Cloud) -> None:
    victim = cloud.others(cloud.of_store())[0]
    cloud.lab.kill(victim)
    cloud.skerry.wait(
        "healed", lambda: all(r["healthy"] and r["node"] != victim for r in cloud.ps()) and len(cloud.ps()) == 4
    )
    others = cloud.others(victim)
    own = _share(cloud, victim)
    thief = Thief(cloud, victim)
    documents = {path: d for path, d in thief.trusted.nodes.items() if path != thief.node}
    heads = {host["name"]: host["labels"] for host in cloud.skerry.json("host", "ls")}
    before = {row["slot"]: (row["node"], row["since"], row["version"]) for row in cloud.ps()}
    since_s = time.time()
    with Clients([cloud.addresses()[name] for name in others], write=False, path="/healthz") as clients:
        asyncio.run(thief.play(documents, cloud.ps(), SECONDS))
        count = clients.take()
    after = {row["slot"]: (row["node"], row["since"], row["version"]) for row in cloud.ps()}
    kept = {slot: place for slot, place in before.items() if slot not in own}
    assert kept.items() <= after.items(), f"its share is {own}"
    assert {slot: version for slot, (_, _, version) in after.items()} == {s: v for s, (_, _, v) in before.items()}
    assert {host["name"]: host["labels"] for host in cloud.skerry.json("host", "ls")} == heads
    assert all(host["state"] == "up" for host in cloud.skerry.json("host", "ls") if host["name"] in others)
    told = {event["reason"] for event in cloud.events("refused", since_s) if victim in event["subject"]}
    assert any("app/guestbook" in reason for reason in told) and any("policy" in reason for reason in told)
    assert count.requests > 100 and count.failed <= count.requests * len(own) / 4, (count.failed, count.whys, own)
    cloud.lab.boot(victim)
    cloud.wait_well(90)


def test_values_of_the_environment_are_on_no_disk(cloud: Cloud) -> None:
    """Sealed in what all hosts hold; in clear only in the memory file system of a host that runs it."""
    token = f"only-for-web-{time.time_ns()}"
    file = Path(cloud.compose)
    before = file.read_text()
    file.write_text(before.replace("STORE:", f"TOKEN: {token}\n      STORE:", 1))
    try:
        cloud.skerry.run("deploy", cloud.compose)
        runs = {row["node"] for row in cloud.ps() if row["service"] == "web"}
        for name in cloud.names():
            look = ["sh", "-c", f"grep -rlaF {token} /var/lib/skerry /opt /etc /var/log /tmp 2>/dev/null; true"]
            assert cloud.inside(name, *look).split() == [], name
        assert any(
            token in cloud.inside(name, "sh", "-c", "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'; true")
            for name in runs
        ), "its own processes have it"
        for words in (("events",), ("ps",), ("explain", "web"), ("status",)):
            assert token not in str(cloud.skerry.json(*words))
    finally:
        file.write_text(before)
        cloud.skerry.run("deploy", cloud.compose)
