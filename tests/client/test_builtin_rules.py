"""The built-in rules that real agents can show without anything being broken for them: each fires for what it is about."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.small import Aside, b64
from client.test_alerts import QuickCloud, known
from skerry.core.alerting.alerting import AlertRow
from skerry.core.facts import Audit
from skerry.core.intent import Alert, Restart, RuleSetting, Service, Update
from skerry.trust.documents import sign_fact

LIMITS = {"disk": 0.0, "clock": 0.0, "certificate": 4000.0, "restart-loop": 0.0, "no-replica": -1.0, "refused": -1.0}
SETTINGS = Alert(rules={rule: RuleSetting(limit=limit, for_s=0.0) for rule, limit in LIMITS.items()})


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aside]:
    monkeypatch.setattr("skerry.agent.alerts.delivering.FEEL_S", 0.3)
    monkeypatch.setattr("skerry.core.alerting.looking.NEW_S", 0.0)
    cloud = QuickCloud(tmp_path, 3)
    with Aside(cloud) as aside:
        raw = cloud.sign("alert/rules", SETTINGS, 1)
        aside.look(lambda: cloud.agents["vps-1"].door.offer(raw, from_client=True))
        known(aside, "alert/rules")
        yield aside


def fires(small: Aside, rule: str) -> dict[str, AlertRow]:
    """As a host sees it that it is not about."""
    seen: dict[str, AlertRow] = {}
    for name, agent in small.cloud.agents.items():
        seen |= {row.subject: row for row in agent.loop.core.alerts() if row.rule == rule and row.subject != name}
    return seen


def test_each_rule_fires_for_what_it_is_about(small: Aside) -> None:
    cloud = small.cloud
    hosts = set(cloud.agents)
    small.look(
        lambda: cloud.deploy(
            "shop", Service(restart=Restart(delay_s=0.05), update=Update(monitor_s=0.0)), cloud.give_image(b"program")
        )
    )
    nowhere = Service(constraints=("label.no==where",))
    small.look(lambda: cloud.deploy("lost", nowhere, cloud.give_image(b"another")))
    small.wait("disks, by real figures", lambda: set(fires(small, "disk")) == hosts)
    disks = small.look(lambda: fires(small, "disk")).values()
    assert all(0 < row.figure <= 1 and "% full" in row.why for row in disks)
    small.wait("clocks, by what neighbours say", lambda: bool(fires(small, "clock")))
    small.wait("documents that expire", lambda: {"policy", "node/vps-1"} <= set(fires(small, "certificate")))
    small.wait("a service that nobody may run", lambda: "lost.lost" in fires(small, "no-replica"))
    small.wait(
        "a container that is started anew", lambda: "shop.shop/0" in fires(small, "restart-loop") or _ends(small)
    )
    _brings_a_forged_record(small, "vps-1", "vps-2")
    small.wait("a false signature", lambda: "vps-1" in fires(small, "refused"))
    assert "brought by vps-2" in small.look(lambda: fires(small, "refused"))["vps-1"].why


def _ends(small: Aside) -> bool:
    """Whatever runs and is well ends, so that it is started anew. False."""
    for name, agent in small.cloud.agents.items():
        if any(r.live and r.healthy for r in agent.loop.core._s.replicas):
            runtime = small.cloud.runtimes[name]
            for id in [id for id, container in runtime.disk.containers.items() if container.running]:
                runtime.end(id, 1)
    return False


def _brings_a_forged_record(small: Aside, to: str, by: str) -> None:
    """Over the link of the two: a fact of its own, whose signature is nobody's."""
    sender = small.cloud.agents[by]

    def send() -> None:
        raw = sign_fact(
            sender.signer,
            sender.trusted.cloud,
            f"node/{by}",
            "audit",
            "",
            (1 << 40, 1),
            time.time(),
            Audit(n=1, hash="0" * 64),
        )
        envelope = json.loads(raw)
        envelope["signatures"][0]["sig"] = b64(bytes(64))
        sender.links._push(f"node/{to}", [json.dumps(envelope).encode()])

    small.look(send)
