"""From an HTTP request to a route's handler and back: token, shapes, idempotency key, ETag, operation, stream, problem. No verb here.

What is refused is refused before anything is done: unknown names in the query or body, other media types, bodies over the limit.
Nothing is answered without a token but the document itself; no header lets pages of other origins in.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from functools import cache, partial
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route as Path

from skerry.api.ledger import Ledger
from skerry.api.openapi import document
from skerry.api.operations import Operations
from skerry.api.problems import (
    MEDIA_TYPE,
    Malformed,
    MediaType,
    MethodNotAllowed,
    NoSuchPath,
    Problem,
    TooLarge,
    headers_of,
    problem_of,
)
from skerry.api.routes import ROUTES
from skerry.api.table import Call, Route, Sent, Start, Stream, Tagged, Text
from skerry.api.tokens import Bearer, Bearers
from skerry.errors import Passing, Refusal, SkerryError
from skerry.outside import UNREADABLE
from skerry.sdk import AsyncClient

BODY_BYTES = 2 << 20
UPLOAD_BYTES = 4 << 30
HEARTBEAT_S = 15.0
KEY = re.compile(r"[!-~]{1,128}")
ETAG = re.compile(r'(?:W/)?"([!#-~]{0,64})"')
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class KeyReused(Refusal):
    """An idempotency key was used before, for another request."""

    code = "key-reused"


class KeyBusy(Passing):
    """A request with this idempotency key is being answered, or the server ended while it was: look what was done."""

    code = "key-busy"


@cache
def _document() -> bytes:
    """Always the same, and a fifth of a second's work: made when somebody first asks."""
    return msgspec.json.encode(document(ROUTES))


class Server:
    """Over one client. `log` gets a line of JSON for each request."""

    def __init__(
        self,
        cloud: AsyncClient,
        tokens: Bearers,
        ledger: Ledger,
        *,
        heartbeat_s: float = HEARTBEAT_S,
        upload_bytes: int = UPLOAD_BYTES,
        log: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
    ) -> None:
        self._cloud, self._tokens, self._ledger = cloud, tokens, ledger
        self._heartbeat_s, self._upload_bytes, self._log = heartbeat_s, upload_bytes, log
        self.operations: Operations

    def app(self) -> Starlette:
        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncGenerator[None]:
            self.operations = Operations(self._ledger)
            async with self._cloud:
                yield
                await self.operations.close()

        paths = [Path("/v1/openapi.json", self._openapi, methods=["GET"])]
        paths += [
            Path(route.path, partial(self._logged, route), methods=[route.method.upper()]) for route in _ordered()
        ]
        errors = {HTTPException: self._not_found}
        return Starlette(routes=paths, lifespan=lifespan, exception_handlers=errors)  # type: ignore[arg-type]

    async def _openapi(self, request: Request) -> Response:
        return Response(_document(), media_type="application/json")

    async def _not_found(self, request: Request, error: HTTPException) -> Response:
        path, method = request.scope["path"][:200], request.method
        told: SkerryError = NoSuchPath(f"there is nothing at {path}", "", "see /v1/openapi.json")
        if error.status_code == 405:
            told = MethodNotAllowed(f"{path} takes no {method}", "", "see /v1/openapi.json")
        answer = _problem(problem_of(told))
        answer.headers.update(error.headers or {})
        self._line(request, answer.status_code, "", time.monotonic(), told.code)
        return answer

    # -- one request

    async def _logged(self, route: Route, request: Request) -> Response:
        begun_s, bearer, code = time.monotonic(), "", ""
        try:
            who = self._tokens.bearer(request.headers.get("authorization", ""), time.time())
            bearer = who.name
            answer = await self._answer(route, request, who)
        except SkerryError as error:
            code, answer = error.code, _problem(problem_of(error))
        except ClientDisconnect:
            code, answer = "gone", Response(status_code=499)
        except Exception as error:
            self._line(request, 500, bearer, begun_s, type(error).__name__)
            raise
        self._line(request, answer.status_code, bearer, begun_s, code)
        return answer

    def _line(self, request: Request, status: int, token: str, begun_s: float, code: str) -> None:
        took_ms = round((time.monotonic() - begun_s) * 1000, 1)
        line = {"time": round(time.time(), 3), "method": request.method, "path": request.scope["path"][:400], "status": status,
                "token": token, "ms": took_ms, "from": request.client.host if request.client else "", "code": code}  # fmt: skip
        self._log(json.dumps(line))

    async def _answer(self, route: Route, request: Request, bearer: Bearer) -> Response:
        for name, value in request.path_params.items():
            if not NAME.fullmatch(value):
                raise Malformed(f"{value[:80]!r} can't be {name}'s name", "", "see /v1/openapi.json")
        if "*" not in route.needs:
            bearer.demand(*(need.format(**request.path_params) for need in route.needs))
        raw = b"" if route.upload else await self._body(route, request)
        call = Call(
            cloud=self._cloud,
            operations=self.operations,
            bearer=bearer,
            path=dict(request.path_params),
            query=_query(route, request),
            body=_decoded(route, raw, request),
            prev=_prev(route, request),
            last_event_id=request.headers.get("last-event-id", "")[:4096],
            upload=partial(self._uploaded, request) if route.upload else None,
        )
        if route.upload and request.headers.get("content-type", "").partition(";")[0] != "application/x-tar":
            raise MediaType(
                "the image was not taken", "it is no application/x-tar", "send Content-Type: application/x-tar"
            )
        key = request.headers.get("idempotency-key")
        if key is None or route.method == "get" or route.upload:
            return await self._done(route, request, call)
        return await self._once(route, request, call, key, raw)

    async def _once(self, route: Route, request: Request, call: Call, key: str, raw: bytes) -> Response:
        """Whoever asks again with the same key gets the answer that was given, and nothing is done again."""
        if not KEY.fullmatch(key):
            raise Malformed("the idempotency key was refused", "1 to 128 visible ASCII characters", "send a UUID")
        query = request.scope["query_string"].decode("latin-1")  # whatever bytes came
        conditions = [request.headers.get(name, "") for name in ("if-match", "if-none-match")]
        asked = hashlib.sha256(
            "\0".join([request.method, request.scope["path"], query, *conditions]).encode() + b"\0" + raw
        ).hexdigest()
        known = self._ledger.begin(call.bearer.name, key, asked)
        if known is not None:
            if known.asked != asked:
                raise KeyReused("the request was not answered", "its key was used for another one", "make a new key")
            if not known.status:
                raise KeyBusy("the request was not answered", "one with this key was begun, and its end isn't known",
                              "ask again; if the server was started anew meanwhile, look what was done: /v1/operations")  # fmt: skip
            headers = json.loads(known.headers) | {"Idempotency-Replayed": "true"}
            return Response(known.body, known.status, headers)
        try:
            answer = await self._done(route, request, call)
        except SkerryError as error:
            problem = problem_of(error)
            answer = _problem(problem)
            if problem.passing or problem.status >= 500:
                self._ledger.forget(call.bearer.name, key)
                return answer
        except BaseException:
            self._ledger.forget(call.bearer.name, key)
            raise
        kept = {n: v for n, v in answer.headers.items() if n in ("content-type", "location", "etag")}
        self._ledger.answer(call.bearer.name, key, answer.status_code, json.dumps(kept), bytes(answer.body))
        return answer

    async def _done(self, route: Route, request: Request, call: Call) -> Response:
        made = await route.handler(call)
        if isinstance(made, Stream):
            return self._streamed(made)
        headers = {}
        if isinstance(made, Start):
            operation = self.operations.start(
                made.kind, made.subject, call.bearer.name, made.work, cancellable=made.cancellable
            )
            headers["Location"] = f"/v1/operations/{operation.id}"
            made = operation
        if isinstance(made, Tagged):
            headers["ETag"] = f'"{made.etag}"'
            if made.etag in _etags(request.headers.get("if-none-match", "")):
                return Response(status_code=304, headers=headers)
            made = made.value
        if isinstance(made, Text):
            return Response(made.text, route.status, headers, made.media_type)
        if made is None:
            return Response(status_code=route.status, headers=headers)
        return Response(msgspec.json.encode(made), route.status, headers, "application/json")

    # -- bodies in

    async def _body(self, route: Route, request: Request) -> bytes:
        raw = b""
        async for chunk in self._chunks(request, BODY_BYTES):
            raw += chunk
        return raw

    def _uploaded(self, request: Request) -> AsyncGenerator[bytes]:
        return self._chunks(request, self._upload_bytes)

    async def _chunks(self, request: Request, most: int) -> AsyncGenerator[bytes]:
        length = request.headers.get("content-length", "0")
        count = int(length) if length.isascii() and length.isdigit() and len(length) < 16 else 0
        if count > most:
            raise TooLarge("the request was not read", f"it has {count} bytes; {most} are taken", "send less")
        count = 0
        async for chunk in request.stream():
            count += len(chunk)
            if count > most:
                raise TooLarge("the request was not read", f"it is longer than {most} bytes", "send less")
            yield chunk

    # -- streams out

    def _streamed(self, stream: Stream) -> Response:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._lines(stream), 200, headers, "text/event-stream")

    async def _lines(self, stream: Stream) -> AsyncGenerator[bytes]:
        """As the standard has it, with a comment as a sign of life whenever nothing comes for a while."""
        yield b": skerry\n\n"
        async with aclosing(stream.events) as events:
            coming = asyncio.ensure_future(anext(events))
            try:
                while True:
                    done, _ = await asyncio.wait([coming], timeout=self._heartbeat_s)
                    if not done:
                        yield b": still here\n\n"
                        continue
                    try:
                        sent = coming.result()
                    except StopAsyncIteration:
                        return
                    except SkerryError as error:
                        yield _event(Sent("", "error", problem_of(error)))
                        return
                    yield _event(sent)
                    coming = asyncio.ensure_future(anext(events))
            finally:
                coming.cancel()
                with suppress(asyncio.CancelledError, StopAsyncIteration, SkerryError):
                    await coming


def _ordered() -> list[Route]:
    """Fixed paths before those with names in them."""
    return sorted(ROUTES, key=lambda route: [(part.startswith("{"), part) for part in route.path.split("/")])


def _event(sent: Sent) -> bytes:
    lines = [f"id: {sent.id}"] if sent.id else []
    lines += [f"event: {sent.event}", f"data: {msgspec.json.encode(sent.data).decode()}"]
    return ("\n".join(lines) + "\n\n").encode()


def _problem(problem: Problem) -> Response:
    return Response(msgspec.json.encode(problem), problem.status, headers_of(problem), MEDIA_TYPE)


def _query(route: Route, request: Request) -> Any:
    given = request.query_params.multi_items()
    if len(dict(given)) < len(given):
        raise Malformed("the request was not understood", "a name stands in its query twice", "say each once")
    try:
        return msgspec.convert(dict(given), route.query, strict=False)
    except msgspec.ValidationError as error:
        raise Malformed("the query was not understood", str(error), "see /v1/openapi.json") from None


def _decoded(route: Route, raw: bytes, request: Request) -> Any:
    if route.body is None:
        if raw and not route.upload:
            raise Malformed("the request was not understood", "it has a body, and none is taken here", "leave it out")
        return None
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise MediaType("the body was not read", "it is no application/json", "send Content-Type: application/json")
    try:
        return msgspec.json.decode(raw, type=route.body)
    except UNREADABLE as error:
        raise Malformed("the body was not understood", str(error), "see /v1/openapi.json") from None


def _prev(route: Route, request: Request) -> str | None:
    """The etag that the change rests on: of If-Match; "" (nothing there yet) for `If-None-Match: *`."""
    if not route.tagged or route.method == "get":
        return None
    none = request.headers.get("if-none-match")
    if none is not None and route.method == "put":
        if none.strip() != "*":
            raise Malformed("If-None-Match was not understood", "only `*` is taken here", "leave it out, or send *")
        return ""
    match = request.headers.get("if-match")
    if match is None or match.strip() == "*":
        return None
    found = _etags(match)
    if len(found) != 1:
        raise Malformed("If-Match was not understood", "it is no ETag", 'send one as it was given: "0123456789abcdef"')
    return found[0]


def _etags(header: str) -> list[str]:
    return ETAG.findall(header[:400])
