"""What is refused before any page is asked: other names, other pages, no session. Each as an attacker would send it."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from skerry.ui.access import KEY_HEADER
from ui.serving import Shown


@pytest.fixture(scope="module")
def shown(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    with Shown(home, tmp_path_factory.mktemp("ui")) as made:
        yield made


@pytest.fixture
def mine(shown: Shown) -> Iterator[httpx.Client]:
    """The operator's browser, with a session."""
    with closing(shown.entered()) as client:
        yield client


def code(answer: httpx.Response) -> str:
    assert answer.status_code == 403, (answer.status_code, answer.text)
    return str(answer.json()["code"])


def test_with_a_session_the_api_answers(mine: httpx.Client) -> None:
    told = mine.get("/v1/whoami").json()
    assert (told["token"], told["roles"], told["cloud"]) == ("ui", ["operator"], "small")


@pytest.mark.parametrize("path", ["/", "/static/app.css", "/v1/whoami", "/enter"])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1",
        "127.0.0.1:1",
        "evil.example:{port}",
        "127.0.0.1.evil.example:{port}",
        "[::1]:{port}",
        "",
    ],
)
def test_dns_rebinding_a_foreign_name_that_points_here_gets_nothing(
    shown: Shown, mine: httpx.Client, path: str, host: str
) -> None:
    named = host.format(port=shown.port)
    assert code(mine.get(path, headers={"Host": named, "Origin": f"http://{named}"})) == "ui-not-our-name"


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1", "https://127.0.0.1:{port}", "http://localhost:{port}"]
)
def test_csrf_another_page_may_not_even_read(shown: Shown, mine: httpx.Client, origin: str) -> None:
    foreign = {"Origin": origin.format(port=shown.port)}
    for method, path in (("GET", "/v1/apps"), ("DELETE", "/v1/apps/shop"), ("POST", "/enter"), ("OPTIONS", "/v1/apps")):
        assert code(mine.request(method, path, headers=foreign)) == "ui-not-our-origin"


def test_csrf_a_change_that_does_not_say_where_it_comes_from_is_refused(shown: Shown, mine: httpx.Client) -> None:
    with httpx.Client(base_url=shown.url, cookies=mine.cookies, trust_env=False) as client:
        key = {"x-skerry-key": mine.headers["x-skerry-key"]}
        assert code(client.delete("/v1/apps/shop", headers=key)) == "ui-not-our-origin"
        assert client.get("/v1/whoami", headers=key).status_code == 200
        assert code(client.get("/v1/whoami", headers={**key, "Sec-Fetch-Site": "cross-site"})) == "ui-not-our-origin"


def test_another_user_of_the_machine_has_neither_cookie_nor_key(shown: Shown, mine: httpx.Client) -> None:
    cookies, key = dict(mine.cookies), mine.headers["x-skerry-key"]
    wrong = dict.fromkeys(cookies, "A" * 43)
    ours = {"Origin": shown.url}
    for jar, headers in (
        ({}, ours),
        (cookies, ours),  # a server of another user, on another port of this machine, was sent it
        ({}, {**ours, "x-skerry-key": key}),
        (wrong, {**ours, "x-skerry-key": key}),
        (cookies, {**ours, "x-skerry-key": key[:-1]}),
    ):
        with httpx.Client(base_url=shown.url, cookies=jar, headers=headers, trust_env=False) as client:
            for path in ("/v1/whoami", "/images/sha256:" + "0" * 64, "/nothing", "/v1/openapi.json"):
                assert code(client.get(path)) == "ui-no-session"


def test_the_token_is_good_once(shown: Shown) -> None:
    with closing(shown.entered()) as first, shown.client(Origin=shown.url) as second:
        assert code(second.post("/enter", json={"token": shown.access.token})) == "ui-token-used"
        assert first.get("/v1/whoami").status_code == 200


NO_TOKENS = [b"", b"{}", b"[]", b'{"token": 1}', b'{"token": "x", "more": 1}', b"\xff", b'{"token": "' + b"x" * 2000]
OUT = [
    "../server.py",
    "..%2fserver.py",
    "%2e%2e/%2e%2e/server.py",
    "/etc/passwd",
    "js/../../access.py",
    "js\\..\\..\\access.py",
    "js/",
    "",
]


@pytest.mark.parametrize("body", NO_TOKENS)
def test_what_is_no_token_opens_nothing(shown: Shown, body: bytes) -> None:
    shown.again()
    with shown.client(Origin=shown.url) as client:
        assert client.post("/enter", content=body).status_code in (400, 413)
        assert code(client.post("/enter", json={"token": "x"})) == "ui-token-used"
        assert client.post("/enter", json={"token": shown.access.token}).status_code == 200, (
            "the real one is still good"
        )


def test_cookie_and_answers_say_how_little_a_browser_may_do_with_them(shown: Shown) -> None:
    shown.again()
    with shown.client(Origin=shown.url) as client:
        entered = client.post("/enter", json={"token": shown.access.token})
        flags = {part.strip().lower() for part in entered.headers["set-cookie"].split(";")[1:]}
        assert {"httponly", "samesite=strict", "path=/"} <= flags
        assert not any(flag.startswith(("domain", "max-age", "expires")) for flag in flags), "it ends with the browser"
        for answer in (
            client.get("/"),
            client.get("/v1/whoami"),
            client.get("/static/js/main.js"),
            client.get("/x"),
            entered,
        ):
            policy = answer.headers["content-security-policy"]
            assert "frame-ancestors 'none'" in policy and "default-src 'none'" in policy and "unsafe" not in policy
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert "access-control-allow-origin" not in answer.headers
        assert client.get("/v1/whoami").headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", OUT)
def test_no_path_leads_out_of_the_pages_files(shown: Shown, path: str) -> None:
    raw = f"GET /static/{path} HTTP/1.1\r\nHost: 127.0.0.1:{shown.port}\r\nConnection: close\r\n\r\n"
    head = said(shown, raw.encode())
    assert b" 404 " in head.splitlines()[0] or b" 403 " in head.splitlines()[0]
    assert b"import" not in head and b"root:" not in head


def test_requests_of_two_meanings_and_endless_ones_are_cut_off(shown: Shown, mine: httpx.Client) -> None:
    here = f"Host: 127.0.0.1:{shown.port}\r\n"
    two = f"POST /enter HTTP/1.1\r\n{here}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"
    both = f"POST /enter HTTP/1.1\r\n{here}Origin: {shown.url}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    both += "GET / HTTP/1.1\r\n\r\n"
    folded = f"GET / HTTP/1.1\r\n{here}Host: evil.example\r\n\r\n"
    endless = f"GET / HTTP/1.1\r\n{here}X: {'x' * 300_000}\r\n\r\n"
    assert b" 400 " in said(shown, two.encode()).splitlines()[0]
    assert b" 200 " not in said(shown, both.encode())
    assert b" 200 " not in said(shown, folded.encode())
    assert b" 400 " in said(shown, endless.encode()).splitlines()[0]
    session = "".join(f"{name}: {mine.headers[name]}\r\n" for name in ("Origin", KEY_HEADER))
    session += "Cookie: " + "; ".join(f"{name}={value}" for name, value in mine.cookies.items()) + "\r\n"
    # Its head alone: a server that hangs up on bytes it never read may take its own answer back by that.
    large = f"PUT /v1/apps/shop HTTP/1.1\r\n{here}{session}Content-Type: application/json\r\nContent-Length: {3 << 20}\r\n\r\n"
    assert b" 413 " in said(shown, large.encode()).splitlines()[0]


def said(shown: Shown, raw: bytes) -> bytes:
    """All that the server answers to these bytes until it closes, or says no more."""
    with socket.create_connection(("127.0.0.1", shown.port), timeout=5) as wire:
        got = b""
        with contextlib.suppress(ConnectionError):  # it hung up on us, and may have said why
            wire.sendall(raw)
        with contextlib.suppress(TimeoutError, ConnectionError):
            while piece := wire.recv(65536):
                got += piece
                wire.settimeout(0.5)
        return got


def test_a_websocket_needs_our_origin_and_the_cookie(shown: Shown, mine: httpx.Client) -> None:
    cookie = "; ".join(f"{name}={value}" for name, value in mine.cookies.items())
    for headers, origin in (
        ({"Cookie": cookie}, "http://evil.example"),
        ({"Cookie": cookie}, None),
        ({"Cookie": "a=b"}, shown.url),
        ({"Cookie": cookie, "Sec-Fetch-Site": "same-site"}, shown.url),
    ):
        with pytest.raises(InvalidStatus) as refused, opened(shown, headers, origin):
            pass
        assert refused.value.response.status_code == 403


@pytest.mark.parametrize(
    "hello", ['{"key": "x"}', "{}", "no", '{"id": 1, "watch": "overview"}', '{"key": "' + "x" * 5000 + '"}']
)
def test_a_websocket_is_told_nothing_without_the_key(shown: Shown, mine: httpx.Client, hello: str) -> None:
    cookie = "; ".join(f"{name}={value}" for name, value in mine.cookies.items())
    with opened(shown, {"Cookie": cookie}, shown.url) as wire:
        wire.send(hello)
        with pytest.raises(ConnectionClosed) as closed:
            wire.recv(timeout=5)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008


def test_a_page_may_follow_so_much_and_no_more(shown: Shown, mine: httpx.Client) -> None:
    cookie = "; ".join(f"{name}={value}" for name, value in mine.cookies.items())
    with opened(shown, {"Cookie": cookie}, shown.url) as wire:
        wire.send(json.dumps({"key": mine.headers["x-skerry-key"]}))
        wire.send(json.dumps({"id": 1, "watch": "operation", "args": {"id": "no"}}))
        assert json.loads(wire.recv(timeout=5))["error"]["code"] == "no-such-operation"
        wire.send(json.dumps({"id": 2, "watch": "logs", "args": {"nonsense": 1}}))
        assert json.loads(wire.recv(timeout=5))["error"]["code"] == "bad-request"
        for id in range(3, 20):
            wire.send(json.dumps({"id": id, "watch": "events", "args": {"tail": 0}}))
        with pytest.raises(ConnectionClosed):
            while True:
                wire.recv(timeout=5)


def opened(shown: Shown, headers: dict[str, str], origin: str | None):  # type: ignore[no-untyped-def]
    return connect(
        f"ws://127.0.0.1:{shown.port}/live",
        origin=origin,
        additional_headers=headers,
        proxy=None,
        compression=None,  # type: ignore[arg-type]
    )
