"""Logs of several hosts over real links: merged, picked on the hosts, followed over restarts; each role reads its own apps'."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.small import SmallCloud
from skerry.client import logs as client_logs
from skerry.client import roles, views
from skerry.client.session import Session
from skerry.errors import NoSuchSubject
from skerry.observe.logstore import pack
from skerry.trust import genesis
from skerry.trust.identity import Signer
from skerry.trust.refusals import VerbNotAllowed
from skerry.trust.requests import judge_request, make_request

WITHIN_S = 20.0
HOSTS = ("vps-1", "vps-2", "vps-3")


def stamp(second: float) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat(timespec="microseconds")


@pytest.fixture
def begun_s(cloud: SmallCloud) -> float:
    """Each host kept 300 lines of a replica, in turn one a second, and of another app one."""
    begun_s = time.time() - 1000
    for host, name in enumerate(HOSTS):
        text = "".join(f"{stamp(begun_s + 3 * n + host)} stdout F web/{host} line {3 * n + host}\n" for n in range(100))
        store = cloud.agents[name].logs.store
        store.append(f"shop.web/{host}", [pack(text.encode())])
        store.append(f"mail.db/{host}", [pack(f"{stamp(begun_s + 500)} stderr F secret {host}\n".encode())])
    return begun_s


async def texts(session: Session, *targets: str, **wanted: Any) -> list[str]:
    return [row["text"] async for row in views.logs(session, list(targets), **wanted)]


async def test_lines_of_all_hosts_come_in_the_order_of_their_times(
    cloud: SmallCloud, session: Session, begun_s: float
) -> None:
    wanted = [f"web/{n % 3} line {n}" for n in range(300)]
    assert await texts(session, "web", tail=1000) == wanted
    assert await texts(session, "shop", tail=7) == wanted[-7:]
    assert await texts(session, "web/1", tail=2) == ["web/1 line 295", "web/1 line 298"]
    assert await texts(session, "web", since=begun_s + 9.9, until=begun_s + 12.5) == wanted[10:13]
    assert await texts(session, "web", grep="line 29") == [wanted[29], *wanted[290:]]
    assert await texts(session, "web", grep="/0 .* 1[0-9]5$", regex=True) == [
        w for w in wanted[100:200] if w[4] == "0" and w[-1] == "5"
    ]
    with pytest.raises(NoSuchSubject):
        await texts(session, "nope")


async def test_where_one_host_has_all_that_is_newest_it_gives_more_than_its_share(
    cloud: SmallCloud, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_logs, "SHARE_MIN", 2)
    now_s = time.time() - 100
    for host, (name, late) in enumerate(zip(HOSTS, (0, 50, 0), strict=True)):
        text = "".join(f"{stamp(now_s + late + n / 100)} stdout F {name} {n}\n" for n in range(200))
        cloud.agents[name].logs.store.append(f"shop.web/{host}", [pack(text.encode())])
    assert await texts(session, "web", tail=150) == [f"vps-2 {n}" for n in range(50, 200)]
    assert len(await texts(session, "web", tail=450)) == 450


async def test_a_host_says_what_its_agent_said(cloud: SmallCloud, session: Session, begun_s: float) -> None:
    for name in HOSTS:
        cloud.files[name].own_logs()[-1].write_text(f"{stamp(begun_s - 1)} stderr F {name} began\n")
    rows = [row async for row in views.logs(session, ["vps-2"])]
    assert [(row["node"], row["slot"], row["text"]) for row in rows] == [("vps-2", "node/vps-2", "vps-2 began")]
    assert await texts(session, "vps-1", "web/0", tail=101) == [
        "vps-1 began",
        *(f"web/0 line {n}" for n in range(0, 300, 3)),
    ]


async def test_a_host_that_is_gone_is_told_and_the_rest_is_shown(
    cloud: SmallCloud, session: Session, begun_s: float
) -> None:
    await cloud.stop("vps-2")
    rows = [row async for row in views.logs(session, ["web"], tail=1000)]
    assert [row["node"] for row in rows if "unanswered" in row] == ["vps-2"]
    assert len(rows) == 201


async def test_followed_lines_come_once_and_in_order_while_a_host_restarts(cloud: SmallCloud, session: Session) -> None:
    """The hosts' own logs, which tests can write to."""
    files = {name: cloud.files[name].own_logs()[-1] for name in HOSTS}
    over = asyncio.Event()

    async def write() -> None:
        n = 0
        while not over.is_set():
            for name, path in files.items():
                with path.open("a") as file:
                    file.write(f"{stamp(time.time())} stderr F {name} {n}\n")
            n += 1
            await asyncio.sleep(0.02)

    writing = asyncio.create_task(write())
    heard: list[dict[str, Any]] = []
    away = False
    async with asyncio.timeout(WITHIN_S), aclosing(views.logs(session, list(HOSTS), follow=True, tail=0)) as rows:
        async for row in rows:
            heard.append(row)
            last = int(row["text"].split()[1]) if row.get("text") else 0
            if last == 40 and not away:
                away = True
                await cloud.stop("vps-2")
                await cloud.start("vps-2")
            if away and row["node"] == "vps-2" and last > 100:
                break
    over.set()
    await writing
    assert [row["node"] for row in heard if "unanswered" in row] == ["vps-2"]
    for name in HOSTS:
        numbers = [int(row["text"].split()[1]) for row in heard if row["node"] == name and "text" in row]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), f"{name}: each once, none missing"
    before = [row["time"] for row in heard[: next(n for n, row in enumerate(heard) if "unanswered" in row)]]
    assert before == sorted(before)


async def test_a_role_reads_the_logs_of_its_app_and_no_other(
    cloud: SmallCloud, session: Session, begun_s: float, tmp_path: Path
) -> None:
    seed = secrets.token_bytes(32)
    public = genesis.operator("dora", seed, secrets.token_bytes(32), 7)
    await roles.add_right(session, "observe", "dora", public, apps=["mail"])
    agent = cloud.agents[str(session.preferred).removeprefix("node/")]

    async def asked(**args: Any) -> list[str]:
        raw = make_request(Signer(seed), cloud.cloud, agent.me, "logs", args, "nonce", time.time())
        request = judge_request(raw, agent.trusted, node=agent.me, nonce="nonce", now_s=time.time())
        return [row[3] async for batch in agent.server.answer(request) for row in batch["rows"]]

    assert [text.split()[0] for text in await asked()] == ["secret"], "of all that is here, what it may see"
    assert [text.split()[0] for text in await asked(targets=["mail"])] == ["secret"]
    for args, about in (
        ({"targets": ["shop"]}, "app/shop"),
        ({"targets": ["web", "db"]}, "app/shop"),
        ({"hosts": [agent.me]}, agent.me),
    ):
        with pytest.raises(VerbNotAllowed, match=f"no right to observe {about}"):
            await asked(**args)
