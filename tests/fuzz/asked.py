"""Places where somebody asks something: the REST API and the pages, the lease socket, a host's verbs, the guard, strangers.

Each with the good input that its fuzzing begins with. The invariant is that of targets.py.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import hashlib
import io
import json
import ssl
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import msgspec
from starlette.requests import Request
from starlette.websockets import WebSocket

from skerry.agent import serve
from skerry.agent.debugging import sessions
from skerry.agent.guarding import asking as guarding
from skerry.agent.leases.desk import Had, Refused
from skerry.agent.leases.doors import LeaseDoors
from skerry.agent.looking import answering
from skerry.api import server as api
from skerry.api.tokens import Bearer, Tokens
from skerry.client import identity, recovery
from skerry.errors import BadFormat, Unreachable
from skerry.guarding import words as guard_words
from skerry.guarding.table import Table
from skerry.mesh import messages, tls
from skerry.mesh import streams as mesh_streams
from skerry.trust import checks, passphrase, refusals, seal
from skerry.trust import requests as trust_requests
from skerry.trust.recovery import OperatorKeys, Recovery, unlock
from skerry.ui import figures, images, live, looks, streams, terminal
from skerry.ui.access import Access
from skerry.ui.guard import Guard
from trust.world import CLOUD, ROOT, der, root_body, signer

T = TypeVar("T")
LOOP = asyncio.new_event_loop()


def at_once(waits: Coroutine[Any, Any, T]) -> T:
    """What never waits needs no loop, which takes longer than most that is read here."""
    try:
        waits.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise AssertionError("it waits")


@contextlib.contextmanager
def no_clock() -> Iterator[None]:
    """Frames come at once: a limit of time around each would take most of it."""
    before = messages.recv_frame

    async def frame(stream: Any, timeout_s: float | None) -> bytes:
        return await stream.recv(decode=False)  # type: ignore[no-any-return]

    messages.recv_frame = mesh_streams.recv_frame = frame  # type: ignore[attr-defined]
    try:
        yield
    finally:
        messages.recv_frame = mesh_streams.recv_frame = before  # type: ignore[attr-defined]


def folded(data: bytes, parts: int) -> list[bytes]:
    """The parts between lines; the last has the rest."""
    found = data.split(b"\n", parts - 1)
    return [*found, *[b""] * (parts - len(found))]


# -- the lease socket


class _Desk:
    """Whoever asks is answered at once."""

    async def acquire(self, app: str, container: str, lease: str, wait_s: float) -> Had:
        return Had(1, 3.0)

    def renew(self, app: str, container: str, lease: str, number: int) -> Had:
        raise Refused("not-held", "it is not")

    def release(self, app: str, container: str, lease: str, number: int) -> None:
        pass

    async def watch(
        self, app: str, container: str, lease: str, seen: Any, wait_s: float
    ) -> tuple[int, bool, str, bool]:
        return 1, True, "node/vps-1", False


class _Of:
    app, container = "web", "c"


DOORS = LeaseDoors(Path("/nonexistent"), _Desk())  # type: ignore[arg-type]


def request_for_a_lease(data: bytes) -> None:
    answer = json.loads(at_once(DOORS._answer(_Of(), data)))  # type: ignore[arg-type]
    if not answer["ok"] and answer["error"] == "not-understood":
        raise BadFormat("not understood")


# -- the guard


def packet_to_the_guard(data: bytes) -> None:
    """What it takes in it can keep and read again."""
    asked = guard_words.read_ask(data, 100.0)
    table = Table()
    table.want(asked.wanted or (), lambda kept: True)
    table.end_due(150.0)
    assert Table.decode(table.encode()).held == table.held


# -- a host's verbs


def _stub(verb: Callable[..., Any]) -> Callable[..., Any]:
    async def answer(self: Any, args: Any, request: Any) -> None:
        return None

    answer.__annotations__ = get_type_hints(verb)
    return answer


VERBS = sorted(name for name in vars(serve.Server) if name.startswith("_verb_"))
_Answering = type("_Answering", (serve.Server,), {name: _stub(getattr(serve.Server, name)) for name in VERBS})
SERVER = object.__new__(_Answering)


def arguments_of_a_request(data: bytes) -> None:
    """The first byte says of which verb; two more take them on streams of their own."""
    which, args = (data[0] if data else 0) % (len(VERBS) + 2), _json(data[1:])
    if which < len(VERBS):
        request = trust_requests.Request(VERBS[which].removeprefix("_verb_").replace("_", "-"), args, "", "operators")
        at_once(anext(SERVER.answer(request)))
    elif which == len(VERBS):
        answering._args(trust_requests.Request("look", args, "", "operators"))
    else:
        with contextlib.suppress(AttributeError):  # there is no agent behind it
            asked = trust_requests.Request("debug", args, "", "operators", rights=(("debug", ("app/*",)),))
            object.__new__(sessions.Debugging)._admit(asked)


def _json(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):  # it was read with its request
        raise BadFormat("no JSON") from None


# -- the REST API


class _Ledger:
    def begin(self, token: str, key: str, asked: str) -> None:
        return None

    def forget(self, token: str, key: str) -> None:
        pass

    def answer(self, *given: Any) -> None:
        pass


class _All:
    def bearer(self, header: str, now_s: float) -> Bearer:
        return Bearer("x", frozenset({"operator"}))


async def _nothing(call: Any) -> None:
    return None


ROUTES = [dataclasses.replace(route, handler=_nothing) for route in api._ordered()]
API = api.Server(None, _All(), _Ledger(), log=lambda line: None)  # type: ignore[arg-type]
API.operations = None  # type: ignore[assignment]
_CODE = {route.path + route.method: n for n, route in enumerate(ROUTES)}


def request_to_the_api(data: bytes) -> None:
    """A byte for the route, then a line each: name, query, If-Match, If-None-Match, key, type of content; the rest is its body."""
    name, query, match, none, key, kind, body = folded(data[1:], 7)
    route = ROUTES[(data[0] if data else 0) % len(ROUTES)]
    given = {
        "if-match": match,
        "if-none-match": none,
        "idempotency-key": key,
        "content-type": kind,
        "content-length": match,
    }
    asked = _request(route.method.upper(), "/v1/x", query, {k: v for k, v in given.items() if v}, body)
    asked.scope["path_params"] = {
        part[1:-1]: name.decode("utf-8", "replace") for part in route.path.split("/") if part.startswith("{")
    }
    _not_refused(at_once(API._logged(route, asked)))


def _request(method: str, path: str, query: bytes, headers: dict[str, bytes], body: bytes = b"") -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {
        "type": "http", "method": method, "path": path, "query_string": query, "path_params": {},
        "headers": [(name.encode(), value) for name, value in headers.items()], "server": ("127.0.0.1", 80), "scheme": "http",
    }  # fmt: skip
    return Request(scope, receive)


def _not_refused(answer: Any) -> None:
    if 400 <= answer.status_code < 500:
        raise BadFormat("refused")


@cache
def _tokens() -> tuple[Tokens, str]:
    """They, without their file, and the one that is good."""
    with tempfile.TemporaryDirectory() as folder:
        tokens = Tokens(Path(folder) / "tokens.json")
        plain = tokens.add("x", ["read"])
        held = tokens.all()
    tokens.all = lambda: held  # type: ignore[method-assign]
    return tokens, plain


def token_of_the_api(data: bytes) -> None:
    """The header as Starlette gives it: any Latin text."""
    _tokens()[0].bearer(data.decode("latin-1"), 1.0)


def tokens_of_the_api(data: bytes) -> None:
    """Their file, which only its owner writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokens.json"
        path.write_bytes(data)
        Tokens(path).all()


# -- the pages


def _gone() -> Any:
    raise Unreachable("no host is there")  # whoever gets here has read what was asked


PAGES = [
    route for room in (looks.routes(_gone), figures.routes(_gone), images.routes(_gone)) for route in room
]  # fmt: skip


def request_to_the_pages(data: bytes) -> None:
    """A byte for the page, a line with names in its path, and the query."""
    name, query = folded(data[1:], 2)
    route = PAGES[(data[0] if data else 0) % len(PAGES)]
    asked = _request("GET", "/look", query, {})
    asked.scope["path_params"] = {
        part.strip("{}"): name.decode("utf-8", "replace") for part in route.path.split("/") if part.startswith("{")
    }
    _not_refused(at_once(route.endpoint(asked)))


ACCESS = Access(7000)
COOKIE, KEY = ACCESS.enter(ACCESS.token)


def headers_to_the_pages(data: bytes) -> None:
    """By which they tell their own page from others: a line for the path, then host, origin, cookie, key."""
    path, host, origin, cookie, key = folded(data, 5)
    headers = {"host": host, "origin": origin, "cookie": cookie, "x-skerry-key": key}
    sent: list[Any] = []

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        sent.append({"status": 200})

    async def send(message: Any) -> None:
        sent.append(message)

    request = _request("GET", path.decode("latin-1"), b"", {k: v for k, v in headers.items() if v})
    at_once(Guard(inside, ACCESS)(request.scope, request.receive, send))
    if sent[0].get("status") != 200:
        raise BadFormat("refused")


class _Cloud:
    """All that a page can follow, and none of it comes."""

    def __getattr__(self, name: str) -> Any:
        raise Unreachable("no host is there")


class _Socket(WebSocket):
    def __init__(self, texts: list[str | bytes]) -> None:
        async def receive() -> Any:
            await asyncio.sleep(0)  # what was asked for begins
            if not self.left:
                return {"type": "websocket.disconnect", "code": 1000}
            text = self.left.pop(0)
            return {"type": "websocket.receive", "text" if isinstance(text, str) else "bytes": text}

        async def send(message: Any) -> None:
            self.sent.append(message)

        self.left, self.sent = texts, list[Any]()
        super().__init__({"type": "websocket", "path": "/", "headers": []}, receive, send)
        self.left.insert(0, "")
        LOOP.run_until_complete(self.receive_connect())

    async def receive_connect(self) -> None:
        self.left.pop(0)
        from starlette.websockets import WebSocketState

        self.client_state = WebSocketState.CONNECTED


LIVE = live.Live(ACCESS, streams.sources(_Cloud(), _Cloud()))  # type: ignore[arg-type]
TERMINAL = terminal.Terminal(ACCESS, _Cloud())  # type: ignore[arg-type]
HELLO = json.dumps({"key": KEY})


def words_of_a_page(data: bytes) -> None:
    """The first byte says which of its two sockets; a line is a message, after the good first one."""
    texts: list[str | bytes] = [HELLO, *(line.decode("utf-8", "replace") for line in data[1:].split(b"\n")[:4])]
    of = (LIVE, TERMINAL)[(data[0] if data else 0) % 2]
    LOOP.run_until_complete(of.serve(_Socket(texts)))


def greeting_of_a_page(data: bytes) -> None:
    LOOP.run_until_complete(LIVE.serve(_Socket([data.decode("utf-8", "replace")])))


def command_in_a_page(data: bytes) -> None:
    terminal.words(data.decode("utf-8", "replace"))


# -- over the wire


class _Frames:
    """A stream of frames, each led by its length in two bytes."""

    who = "node/vps-2"

    class transport:
        @staticmethod
        def abort() -> None:
            pass

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    async def recv(self, decode: bool) -> bytes:
        length = int.from_bytes(self._data.read(2), "big")
        if not (frame := self._data.read(length)):
            raise Unreachable("it ended")
        return frame


def message_in_frames(data: bytes) -> None:
    with no_clock():
        assert len(at_once(messages.recv_bytes(_Frames(data), most_bytes=1000))) <= 1000  # type: ignore[arg-type]


# -- keys


_context = cache(lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


def certificate(data: bytes) -> None:
    """One that a signed document bears, by the one key that a node or an operator has there: what passes is given to TLS."""
    text = base64.b64encode(data).decode()
    checks._certificate(text, signer("vps-1").key)
    assert len(tls.fingerprint(data)) == 64
    tls.trust(_context(), data)


def sealed_value(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for opened in (partial(seal.open_value, bytes(32)), partial(seal.open_token, bytes(32))):
        with contextlib.suppress(refusals.CannotOpen):
            opened(text)


def recovery_file(data: bytes) -> None:
    """What is in it, once age has opened it: that takes a second, and is a library's."""
    before = passphrase.unlock
    passphrase.unlock = lambda data, words: data
    try:
        unlock(data, "")
    finally:
        passphrase.unlock = before


def public_half_of_a_key(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ci.pub"
        path.write_bytes(data)
        identity.read_public(path)


def exported_cloud(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cloud.json"
        path.write_bytes(data)
        recovery._public(path)


def keys_of_an_operator(data: bytes) -> None:
    for read in (identity._root_keys, identity._keys):
        with contextlib.suppress(BadFormat):
            read(data, "the key")


def answer_of_the_guard(data: bytes) -> None:
    guarding.read_answer(data)


KEPT = {
    "id": "web.web-0-1", "cgroup": "/skerry/web", "interface": "sk0", "address": "10.77.1.2", "number": 3, "until_s": 110.0,
}  # fmt: skip


def _numbered(path: str, method: str, *lines: bytes) -> bytes:
    return bytes([_CODE[path + method]]) + b"\n".join(lines)


PUTS = [route for route in ROUTES if route.body is not None]

ASKED: dict[Callable[[bytes], None], list[bytes]] = {
    request_for_a_lease: [
        b'{"do":"acquire","lease":"leader","wait_s":1}\n',
        b'{"do":"renew","lease":"leader","number":3}\n',
        b'{"do":"watch","lease":"leader","number":3,"held":true}\n',
        b'{"do":"release","lease":"leader","number":3}\n',
    ],
    packet_to_the_guard: [msgspec.json.encode({"wanted": [KEPT]}), b'{"wanted":null}'],
    answer_of_the_guard: [msgspec.json.encode({"program": "x", "held": [{"kept": KEPT, "ended_s": 1.0}]})],
    arguments_of_a_request: [
        *(bytes([n]) + b"{}" for n in range(len(VERBS))),
        *(bytes([n]) + b'{"paths":["app/web"],"subject":"web","hashes":["ab"]}' for n in range(0, len(VERBS), 4)),
        bytes([len(VERBS)]) + b'{"slot":"web.web/0","what":"ls","path":"/"}',
        bytes([len(VERBS) + 1])
        + b'{"slot":"web.web/0","argv":["sh"],"tools":"base","digest":"sha256:%b"}' % (b"ab" * 32),
    ],
    request_to_the_api: [
        *(
            bytes([n]) + b"x\n\n\n\n\napplication/json\n" + (b"{}" if route.body else b"")
            for n, route in enumerate(ROUTES)
        ),
        bytes([0]) + b'x\nlimit=3&after=a\n"0123"\n*\nk\n',
    ],
    token_of_the_api: [b"Bearer " + _tokens()[1].encode()],
    tokens_of_the_api: [b'{"x":{"hash":"%b","roles":["read"],"made_s":1.0}}' % (b"ab" * 32)],
    request_to_the_pages: [
        b"\0\nslot=web.web/0&path=/&limit=3",
        b"\1\nslot=web.web/0&path=/etc/x",
        b"\2\nslot=web.web/0",
        b"\3\nsubject=web.web&names=cpu&since_s=60&step_s=10",
        b"\4sha256:" + b"ab" * 32 + b"\nwith=x",
    ],
    headers_to_the_pages: [
        b"/\n127.0.0.1:7000",
        f"/v1/apps\n127.0.0.1:7000\n\n{ACCESS.cookie_name}={COOKIE}\n{KEY}".encode(),
    ],
    words_of_a_page: [
        b'\0{"id":1,"watch":"logs","args":{"targets":["web"],"tail":1}}\n{"id":1,"stop":true}',
        b'\1{"command":"ls -l","slot":"web.web/0"}\n[24,80]',
    ],
    greeting_of_a_page: [HELLO.encode()],
    command_in_a_page: [b'ls -l \'a b\' "c\\""'],
    message_in_frames: [b"\0\4\0abc", b"\0\3\1ab\0\2\0c"],
    certificate: [der("vps-1")],
    sealed_value: [
        seal.seal_value(bytes(32), "A", "b").encode(),
        seal.make_box(b"k" * 32, "ab" * 32, hashlib.sha256(b"x").digest()).encode(),
    ],
    recovery_file: [
        msgspec.json.encode(
            Recovery(
                cloud=CLOUD,
                name="x",
                root_seeds=(bytes(32),),
                operators=(OperatorKeys("anna", bytes(32), bytes(32)),),
                roots=(ROOT,),
            )
        )
    ],
    public_half_of_a_key: [msgspec.json.encode(root_body().operators[0])],
    exported_cloud: [b'{"cloud":"%b","name":"x","roots":[],"documents":{}}' % (b"ab" * 32)],
    keys_of_an_operator: [b'{"seeds":["%b"]}' % base64.b64encode(bytes(32)), b'{"name":"a","seed":"","sealing":""}'],
}
