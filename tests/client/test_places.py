"""Where replicas go, from the operator's side: labels, drains, and what a deploy warns of, against real agents."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from agent.small import SmallCloud
from client.conftest import commands_beside
from skerry.cli.main import run
from skerry.client import drain, labels, places, views
from skerry.client.compose.plan import ComposeApp
from skerry.client.session import Session
from skerry.core.intent import App, Pool, Release, Scale, Service
from skerry.core.places import Placement
from skerry.errors import BadInput


def compose(pools: tuple[str, ...] = (), **services: Service) -> ComposeApp:
    planned = {name: SimpleNamespace(service=service) for name, service in services.items()}
    return SimpleNamespace(name="shop", services=planned, pools=pools)  # type: ignore[return-value]


def spread(*levels: str, **more: Any) -> Service:
    return Service(placement=Placement(spread=levels, **more))


def at_most(most: int, replicas: int, *constraints: str, **more: Any) -> Service:
    return Service(replicas=replicas, constraints=constraints, placement=Placement(max_per_node=most), **more)


# --- what a deploy warns of -------------------------------------------------------------------------------------------


async def test_a_spread_over_a_label_that_no_host_has_is_warned_of_until_one_has_it(session: Session) -> None:
    await session.sync()
    shop = compose(web=spread("label.rack", "zone"), agent=spread("label.rack", every_node=True))
    (told,) = places.warnings(session, shop)
    assert told == (
        "web is to be spread over node.labels.rack, and no host has that label: it counts for nothing until hosts have it: "
        "skerry host label vps-1 rack=VALUE"
    )
    await labels.set_labels(session, "vps-3", {"rack": "a"})
    assert places.warnings(session, shop) == []


async def test_replicas_that_can_have_no_host_are_counted_before_anything_is_signed(session: Session) -> None:
    await session.sync()
    await labels.set_labels(session, "vps-1", {"disk": "ssd"})

    def told(service: Service) -> str:
        return "; ".join(places.warnings(session, compose(web=service)))

    assert told(at_most(2, 8)) == (
        "2 of 8 replicas of web will stay without a host: 3 hosts fit, and no more than 2 may be on one "
        "(max_replicas_per_node); what would help: skerry explain web"
    )
    assert told(at_most(2, 6)) == told(at_most(0, 9)) == told(at_most(1, 0, "label.disk==tape")) == ""
    assert told(at_most(1, 2, "label.disk==ssd")).startswith(
        "1 of 2 replicas of web will stay without a host: 1 host fits,"
    )
    nowhere = (
        "replicas of web will stay without a host: no host fits its constraints; what would help: skerry explain web"
    )
    assert told(at_most(1, 2, "label.disk==tape")) == told(at_most(0, 2, "label.disk==tape")) == f"2 of 2 {nowhere}"
    agent = Service(constraints=("label.disk==tape",), placement=Placement(every_node=True))
    assert told(agent).startswith("web will run nowhere: no host fits its constraints")
    assert told(msgspec.structs.replace(agent, constraints=())) == ""
    assert told(at_most(1, 3, scale=Scale(min=3, max=9))) == "", "what it may grow to is not asked for yet"
    assert told(at_most(1, 3, scale=Scale(min=4, max=9))).startswith("1 of 4 replicas")


async def test_hosts_that_are_drained_take_nothing_and_are_named_as_such(session: Session) -> None:
    await session.sync()
    await drain.drain(session, "vps-2", 10.0)
    (told,) = places.warnings(session, compose(web=at_most(1, 3)))
    assert told.startswith("1 of 3 replicas of web will stay without a host: 2 hosts fit (1 more, drained), and")
    (told,) = places.warnings(session, compose(web=Service(constraints=("node==vps-2",))))
    assert told.startswith("1 of 1 replicas of web will stay without a host: all hosts that fit are drained")
    await drain.undrain(session, "vps-2")
    assert places.warnings(session, compose(web=at_most(1, 3))) == []


async def test_machines_of_a_pool_may_come_with_room_and_labels(session: Session) -> None:
    await session.sync()
    await session.change([("pool/burst", Pool(provider="manual", max=4, network="10.78.0.0/16", labels={"rack": "b"}))])
    shop = {"web": msgspec.structs.replace(at_most(1, 6), placement=Placement(max_per_node=1, spread=("label.rack",)))}
    assert places.warnings(session, compose(("burst",), **shop)) == []
    assert len(places.warnings(session, compose(**shop))) == 2


# --- labels, by the command -------------------------------------------------------------------------------------------


def test_a_host_is_labelled_by_the_command_and_what_it_had_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud = SmallCloud(tmp_path / "hosts", 2)
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path / "ann"))

    def label(*words: str, code: int = 0) -> Any:
        capsys.readouterr()
        assert run(["host", "label", *words, "--json"]) == code
        return json.loads(capsys.readouterr().out)

    with commands_beside(cloud, tmp_path, monkeypatch):
        assert label("vps-2", "disk=ssd", "--zone", "b") == {"name": "vps-2", "labels": {"disk": "ssd"}, "zone": "b"}
        both = {"disk": "tape", "rack": "7"}
        assert label("vps-2", "disk=tape", "rack=7") == {"name": "vps-2", "labels": both, "zone": "b"}
        assert label("vps-2", "rack=7")["labels"] == both
        assert label("vps-2", "--remove", "disk", "--zone", "") == {
            "name": "vps-2",
            "labels": {"rack": "7"},
            "zone": "",
        }
        capsys.readouterr()
        assert run(["host", "label", "vps-2", "--remove", "rack"]) == 0
        assert "vps-2: no label" in capsys.readouterr().out
        assert label("vps-9", "disk=ssd", code=2)["error"]["code"]
        assert run(["host", "label", "vps-2"]) == 2 and "say which label" in capsys.readouterr().err
        assert run(["host", "label", "vps-2", "disk"]) == 2


async def test_a_label_that_is_there_signs_nothing_and_an_unknown_host_gets_none(session: Session) -> None:
    await labels.set_labels(session, "vps-2", {"disk": "ssd"}, zone="b")
    before = session.trusted.heads()["node/vps-2"]
    await labels.set_labels(session, "vps-2", {"disk": "ssd"}, without=("rack",))
    assert session.trusted.heads()["node/vps-2"] == before
    with pytest.raises(BadInput):
        await labels.set_labels(session, "vps-9", {"disk": "ssd"})


# --- drains -----------------------------------------------------------------------------------------------------------


async def held(session: Session) -> dict[str, str]:
    rows = await views.ps(session)
    return {row["slot"]: row["node"] for row in rows if row["healthy"] and len(row["claims"]) == 1}


async def until_held(session: Session, count: int) -> dict[str, str]:
    async with asyncio.timeout(30):
        while True:
            if len(found := await held(session)) == count:
                return found
            await asyncio.sleep(0.1)


async def test_a_drain_says_where_each_replica_is_now_and_names_those_that_stop(
    cloud: SmallCloud, session: Session
) -> None:
    await session.sync()
    image = cloud.give_image(b"program")
    services = {"web": Service(replicas=3), "agent": Service(placement=Placement(every_node=True))}
    await session.change(
        [("release/shop", Release(images=dict.fromkeys(services, image), fits=1)), ("app/shop", App(services=services))]
    )
    before = await until_held(session, 6)
    (web,) = (slot for slot, node in before.items() if node == "vps-2" and slot.startswith("shop.web/"))
    (agent,) = (slot for slot, node in before.items() if node == "vps-2" and slot.startswith("shop.agent/"))
    said: list[str] = []
    told = await drain.drain(session, "vps-2", 30.0, said.append)
    assert told["left"] == [] and set(told["moved"]) == {web, agent}
    assert told["moved"][web] in {"vps-1", "vps-3"} and told["moved"][agent] == ""
    left = [line for line in said if " left on " in line]
    assert left[0] in {"2 replicas left on vps-2", "1 replica left on vps-2"}  # one may be gone at the first look
    assert left[-1] == "0 replicas left on vps-2"
    assert f"{web} is on {told['moved'][web]} now" in said and f"{agent} has stopped" in said
    after = await until_held(session, 5)
    assert after[web] == told["moved"][web] and agent not in after
    assert {slot: node for slot, node in after.items() if slot != web} == {
        slot: node for slot, node in before.items() if slot not in (web, agent)
    }, "no other moves"
    assert await drain.drain(session, "vps-2", 5.0) == told | {"moved": {}}, "there is nothing left to move"
