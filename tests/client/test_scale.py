"""A service that follows the load, as its operator sees and changes it: by the command line, against real agents."""

from __future__ import annotations

import ipaddress
import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.small import Aside, NoNetwork, SmallCloud
from skerry.cli.main import run
from skerry.core.intent import App, Port, Scale, Schedule, Service
from skerry.net.flows import TCP, Open

CLIENT, HOST = (int(ipaddress.IPv4Address(text)) for text in ("198.51.100.7", "10.0.0.1"))
SERVICE = Service(
    ports=(Port(target=80, published=8080),),
    scale=Scale(min=1, max=6, connections=10, step_s=1, down_s=2,
                schedules=(Schedule(days=tuple(range(7)), from_minute=0, to_minute=1440, max=5),)),
)  # fmt: skip
Shell = Callable[..., Any]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Aside]:
    cloud = SmallCloud(tmp_path / "hosts", 3)
    cloud.home(tmp_path / "home")
    with Aside(cloud) as aside:
        aside.wait("links", lambda: all(len(agent.mesh.neighbours()) == 2 for agent in cloud.agents.values()))
        yield aside


@pytest.fixture
def skerry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SKERRY_PASSPHRASE", "")

    def command(*words: str, code: int = 0) -> Any:
        capsys.readouterr()
        assert run(list(words)) == code
        captured = capsys.readouterr()
        return json.loads(captured.out) if "--json" in words else captured.out + captured.err

    return command


class Clients:
    """So many connections to the published port of vps-1, spread over the replicas."""

    def __init__(self, small: Aside) -> None:
        self.count = 0
        network = small.cloud.agents["vps-1"].network
        assert isinstance(network, NoNetwork)
        network.flows = self.flows
        self._network = network

    def flows(self) -> list[Open]:
        targets = [int(ipaddress.IPv4Address(t.address)) for _, some in self._network.ports for t in some]
        spread = itertools.islice(itertools.cycle(targets), self.count)
        return [Open(CLIENT, HOST, target, 80, TCP, True, n) for n, target in enumerate(spread)]


def healthy(small: Aside) -> int:
    return sum(row.healthy for row in small.cloud.agents["vps-2"].loop.core.rows())


def containers(small: Aside) -> set[str]:
    async def all_of(runtime: Any) -> set[str]:
        return {container.id for container in await runtime.list_containers() if container.running}

    return {id for runtime in small.cloud.runtimes.values() for id in small.run(all_of(runtime))}


def given(small: Aside, service: Service) -> None:
    async def image() -> str:
        return small.cloud.give_image(b"a program")

    digest = small.run(image())
    small.look(lambda: small.cloud.deploy("web", service, digest))


def test_replicas_follow_the_load_and_the_operator_sees_why_and_sets_other_bounds(small: Aside, skerry: Shell) -> None:
    clients = Clients(small)
    clients.count = 20
    given(small, SERVICE)
    small.wait("two replicas for twenty clients", lambda: healthy(small) == 2)
    clients.count = 75
    small.wait("five for 75, which is as many as the schedule allows", lambda: healthy(small) == 5)
    five = containers(small)

    told = skerry("explain", "--scale", "web", "--json")["web.web"]
    assert (told["replicas"], told["min"], told["max"], told["in_force"]) == (5, 1, 5, ["daily 0-24: max 5"])
    assert {wish["node"] for wish in told["wishes"]} == {"vps-1", "vps-2", "vps-3"} and told["median"] >= 5
    assert sum(figures["connections"][-1] for figures in told["figures"]) == 75
    text = skerry("explain", "--scale", "web")
    for words in ("web.web: 5 replicas, within 1 to 5 (now: daily 0-24: max 5)", "10 connections a replica; a step is 1 s",
                  "the median counts: ", "connections  ", "vps-3  "):  # fmt: skip
        assert words in text, text
    assert "web.web: 5 of 1 to 5, because" in skerry("ps")
    assert "no service or app here that follows the load" in skerry("explain", "--scale", "nothing", code=2)

    answer = skerry("scale", "web=3", "--json")
    assert (answer["from"], answer["to"], answer["bounds"]) == (1, 3, {"from": "1 to 6", "to": "3"})
    assert answer["dropped"] == "schedules"
    wait("three are left", lambda: len(containers(small)) == 3)
    assert containers(small) < five, "what stays is not started anew"
    assert "web.web: 3 -> 4 to 6 replicas" in skerry("scale", "web", "--min", "4", "--max", "6")
    small.wait("six at once, the load is still there", lambda: healthy(small) == 6)
    body = small.look(lambda: small.cloud.agents["vps-3"].trusted.document("app/web")).body
    assert isinstance(body, App) and body.services["web"].scale is not None
    assert (body.services["web"].scale.connections, body.services["web"].replicas) == (10, 4)

    clients.count = 0
    small.wait("down, step by step", lambda: healthy(small) == 4)
    assert "'web=many' is not SERVICE=REPLICAS" in skerry("scale", "web=many", code=2)
    assert "say how many" in skerry("scale", "web", code=2)
    assert "say how many" in skerry("scale", "web", "3", "--max", "4", code=2)
    assert "9 to 6 are no bounds" in skerry("scale", "web", "--min", "9", code=2)
    at = skerry("scale", "web", "--schedule", "daily 0-24 Europe/Berlin: max 5", "--json")
    assert at["bounds"] == {"from": "4 to 6", "to": "4 to 6"}
    assert "(now: daily 0-24 Europe/Berlin: max 5)" in skerry("explain", "--scale", "web")
    assert "'soon' has no bounds" in skerry("scale", "web", "--schedule", "soon", code=2)
    skerry("scale", "web", "--schedule", "none")
    assert "now:" not in skerry("explain", "--scale", "web")
    assert skerry("scale", "web", "0", "--json")["bounds"] == {"from": "4 to 6", "to": "0"}
    wait("none is left", lambda: not containers(small))
    assert "it does not follow the load" in skerry("scale", "web", "--max", "4", code=2)


def test_who_sees_no_load_has_nothing_to_measure(small: Aside) -> None:
    given(small, Service(replicas=2))
    small.wait("two replicas", lambda: healthy(small) == 2)
    for agent in small.cloud.agents.values():
        assert not agent.figures._works and not agent.figures._gauges
        facts = small.look(lambda agent=agent: agent.loop.core._s.known.facts)  # type: ignore[misc]
        assert not {"load", "wish"} & set(facts)


def wait(what: str, see: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not see():
        assert time.monotonic() < deadline_s, f"waited {timeout_s} s for {what}"
        time.sleep(0.02)
