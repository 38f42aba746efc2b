"""One glance at a cloud: what any host tells, what each must be asked itself, and what is left when hosts are gone."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from agent.small import SmallCloud
from client.test_alerts import QuickCloud
from skerry.agent.serve import Server
from skerry.client import alerts, overview
from skerry.client.overview import Overview
from skerry.client.session import Session
from skerry.core.intent import Service
from skerry.errors import Unreachable

WITHIN_S = 20.0


async def seen(session: Session, what: Any, **more: Any) -> Overview:
    async with asyncio.timeout(WITHIN_S), aclosing(overview.watching(session, **more)) as glances:
        async for glance in glances:
            if what(glance):
                return glance
    raise AssertionError("it never ends")


async def test_a_glance_has_hosts_slots_and_what_of_them_is_not_well(cloud: SmallCloud, session: Session) -> None:
    cloud.deploy("shop", Service(replicas=3), cloud.give_image(b"program"))
    healthy = await seen(session, lambda g: sum(row.healthy for row in g.slots) == 3 and len(g.hosts) == 3)
    (service,) = healthy.services
    assert (service.app, service.service, service.slots, service.healthy) == ("shop", "shop", 3, 3)
    assert not [warning for warning in healthy.warnings if warning.weight == "bad"]
    once = await overview.look(session)
    assert [row.slot for row in once.slots] == ["shop.shop/0", "shop.shop/1", "shop.shop/2"]
    assert {host.state for host in once.hosts} == {"up"} and once.asked.startswith("vps-")
    assert once.as_dict()["slots"][0]["slot"] == "shop.shop/0"
    await cloud.stop("vps-3")
    gone = await seen(session, lambda g: any(host.state == "down" for host in g.hosts))
    assert ("bad", "vps-3") in {(warning.weight, warning.subject) for warning in gone.warnings}


async def test_a_change_is_seen_before_its_second_is_over(cloud: SmallCloud, session: Session) -> None:
    image = cloud.give_image(b"program")
    async with asyncio.timeout(WITHIN_S), aclosing(overview.watching(session, every_s=3600.0)) as glances:
        async for glance in glances:
            if not glance.slots:
                cloud.deploy("shop", Service(), image)
            elif glance.slots[0].healthy:
                break


async def test_without_any_host_the_last_glance_stays_and_it_goes_on_when_one_is_back(
    cloud: SmallCloud, session: Session
) -> None:
    cloud.deploy("shop", Service(), cloud.give_image(b"program"))
    back: asyncio.Task[None] | None = None
    async with asyncio.timeout(2 * WITHIN_S), aclosing(overview.watching(session, every_s=0.2)) as glances:
        stopping: asyncio.Task[None] | None = None
        async for glance in glances:
            if stopping is None and glance.slots and glance.slots[0].healthy:
                stopping = asyncio.create_task(cloud.stop())
            elif glance.lost and back is None:
                assert glance.slots and glance.hosts, "as it was last"
                assert stopping is not None
                await stopping
                with pytest.raises(Unreachable):
                    await overview.look(session)
                back = asyncio.create_task(cloud.start("vps-1"))
            elif back is not None and not glance.lost:
                break
    await back


async def test_a_host_tells_figures_of_itself_and_of_what_it_holds_and_unknown_is_not_nought(
    cloud: SmallCloud, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vps-2 is captured: it tells figures of everybody."""

    async def metrics(self: Server, args: Any, request: Any) -> Any:
        me = self._me
        subjects = (
            ["node/vps-1", "node/vps-2", "node/vps-3", "shop.shop/0"] if me == "node/vps-2" else [me, "shop.shop/0"]
        )
        value = 66.0 if me == "node/vps-2" else 1.0
        series = [
            {
                "name": "cpu_cores",
                "subject": subject,
                "kind": "gauge",
                "unit": "",
                "labels": {},
                "values": [9.0, value, None],
            }
            for subject in subjects
        ]
        series.append({"name": "load1", "subject": me, "kind": "gauge", "unit": "", "labels": {}, "values": [None]})
        return {"node": me, "step_s": 1, "start": 0.0, "series": series, "unknown": {}}

    metrics.__annotations__["args"] = dict[str, Any]
    monkeypatch.setattr(Server, "_verb_metrics", metrics, raising=False)
    cloud.deploy("shop", Service(constraints=("node==vps-1",)), cloud.give_image(b"program"))
    glance = await seen(session, lambda g: g.figure("shop.shop/0", "cpu_cores") and g.figure("node/vps-3", "cpu_cores"))
    assert glance.figure("shop.shop/0", "cpu_cores") == 1.0
    assert glance.figure("node/vps-1", "cpu_cores") == 1.0 and glance.figure("node/vps-2", "cpu_cores") == 66.0
    assert glance.figure("node/vps-1", "load1") is None
    assert glance.total(["node/vps-1", "node/vps-3", "nobody"], "cpu_cores") == 2.0
    assert glance.total(["nobody"], "cpu_cores") is None


async def test_a_captured_host_that_answers_nonsense_is_passed_over(
    cloud: SmallCloud, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hosts(self: Any) -> Any:
        return {"captured": True}

    core = cloud.agents["vps-1"].loop.core
    monkeypatch.setattr(core, "hosts", hosts.__get__(core))
    session.preferred = "node/vps-1"
    glance = await overview.look(session)
    assert glance.asked != "vps-1" and len(glance.hosts) == 3


async def test_what_fires_is_told_by_any_fixed_host_and_silenced_it_is_still_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = QuickCloud(tmp_path / "hosts", 3)
    await cloud.start()
    async with Session(cloud.home(tmp_path / "home"), lambda what: "") as session:
        await alerts.set_rule(session, "host-silent", {"for_s": 0.0})
        assert not (await overview.look(session)).alerts
        await cloud.stop("vps-3")
        fires = await seen(session, lambda g: g.firing)
        assert [(alert.rule, alert.subject) for alert in fires.firing] == [("host-silent", "vps-3")]
        assert abs(time.time() - fires.firing[0].since) < WITHIN_S
        await alerts.silence(session, "", "vps-3", time.time() + 60)
        quiet = await seen(session, lambda g: g.alerts and not g.firing, every_s=0.2)
        assert [alert.rule for alert in quiet.alerts] == ["host-silent"]

        honest, silent = Server._verb_alerts, {"node/vps-1"}

        async def verb(self: Server, args: Any, request: Any) -> Any:
            return {"captured": True} if self._me in silent else await honest(self, args, request)

        verb.__annotations__.update(args=dict[str, Any])
        monkeypatch.setattr(Server, "_verb_alerts", verb)
        session.preferred = "node/vps-1"
        other = await overview.look(session)
        told = [(alert.rule, alert.subject) for alert in other.alerts]
        assert (other.asked, told) == ("vps-1", [("host-silent", "vps-3")]), "one that tells nonsense is passed over"
        silent.add("node/vps-2")
        untold = await overview.look(session)
        (warning,) = [warning for warning in untold.warnings if warning.subject == "alerts"]
        assert "no host says what fires" in warning.text and "vps-2: " in warning.text and len(untold.hosts) == 3
    await cloud.stop()
