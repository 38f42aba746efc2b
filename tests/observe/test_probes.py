"""When health is asked and what is told: the pure schedule and judge on a made-up clock, then the prober on real ports."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.intent import Probe
from skerry.observe.asks import Answer, ask, judge_http, judge_mysql, judge_postgres, judge_redis
from skerry.observe.probes import Judge, Prober, next_delay_s

WEB = Probe(kind="http", port=8000, interval_s=5.0, retries=3, start_period_s=10.0)


def play(answers: Callable[[float], bool], until_s: float) -> tuple[list[float], list[tuple[float, bool]]]:
    """Run schedule and judge on virtual time: when it asked, and what it told when."""
    judge, age_s, asked, told = Judge(WEB), 0.0, [], []
    while age_s < until_s:
        asked.append(age_s)
        ok = answers(age_s)
        if judge.hear(ok, age_s=age_s):
            told.append((round(age_s, 3), ok))
        age_s += next_delay_s(WEB, age_s=age_s, was_healthy=bool(judge.told), misses=judge.misses)
    return asked, told


def test_a_service_that_comes_up_after_a_second_is_told_within_25_ms() -> None:
    asked, told = play(lambda age_s: age_s >= 1.01, 20.0)
    assert told == [(1.025, True)]
    assert len([age_s for age_s in asked if age_s > 1.1]) == 3  # then every 5 s


def test_a_slow_starter_is_asked_every_200_ms_and_not_called_sick_for_most_of_its_start_period() -> None:
    asked, told = play(lambda age_s: age_s >= 7.0, 12.0)
    assert len(told) == 1
    assert told[0][1]
    assert 7.0 <= told[0][0] <= 7.2
    assert all(0.19 < b - a < 0.21 for a, b in itertools.pairwise(asked) if 2.1 < a < 6.9)


def test_one_that_never_comes_up_is_told_once_before_its_start_period_ends() -> None:
    _, told = play(lambda age_s: False, 30.0)
    assert len(told) == 1
    assert not told[0][1]
    assert 7.5 <= told[0][0] <= 7.7


def test_after_being_well_it_takes_three_misses_in_a_row_asked_quickly() -> None:
    _, told = play(lambda age_s: age_s < 6.0, 20.0)
    assert [ok for _, ok in told] == [True, False]
    assert told[1][0] == pytest.approx(10.0 + 2.0)  # asked at 10, missed, again each second


def test_a_single_miss_is_no_news() -> None:
    _, told = play(lambda age_s: not 4.0 < age_s < 5.5, 30.0)
    assert told == [(0.0, True)]


@given(st.lists(st.booleans(), max_size=60))
def test_the_word_is_only_told_when_it_changes(answers: list[bool]) -> None:
    judge = Judge(WEB)
    told = [ok for n, ok in enumerate(answers) if judge.hear(ok, age_s=float(n))]
    assert all(a != b for a, b in itertools.pairwise(told))


@pytest.mark.parametrize(
    ("line", "ok"),
    [
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.0 301 Moved\r\n", True),
        (b"HTTP/1.1 404 Not Found\r\n", False),
        (b"HTTP/1.1 500\r\n", False),
        (b"HTTP/2 200\r\n", False),
        (b"HTTP/1.1 20 OK\r\n", False),
        (b"SSH-2.0-x\r\n", False),
        (b"\n", False),
    ],
)
def test_http_answers(line: bytes, ok: bool) -> None:
    assert judge_http(line).ok is ok


def test_database_answers() -> None:
    assert judge_redis(b"+PONG\r\n").ok
    assert judge_redis(b"-NOAUTH Authentication required.\r\n") == (True, "-NOAUTH Authentication required.")
    assert not judge_redis(b"-LOADING Redis is loading\r\n").ok
    assert judge_postgres(b"R", b"\0\0\0\x0a") == (True, "takes connections")
    unknown = b'SFATAL\0VFATAL\0C28000\0Mrole "postgres" does not exist\0\0'
    assert judge_postgres(b"E", unknown) == (True, 'role "postgres" does not exist')
    starting = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
    assert judge_postgres(b"E", starting) == (False, "the database system is starting up")
    assert not judge_postgres(b"H", b"TTP/1.1 400").ok
    assert judge_mysql(b"\x0a10.11").ok
    assert judge_mysql(b"\xff\x6a\x04Host '10.0.0.1' is not allowed") == (True, "Host '10.0.0.1' is not allowed")
    assert judge_mysql(b"\xff\x1d\x04#08S01Server shutdown in progress") == (False, "Server shutdown in progress")
    assert not judge_mysql(b"HTTP/").ok


@given(st.binary(max_size=200))
def test_any_answer_gives_a_short_printable_detail(data: bytes) -> None:
    for answer in (judge_http(data), judge_redis(data), judge_postgres(data[:1], data[1:]), judge_mysql(data)):
        detail = answer.detail
        assert len(detail) < 200
        assert detail.isprintable()


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Serve = Callable[[bytes | None], Awaitable[int]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serve a fixed answer on a port of loopback; None: accept, and say nothing."""
    servers = []

    async def start(answer: bytes | None) -> int:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if answer is not None:
                writer.write(answer)
            await reader.read()
            writer.close()

        servers.append(await asyncio.start_server(handle, "127.0.0.1", 0))
        return int(servers[-1].sockets[0].getsockname()[1])

    yield start
    for server in servers:
        server.close()


@pytest.mark.parametrize(
    ("kind", "answer", "expected"),
    [
        ("tcp", None, Answer(True, "connected")),
        ("http", b"HTTP/1.1 204 No Content\r\n\r\n", Answer(True, "HTTP 204")),
        ("http", b"x" * 5000, Answer(False, "port {port}: closed before a whole http answer")),
        ("redis", b"+PONG\r\n", Answer(True, "+PONG")),
        ("postgres", b"R\0\0\0\x08\0\0\0\x0a", Answer(True, "takes connections")),
        ("postgres", b"R\0\0\0\x08\0\0\0\0S\0\0\0\x04Z\0\0\0\5I", Answer(True, "takes connections")),
        ("postgres", b"R\xff\xff\xff\xff", Answer(False, "no answer in 0.2 s")),
        ("mysql", b"\4\0\0\0\x0a8.0\3\0\0\2\xff\x15\4", Answer(True, "handshake")),
        ("mysql", b"\4\0\0\0\x0a8.0\1\0\0\2\xfe\3\0\0\4\xff\x1d\4", Answer(False, "an error")),
        ("mysql", b"\4\0\0\0\x0a8.0", Answer(False, "no answer in 0.2 s")),
        ("redis", None, Answer(False, "no answer in 0.2 s")),
    ],
)
async def test_each_kind_of_question(serve: Serve, kind: str, answer: bytes | None, expected: Answer) -> None:
    port = await serve(answer)
    got = await ask(Probe(kind=kind, port=port, timeout_s=0.2), "127.0.0.1")  # type: ignore[arg-type]
    assert got == (expected.ok, expected.detail.format(port=port))


async def test_mysql_is_left_only_after_a_login_or_it_would_shut_the_prober_out() -> None:
    """As a server that counts who leaves in the middle does (seen of MariaDB 10.11 with `max_connect_errors`)."""
    left_early = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left_early
        try:
            writer.write(b"\4\0\0\0\x0a8.0")
            head = await reader.readexactly(4)
            login = await reader.readexactly(int.from_bytes(head[:3], "little"))
            assert head[3] == 1 and b"skerry-probe\0" in login
            writer.write(b"\1\0\0\2\xfe")  # another plugin, please
            assert await reader.readexactly(4) == b"\0\0\0\3"
            writer.write(b"\3\0\0\4\xff\x15\4")
        except (asyncio.IncompleteReadError, ConnectionError):
            left_early += 1
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert (await ask(Probe(kind="mysql", port=port), "127.0.0.1")).ok
    assert left_early == 0


async def test_a_closed_port_is_an_answer() -> None:
    assert await ask(Probe(kind="tcp", port=1), "127.0.0.1") == (False, "port 1: Connection refused")


async def test_the_prober_tells_of_a_service_that_comes_up_and_nothing_after_unwatch() -> None:
    told: asyncio.Queue[tuple[str, str, str, bool, str]] = asyncio.Queue()
    well = False

    async def asked(probe: Probe, address: str) -> Answer:
        return Answer(well, address)

    prober: Prober[str] = Prober(lambda *word: told.put_nowait(word), ask=asked, jitter=lambda: 0.0)
    quick = Probe(kind="tcp", port=1, interval_s=0.01, retries=2)
    prober.watch("guestbook.web/0", "node/a", "spec", "10.0.0.1", quick, own=True)
    await asyncio.sleep(0)
    assert told.empty()
    well = True
    word = await asyncio.wait_for(told.get(), 2)
    assert word == ("guestbook.web/0", "node/a", "spec", True, "10.0.0.1")
    well = False
    assert (await asyncio.wait_for(told.get(), 2))[3] is False
    prober.unwatch("guestbook.web/0", "node/a", "spec")
    prober.unwatch("guestbook.web/0", "node/a", "spec")
    well = True
    await asyncio.sleep(0.03)
    assert told.empty()
    await prober.close()
