"""A captured host sends as fast as it can. The others stay responsive, linked, and change nothing; each flood from a process of
its own, against a real agent over TLS. What was measured is printed (`pytest -s`).
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from attacks.conftest import HONEST, Scene
from attacks.flood import OWN
from skerry.agent import complaints
from skerry.core.facts import Decline
from skerry.core.intent import Node
from skerry.mesh import door, links

SECONDS = 1.0
BUSY_S = 0.3  # of the thread's own processor time, which a busy machine doesn't stretch, between two turns of the loop
ANSWER_S = 10.0  # a host that hangs never answers


KINDS = {  # and what each is told as
    "facts": complaints.TOO_FAST, "unknown": complaints.NOT_TO_SIGN, "stale": complaints.TOO_FAST,
    "messages": "",  # as many of them as are taken are within the rate
    "garbage": complaints.NO_FRAME, "huge": links.GIANT,
    "handshakes": door.TURNED_AWAY, "reconnect": door.TURNED_AWAY, "streams": links.STREAM_ENDED,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_flood_leaves_the_others_responsive_linked_and_unchanged(
    scene: Scene, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(complaints.FROM, complaints.TOO_FAST, 2)  # the flood is a short one, and slow on a busy machine
    if kind == "reconnect":
        monkeypatch.setitem(complaints.FROM, door.TURNED_AWAY, 5)
        monkeypatch.setattr(door, "AN_ADDRESS_BURST", 5.0)
        monkeypatch.setattr(door, "AN_ADDRESS_PER_S", 1.0)
    forget(scene)
    agents = scene.cloud.agents
    before = scene.world.look()
    downs = scene.aside.look(lambda: honest_downs(scene))
    diary = scene.aside.look(lambda: sum(f.stat().st_size for f in agents["vps-1"].files.state.rglob("events*.jsonl")))
    calm_s = scene.aside.run(pauses())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    flood = begin(scene, kind)
    lags, busy, answers = scene.aside.run(measure(scene, flood))
    said = json.loads(flood.communicate(timeout=30)[0].splitlines()[-1])
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) >> 10
    lags.sort()
    print(
        f"\n{kind}: sent {said['sent']}; lag p50 {lags[len(lags) // 2] * 1e3:.1f} ms, max {lags[-1] * 1e3:.0f} ms, "
        f"busy max {max(busy) * 1e3:.0f} ms; answer max {max(answers) * 1e3:.0f} ms; {grown} MiB more"
    )
    assert said["sent"] > 0
    assert lags[len(lags) // 2] < 10 * calm_s + 0.1, "nor does it make the loop wait for a disk, say"
    assert max(busy) < BUSY_S, (
        "the flood never has the loop for itself; how late it came back tells of the machine, too"
    )
    assert scene.aside.look(lambda: honest_downs(scene)) == downs, "the honest hosts' link stayed up"
    scene.calm()
    assert scene.world.look() == before
    after = scene.aside.look(lambda: sum(f.stat().st_size for f in agents["vps-1"].files.state.rglob("events*.jsonl")))
    assert after - diary < 30_000, "the diary still tells what happened before"
    assert grown < 300
    who = "node/vps-3" if kind not in ("handshakes", "reconnect") else "strangers" if kind == "handshakes" else OWN
    if KINDS[kind]:
        named(scene, who, KINDS[kind])


def forget(scene: Scene) -> None:
    """What was told of anybody in the minute before."""
    complaints_of = scene.cloud.agents["vps-1"].links.complaints
    scene.aside.look(lambda: setattr(complaints_of, "_together_s", -1e9))
    for doers in (complaints_of._doers, complaints_of._strangers, complaints_of._named_s):
        scene.aside.look(doers.clear)
    scene.aside.look(scene.cloud.agents["vps-1"].mesh._door._rates.clear)
    scene.since_s = time.time()


def named(scene: Scene, who: str, deed: str) -> None:
    """Wait until vps-1 says of these that they did this."""
    events = scene.cloud.agents["vps-1"].events

    def told() -> bool:
        entries = [entry for entry in events.tail(500) if entry.kind == "misdeed" and entry.time >= scene.since_s]
        return any(entry.subject.startswith(who) and int(entry.more.get(deed, 0)) > 0 for entry in entries)

    scene.aside.wait(f"a word of {who}: {deed}", told, 10)


async def pauses() -> float:
    """The middle one of the loop's pauses while nobody floods: what this machine is like just now."""
    loop, lags = asyncio.get_running_loop(), []
    for _ in range(21):
        start_s = loop.time()
        await asyncio.sleep(0.01)
        lags.append(loop.time() - start_s - 0.01)
    return sorted(lags)[len(lags) // 2]


async def measure(scene: Scene, flood: subprocess.Popen[str]) -> tuple[list[float], list[float], list[float]]:
    """While the flood lasts: how late the hosts' loop came back, how much of that it worked, how long an answer took."""
    lags, busy, answers = [0.0], [0.0], [0.0]
    loop = asyncio.get_running_loop()
    while flood.poll() is None:
        start_s, worked_s = loop.time(), time.thread_time()
        await asyncio.sleep(0.01)
        lags.append(loop.time() - start_s - 0.01)
        busy.append(time.thread_time() - worked_s)
        if len(lags) % 20 == 0:
            start_s = loop.time()
            assert await scene.cloud.agents["vps-2"].mesh.reach("node/vps-1", ANSWER_S), "a handshake of an honest host"
            answers.append(loop.time() - start_s)
    return lags, busy, answers


def begin(scene: Scene, kind: str) -> subprocess.Popen[str]:
    thief, cloud = scene.thief, scene.cloud
    body = scene.aside.look(lambda: cloud.agents["vps-1"].trusted.nodes["node/vps-1"].body)
    assert isinstance(body, Node)
    given = {
        "kind": kind,
        "seconds": SECONDS,
        "seed": thief.signer.seed.hex(),
        "certificate": base64.b64encode(thief.identity.certificate_der).decode(),
        "cloud": cloud.cloud,
        "node": thief.path,
        "address": body.addresses[0],
        "pinned": body.certificate,
    }
    root = Path(__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root / 'tests'}"}
    flood = subprocess.Popen(
        [sys.executable, "-m", "attacks.flood", json.dumps(given)], stdout=subprocess.PIPE, text=True, env=env
    )
    assert flood.stdout is not None and flood.stdout.readline() == "ready\n"
    return flood


def honest_downs(scene: Scene) -> int:
    """How often one honest host has lost the other."""
    count = 0
    for name in HONEST:
        others = {n for n in HONEST if n != name}
        entries = scene.cloud.agents[name].events.tail(1000)
        count += sum(entry.kind == "down" and entry.subject in others for entry in entries)
    return count


def test_what_comes_faster_than_the_rate_waits_and_is_not_lost(scene: Scene) -> None:
    """A cloud of many records fills a new host at the link's rate: nothing of it has to be asked for twice."""
    links = scene.cloud.agents["vps-1"].links
    seen: set[bytes] = set()
    real = links._offer

    def counted(raw: bytes, peer: str) -> None:
        real(raw, peer)  # raises when the rate is used up: not counted then
        seen.add(raw)

    body = Decline(spec="0" * 16, reason="x")
    raws = [scene.thief.fact("decline", f"many{n}.web/0", body, node="node/nobody") for n in range(4 * 512 + 500)]

    async def push() -> float:
        link = await scene.thief.link("vps-1")
        start_s = time.monotonic()
        for at in range(0, len(raws), 512):
            await link.send(*raws[at : at + 512])
        assert await link.settle()
        await link.close()
        return time.monotonic() - start_s

    links._offer = counted  # type: ignore[method-assign]
    try:
        took_s = scene.aside.run(push())
    finally:
        links._offer = real  # type: ignore[method-assign]
    assert seen >= set(raws) and took_s > 0.2
    scene.calm()


def test_a_host_that_lets_everything_pile_up_loses_its_link_and_nobody_elses_memory(scene: Scene) -> None:
    """A slow reader: it asks and never reads. The others drop it once the bound is reached."""

    async def never_read() -> float:
        link = await scene.thief.link("vps-1")
        link.stream.transport.pause_reading()
        mesh = scene.cloud.agents["vps-1"].mesh
        deadline_s = time.monotonic() + 15
        while "node/vps-3" not in mesh.neighbours():  # noqa: ASYNC110 - the mesh has no event for a test to wait on
            await asyncio.sleep(0.01)
        while "node/vps-3" in mesh.neighbours() and time.monotonic() < deadline_s:
            mesh.send("node/vps-3", b"\0" * 500_000)
            await asyncio.sleep(0.01)
        return deadline_s - time.monotonic()

    assert scene.aside.run(never_read()) > 0
    scene.calm()
