"""Figures of a small cloud: sampled by real agents, asked for by operators and by who may look at one app alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.small import SmallCloud
from ports import free_port
from skerry.agent.host import Parts
from skerry.agent.metrics.answering import Query, TooMuchAsked
from skerry.client import metrics
from skerry.client.session import FinalAnswer, Session
from skerry.core.intent import Endpoint, Port, Scale, Service
from skerry.errors import NoSuchSubject, SkerryError, Unreachable
from skerry.observe.cgroups import Cgroup
from skerry.observe.promtext import fetch
from skerry.trust.refusals import VerbNotAllowed
from skerry.trust.requests import Request

WITHIN_S = 20.0
MIB = 1 << 20


class Counted(SmallCloud):
    """Containers have a cgroup v2 of files, whose counter of CPU time a test may write."""

    def changed(self, name: str, parts: Parts) -> Parts:
        root = self.directory / name / "cgroup"
        root.mkdir(exist_ok=True, parents=True)
        (root / "cgroup.controllers").touch()
        return msgspec.structs.replace(parts, cgroup=lambda id: self._cgroup(root, id))

    def _cgroup(self, root: Path, id: str) -> Cgroup:
        (root / id).mkdir(exist_ok=True)
        (root / id / "cpu.stat").write_text("usage_usec 1000000\n")
        (root / id / "memory.current").write_text(f"{64 * MIB}\n")
        return Cgroup(id, root)


@pytest.fixture(autouse=True)
def apps_are_asked_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skerry.agent.metrics.own.EVERY_S", 0.2)
    # Containers of a small cloud have addresses that nobody can reach.
    monkeypatch.setattr("skerry.agent.metrics.own.fetch", lambda address, port, path: fetch("127.0.0.1", port, path))


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Counted]:
    cloud = Counted(tmp_path / "cloud", 2)
    await cloud.start()
    image = cloud.give_image(b"an app")
    cloud.deploy("web", Service(replicas=2), image)
    cloud.deploy("db", Service(), image)
    yield cloud
    await cloud.stop()


@pytest.fixture
async def session(cloud: Counted, tmp_path: Path) -> AsyncIterator[Session]:
    async with Session(cloud.home(tmp_path / "home"), lambda what: "") as session:
        yield session


async def until(see: Callable[[], Any], what: str) -> Any:
    end_s = time.monotonic() + WITHIN_S
    while not (found := await see()):
        assert time.monotonic() < end_s, f"waited {WITHIN_S} s for {what}"
        await asyncio.sleep(0.05)
    return found


def known(answer: metrics.Answer, name: str) -> dict[str, float]:
    return {series.subject: series.last for series in answer.series if series.name == name and series.last is not None}


async def all_known(session: Session) -> metrics.Answer:
    async def see() -> metrics.Answer | None:
        answer = await metrics.query(session)
        return answer if len(known(answer, "cpu_cores")) == 5 else None

    return await until(see, "figures of three slots and two hosts")


async def test_figures_of_all_hosts_and_slots_are_laid_together(cloud: Counted, session: Session) -> None:
    answer = await all_known(session)
    assert set(known(answer, "cpu_cores")) == {"web.web/0", "web.web/1", "db.db/0", "node/vps-1", "node/vps-2"}
    assert known(answer, "memory_bytes")["db.db/0"] == 64 * MIB
    assert known(answer, "restarts")["db.db/0"] == 0
    assert "db.db/0" not in known(answer, "pids")  # there is no such file: unknown, and never 0
    assert all(series.step_s == 1 and len(series.values) == 900 for series in answer.series)
    assert not answer.missing
    assert all("cpu_pressure_share" in unknown for unknown in answer.unknown.values())
    only = await metrics.query(session, ["web"], ["memory_bytes"], since=-60)
    assert {series.subject for series in only.series} == {"web.web/0", "web.web/1"}
    assert {series.name for series in only.series} == {"memory_bytes"}
    host = await metrics.query(session, ["vps-1"], ["load1"])
    assert [(series.host, series.subject) for series in host.series] == [("vps-1", "node/vps-1")]
    agent = cloud.agents["vps-1"]
    assert agent.metrics.latest("node/vps-1", "load1") is not None
    assert agent.metrics.latest("node/vps-1", "nonsense") is None
    with pytest.raises(NoSuchSubject):
        await metrics.query(session, ["nobody"])


async def test_a_host_that_does_not_answer_is_marked_and_the_others_are_shown(cloud: Counted, session: Session) -> None:
    await all_known(session)
    await cloud.stop("vps-2")
    answer = await metrics.query(session, [], ["load1"])
    assert set(answer.missing) == {"vps-2"}
    assert {series.host for series in answer.series} == {"vps-1"}
    await cloud.stop("vps-1")
    with pytest.raises(Unreachable):
        await metrics.query(session, [], ["load1"])


async def test_history_goes_on_after_the_agent_began_anew(cloud: Counted, session: Session) -> None:
    before = await all_known(session)
    since = min(series.start + 900 for series in before.series) - 5
    await cloud.stop("vps-1")
    await cloud.start("vps-1")

    async def again() -> bool:
        answer = await metrics.query(session, ["vps-1"], ["load1"], since=since)
        values = answer.series[0].values if answer.series else []
        return sum(value is not None for value in values) >= 3

    await until(again, "values of before and after")


async def test_a_window_is_folded_to_the_step_that_is_asked_for(cloud: Counted, session: Session) -> None:
    await all_known(session)
    answer = await metrics.query(session, [], ["memory_bytes"], since=-60, step_s=5)
    assert all(series.step_s == 5 and len(series.values) in (12, 13) for series in answer.series)
    assert all(series.start % 5 == 0 for series in answer.series)
    assert known(answer, "memory_bytes")["db.db/0"] == 64 * MIB
    day = await metrics.query(session, ["node/vps-1"], ["load1"], since=-3600)
    assert day.series[0].step_s == 10


def looker(*paths: str) -> Request:
    return Request("metrics", {}, "00" * 32, "lookers", rights=(("observe", paths),))


async def ask(cloud: Counted, request: Request, **args: Any) -> dict[str, Any]:
    agent = cloud.agents["vps-1"]
    answers = [item async for item in agent.server.answer(msgspec.structs.replace(request, args=args))]
    return answers[0]


async def test_who_may_look_at_one_app_sees_that_app_alone(cloud: Counted, session: Session) -> None:
    await all_known(session)
    cloud.agents["vps-1"].metrics.sample()
    every = await ask(cloud, looker("app/*", "node/*"))
    here = {series["subject"] for series in every["series"]}
    assert "node/vps-1" in here
    mine = sorted(subject for subject in here if subject.startswith("web."))
    found = await ask(cloud, looker("app/web"))
    assert sorted({series["subject"] for series in found["series"]}) == mine
    with pytest.raises(VerbNotAllowed):
        await ask(cloud, looker("app/web"), subjects=["vps-1"])
    for subject in here - {*mine, "node/vps-1"}:
        with pytest.raises(VerbNotAllowed):
            await ask(cloud, looker("app/web"), subjects=[subject])
    assert (await ask(cloud, looker("app/nothing")))["series"] == []


@pytest.mark.parametrize(
    "args",
    [
        {"since": "yesterday"},
        {"step_s": -1},
        {"subjects": "web"},
        {"names": [1]},
        {"window": 3},
    ],
    ids=str,
)
async def test_a_request_that_makes_no_sense_is_refused(cloud: Counted, session: Session, args: dict[str, Any]) -> None:
    with pytest.raises(FinalAnswer):
        await session.request("metrics", args)


async def test_more_than_a_host_tells_at_once_is_refused_and_says_what_to_ask(
    cloud: Counted, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skerry.agent.metrics.answering.VALUES_MAX", 100)
    with pytest.raises(SkerryError) as told:
        await metrics.query(session)
    assert told.value.code == TooMuchAsked.code
    assert "fewer subjects" in told.value.fix


class Application:
    """What a replica tells about itself: `text` of now."""

    def __init__(self) -> None:
        self.port, self.text, self.asked = free_port(), "", 0

    async def __aenter__(self) -> Application:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + self.text.encode())
        await writer.drain()
        writer.close()


async def told(session: Session, subject: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], metrics.Series]:
    try:
        answer = await metrics.query(session, [subject], since=-60)
    except NoSuchSubject:  # nothing yet
        return {}
    return {(series.name, tuple(series.labels.items())): series for series in answer.series}


async def test_what_an_app_tells_by_itself_is_kept_and_shown(cloud: Counted, session: Session) -> None:
    kind = "# TYPE jobs counter\n"
    async with Application() as app:
        app.text = kind + 'jobs{queue="a"} 5\nwaiting{queue="a"} 7\nwaiting{queue="b"} 2\n'
        image = cloud.give_image(b"an app of its own")
        cloud.deploy("own", Service(metrics=Endpoint(port=app.port)), image)

        async def waiting() -> metrics.Series | None:
            found = (await told(session, "own.own/0")).get(("waiting", (("queue", "a"),)))
            return found if found is not None and found.last == 7 else None

        series = await until(waiting, "what it tells")
        assert (series.kind, series.unit) == ("gauge", "")
        asked = app.asked
        app.text = kind + 'jobs{queue="a"} 50000\n' + "".join(f"new{n} 1\n" for n in range(40))

        async def rate() -> bool:
            found = await told(session, "own.own/0")
            jobs = found[("jobs", (("queue", "a"),))]
            return jobs.kind == "rate" and any(value for value in jobs.values if value)

        await until(rate, "the rate of what only grows")
        assert app.asked > asked

        async def all_of_it() -> metrics.Answer | None:
            found = await metrics.query(session, ["own"])
            return found if len(found.series) == 16 + 32 else None

        answer = await until(all_of_it, "the host's figures beside those of its own")
        (why,) = answer.dropped.values()
        assert "not kept" in why["own.own/0"]
        agent = next(agent for agent in cloud.agents.values() if "own.own/0" in agent.containers.running().values())
        assert agent.metrics.latest("own.own/0", "new0") == 1.0

    async def silent() -> bool:
        answer = await metrics.query(session, ["own"])
        return any("port" in why.get("own.own/0", "") for why in answer.dropped.values())

    await until(silent, "that it tells nothing any more")


LIES: tuple[dict[str, Any], ...] = (
    {"name": "a b"},
    {"name": "x\n# HELP"},
    {"subject": "node/vps-1"},
    {"subject": "\x1b[2J"},
    {"values": ["1"]},
    {"labels": [1]},
)


async def test_a_captured_host_is_named_and_the_others_are_shown(
    cloud: Counted, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    await all_known(session)
    honest = await ask(cloud, looker("app/*", "node/*"))
    for lie in LIES:
        series = {**honest["series"][0], "subject": "node/vps-2", **lie}

        async def lying(args: Query, request: Request, series: dict[str, Any] = series) -> dict[str, Any]:
            return {**honest, "node": "vps-2", "series": [series]}

        monkeypatch.setattr(cloud.agents["vps-2"].server, "_verb_metrics", lying)
        answer = await metrics.query(session, [], ["load1"])
        assert set(answer.missing) == {"vps-2"}, lie
        assert {series.host for series in answer.series} == {"vps-1"}, lie


async def test_as_many_replicas_as_what_they_tell_by_themselves_asks_for(cloud: Counted, session: Session) -> None:
    async with Application() as app:
        app.text = "waiting 1\n"
        scale = Scale(min=1, max=3, metric="waiting", metric_target=4.0, step_s=1.0, down_s=20.0)
        ports = (Port(target=80, published=8099),)
        service = Service(metrics=Endpoint(port=app.port), scale=scale, ports=ports)
        cloud.deploy("queue", service, cloud.give_image(b"an app with a queue"))

        async def replicas(number: int) -> bool:
            rows = await session.request("ps", {"subject": "queue"})
            return sum(row["state"] == "running" for row in rows) == number

        async def told() -> bool:
            rows = await session.request("scaling", {"subject": "queue.queue"})
            return any(figure["metric"] and figure["metric"][-1] == 1.0 for row in rows for figure in row["figures"])

        await until(lambda: replicas(1), "one replica")
        await until(told, "the figure of a step")
        app.text = "waiting 11\n"
        await until(lambda: replicas(3), "as many as are needed")
