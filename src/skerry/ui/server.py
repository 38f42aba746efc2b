"""All that the browser may ask for: the page's files, the REST API with the operator's rights, and what only pages need."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from skerry.api.ledger import Ledger
from skerry.api.problems import Malformed
from skerry.api.server import Server
from skerry.api.tokens import Bearer
from skerry.client.overview import Overview, watching
from skerry.client.session import Session
from skerry.errors import SkerryError
from skerry.outside import UNREADABLE
from skerry.sdk import AsyncClient
from skerry.ui import beside, figures, images, looks
from skerry.ui.access import Access
from skerry.ui.files import Files
from skerry.ui.guard import Guard, refused
from skerry.ui.live import Hub, Live
from skerry.ui.streams import sources
from skerry.ui.terminal import Terminal

TOKEN_BYTES = 1024
OPERATOR = Bearer("ui", frozenset({"operator"}))


class Operator:
    """Who the API serves here: whoever the guard let past, and that is one person."""

    def bearer(self, header: str, now_s: float) -> Bearer:
        return OPERATOR


class Enter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    token: str


class Ui:
    """`watches`: another view of the cloud than its own, for tests of size."""

    def __init__(
        self,
        cloud: AsyncClient,
        access: Access,
        ledger: Ledger,
        *,
        watches: Callable[[Session], AsyncGenerator[Overview]] = watching,
    ) -> None:
        self._cloud, self._access, self._files = cloud, access, Files()
        self._api_server = Server(cloud, Operator(), ledger, log=lambda line: None)
        self._api = self._api_server.app()
        hub = Hub(lambda: watches(cloud._connection.session))  # what pages need beside the SDK stands on its session
        self._terminal = Terminal(access, cloud)
        self._live = Live(access, {"overview": hub.watch} | sources(cloud, self._api_server))

    def app(self) -> ASGIApp:
        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncGenerator[None]:
            async with self._api.router.lifespan_context(self._api):
                yield

        routes = [
            Route("/", self._files.page),
            Route("/favicon.ico", partial(_icon, self._files)),
            Route("/static/{name:path}", self._files.static),
            Route("/enter", self._enter, methods=["POST"]),
            WebSocketRoute("/live", self._live.serve),
            WebSocketRoute("/terminal", self._terminal.serve),
            Route("/tools", self._terminal.choice),
            *images.routes(lambda: self._cloud._connection.images),
            *(
                route
                for room in (beside, figures, looks)
                for route in room.routes(lambda: self._cloud._connection.session)
            ),
        ]
        pages = Starlette(routes=routes, lifespan=lifespan)
        api = self._api

        async def either(scope: Scope, receive: Receive, send: Send) -> None:
            to_api = scope["type"] == "http" and scope["path"].startswith("/v1/")
            await (api if to_api else pages)(scope, receive, send)

        return Guard(either, self._access)

    async def _enter(self, request: Request) -> Response:
        """The token for a session, once: a cookie, and the key that its scripts send along."""
        try:
            raw = b""
            async for chunk in request.stream():
                raw += chunk
                if len(raw) > TOKEN_BYTES:
                    raise Malformed("the request was not read", "it is too long", "use the link that skerry ui printed")
            try:
                token = msgspec.json.decode(raw, type=Enter).token
            except UNREADABLE as error:
                raise Malformed(
                    "the request was not understood", str(error), "use the link that skerry ui printed"
                ) from None
            cookie, key = self._access.enter(token)
        except SkerryError as error:
            return refused(error)
        answer = JSONResponse({"key": key})
        answer.set_cookie(self._access.cookie_name, cookie, path="/", httponly=True, samesite="strict")
        return answer


async def _icon(files: Files, request: Request) -> Response:
    return files.answer(request, "icon.svg")
