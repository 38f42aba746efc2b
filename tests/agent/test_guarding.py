"""The agent's word to a real guard: nothing starts unconfirmed, renewals arrive, and a new agent takes over what still may live."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from agent.small import Aside, SmallCloud
from guarding.small import Host
from skerry.agent.guarding import guarded as guarding
from skerry.agent.guarding.asking import NoGuard
from skerry.agent.guarding.guarded import Guarded, LeaseOver
from skerry.agent.host import Parts
from skerry.core import view
from skerry.core.effects import Guard
from skerry.core.intent import App, Release, Service
from skerry.core.records import Slot
from skerry.guarding.words import Ask, state_path
from skerry.runtime.contract import ContainerSpec

pytestmark = pytest.mark.real
SLOT, OTHER = Slot("shop", "clock", 0), Slot("shop", "clock", 1)


class Side:
    """An agent's side of the host, and the events that it wrote."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.noted: list[tuple[str, str, str]] = []
        self.begun = 0
        self.guarded = Guarded(
            host.run,
            begin=self.begin,
            cgroup=host.cgroup,
            wire=lambda id: f"skv{id[1:]}",
            note=lambda *note: self.noted.append(note),
        )

    async def begin(self, run: Path) -> None:
        """As systemd would: only if it isn't there."""
        self.begun += 1
        if self.host.guard is None or self.host.guard.poll() is not None:
            self.host.begin_guard()

    async def lease(self, slot: Slot, number: int, lease_s: float) -> None:
        until_s = time.monotonic() + lease_s if lease_s else 0.0
        if (told := self.guarded.carry(Guard(slot=slot, number=number, until_s=until_s))) is not None:
            await told

    async def start(self, id: str, slot: Slot, number: int) -> None:
        self.host.wire(id)
        await self.guarded.hold(id, slot, number, f"10.77.9.{10 + int(id[1:])}")
        self.host.start(id)


@pytest.fixture
def side(tmp_path: Path) -> Iterator[Side]:
    if os.geteuid():
        pytest.skip("needs root")
    host = Host(tmp_path)
    try:
        yield Side(host)
    finally:
        host.end()


async def test_a_container_lives_as_long_as_its_lease_is_renewed_and_its_end_is_told(side: Side) -> None:
    await side.lease(SLOT, 7, 2.0)
    await side.start("c1", SLOT, 7)
    for _ in range(5):
        await asyncio.sleep(0.5)
        await side.lease(SLOT, 7, 2.0)
    assert side.host.lives("c1")
    await side.lease(SLOT, 8, 60.0)  # a newer lease is not this container's: it bears the old number
    side.host.until(lambda: not side.host.lives("c1"), "it ends with its own lease")
    assert side.noted == []
    await side.guarded.let_go("c1")
    ((kind, subject, why),) = side.noted
    assert (kind, subject) == ("cut-off", "shop.clock/0")
    assert why.startswith("lease 7 was not renewed: killed and cut off ")


async def test_a_lease_that_is_let_go_ends_what_still_runs_and_no_other(side: Side) -> None:
    await side.lease(SLOT, 1, 60.0)
    await side.lease(OTHER, 2, 60.0)
    await side.start("c1", SLOT, 1)
    await side.start("c2", OTHER, 2)
    await side.lease(SLOT, 1, 0)
    side.host.until(lambda: not side.host.lives("c1"), "it ends")
    assert side.host.lives("c2")


async def test_nothing_starts_without_a_lease_or_a_guard(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarding, "TELL_WITHIN_S", 0.3)
    with pytest.raises(LeaseOver):
        await side.guarded.hold("c1", SLOT, 1, "10.77.9.11")
    await side.lease(SLOT, 2, 5.0)
    with pytest.raises(LeaseOver):
        await side.guarded.hold("c1", SLOT, 1, "10.77.9.11")
    await side.lease(SLOT, 2, -1.0)
    await side.lease(OTHER, 3, 0.01)
    await asyncio.sleep(0.02)
    with pytest.raises(LeaseOver):
        await side.guarded.hold("c2", OTHER, 3, "10.77.9.12")

    async def fails(run: Path) -> None:
        raise NoGuard("no systemd here")

    side.host.kill_guard()
    side.guarded._begin = fails
    await side.lease(SLOT, 2, 5.0)
    with pytest.raises(NoGuard):
        await side.guarded.hold("c1", SLOT, 2, "10.77.9.11")
    assert not side.guarded._wanted


async def test_a_guard_that_stands_still_confirms_nothing_and_is_told_of_in_an_event(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarding, "TELL_WITHIN_S", 0.3)
    await side.lease(SLOT, 1, 30.0)
    await side.start("c1", SLOT, 1)
    side.host.stop_guard()
    await side.lease(SLOT, 1, 30.0)
    assert [(kind, subject) for kind, subject, _ in side.noted] == [("guard", "shop.clock/0")]
    await side.lease(OTHER, 1, 30.0)
    with pytest.raises(NoGuard):
        await side.guarded.hold("c2", OTHER, 1, "10.77.9.12")
    side.host.kill_guard()  # as its watchdog does; whoever asks next has it begun
    await side.guarded.hold("c2", OTHER, 1, "10.77.9.12")
    assert side.host.lives("c1")


async def test_a_new_agent_takes_over_what_may_live_and_no_more(side: Side) -> None:
    await side.lease(SLOT, 1, 30.0)
    await side.lease(OTHER, 2, 30.0)
    await side.start("c1", SLOT, 1)
    await side.start("c2", OTHER, 2)
    await side.lease(OTHER, 2, 0.5)
    side.host.kill_guard()  # and the agent, and both stay away for a while
    await asyncio.sleep(0.6)
    later = Side(side.host)
    living = await later.guarded.recall({"c1": SLOT, "c2": OTHER, "c3": SLOT})
    assert {id: kept.number for id, kept in living.items()} == {"c1": 1}
    assert later.begun >= 1
    assert [(kind, subject) for kind, subject, _ in later.noted] == [("cut-off", "shop.clock/1")]
    side.host.until(lambda: not side.host.lives("c2"), "it was ended by the new guard")
    await later.lease(SLOT, 1, 0.5)  # what it takes over it renews
    side.host.until(lambda: not side.host.lives("c1"), "the shorter word counts")


# A whole agent: one voter, one exclusive service, containers in memory, a real guard beside it.


class Alone(SmallCloud):
    def __init__(self, directory: Path, begin: Callable[[Path], Awaitable[None]]) -> None:
        super().__init__(directory, 1)
        self.begin = begin

    def changed(self, name: str, parts: Parts) -> Parts:
        parts.guard = self.begin
        return parts

    def deploy(self, small: Aside) -> None:
        agent = self.agents["vps-1"]
        image = small.look(lambda: self.give_image(b"a clock"))
        policy = agent.trusted.document("policy")
        assert policy is not None
        for path, body, version, prev in (
            ("policy", msgspec.structs.replace(policy.body, voters=("node/vps-1",)), 2, policy.hash),
            ("release/shop", Release(images={"clock": image}, fits=1), 1, ""),
            ("app/shop", App(services={"clock": Service(command=("/app",), exclusive=True)}), 1, ""),
        ):
            raw = self.sign(path, body, version, prev=prev)
            small.look(lambda raw=raw: agent.door.offer(raw, from_client=True))  # type: ignore[misc]

    def row(self) -> view.Row | None:
        return next((row for row in self.agents["vps-1"].loop.core.rows() if row.slot == str(SLOT)), None)

    def specs(self) -> list[ContainerSpec]:
        return list(self.runtimes["vps-1"].disk.specs.values())


def runs(cloud: Alone) -> bool:
    row = cloud.row()
    return row is not None and row.state == "running"


def alone(side: Side, directory: Path) -> Alone:
    """An agent whose guard is that of `side`."""

    async def begin(run: Path) -> None:
        side.host.run = run
        await side.begin(run)

    return Alone(directory, begin)


def test_a_container_is_told_its_number_and_a_new_agent_goes_on_with_it(tmp_path: Path, side: Side) -> None:
    cloud = alone(side, tmp_path)
    with Aside(cloud) as small:
        cloud.deploy(small)
        small.wait("runs", lambda: runs(cloud))
        (spec,) = small.look(cloud.specs)
        number = int(dict(spec.environment)["SKERRY_FENCING_NUMBER"])
        (held,) = side.host.packet(msgspec.json.encode(Ask())).held
        assert (held.kept.id, held.kept.number, held.kept.cgroup) == (spec.id, number, f"/skerry/{spec.id}")
        first_s = held.kept.until_s
        small.wait("renewed", lambda: side.host.packet(msgspec.json.encode(Ask())).held[0].kept.until_s > first_s + 1)
        small.run(cloud.stop("vps-1"))
        small.run(cloud.start("vps-1"))
        small.wait("adopted", lambda: runs(cloud))
        assert [each.id for each in small.look(cloud.specs)] == [spec.id], "the same container, with its number"
        assert [each.kept.id for each in side.host.packet(msgspec.json.encode(Ask())).held] == [spec.id]


def test_without_a_guard_nothing_exclusive_is_started_and_the_reason_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def begin(run: Path) -> None:
        raise NoGuard("the guard does not answer", "no systemd here")

    monkeypatch.setattr(guarding, "TELL_WITHIN_S", 0.2)
    cloud = Alone(tmp_path, begin)
    with Aside(cloud) as small:
        cloud.deploy(small)
        small.wait("refused", lambda: "the guard does not answer" in (row.why if (row := cloud.row()) else ""))
        assert small.look(cloud.specs) == []


def test_what_a_new_agent_finds_and_no_guard_vouches_for_is_ended(tmp_path: Path, side: Side) -> None:
    cloud = alone(side, tmp_path)
    with Aside(cloud) as small:
        cloud.deploy(small)
        small.wait("runs", lambda: runs(cloud))
        (spec,) = small.look(cloud.specs)
        small.run(cloud.stop("vps-1"))
        side.host.kill_guard()
        state_path(side.host.run).unlink()
        small.run(cloud.start("vps-1"))
        small.wait("another runs", lambda: [s.id for s in cloud.specs()] not in ([], [spec.id]))
