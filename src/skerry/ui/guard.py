"""What stands before every route: each request is judged, and each answer tells the browser how little the page may do."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from skerry.api.problems import MEDIA_TYPE, headers_of, problem_of
from skerry.errors import SkerryError
from skerry.ui.access import STATIC, Access

# Scripts and styles out of files of this package alone: what a log line or a name smuggles in can't be run, nor framed, nor sent away.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' {sockets}; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
CLOSED = 1008  # of a websocket: against the rules


class Guard:
    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access
        policy = POLICY.format(sockets=" ".join(f"ws://{host}" for host in sorted(access.hosts)))
        self._headers = [
            (name.encode(), value.encode())
            for name, value in {
                "content-security-policy": policy,
                "x-content-type-options": "nosniff",
                "x-frame-options": "DENY",
                "referrer-policy": "no-referrer",
                "cross-origin-opener-policy": "same-origin",
                "cross-origin-resource-policy": "same-origin",
                "permissions-policy": "camera=(), microphone=(), geolocation=(), usb=(), serial=()",
            }.items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        method = scope.get("method", "WEBSOCKET")
        try:
            self._access.judge(method, scope["path"], scope["headers"])
        except SkerryError as error:
            if method == "WEBSOCKET":
                await send({"type": "websocket.close", "code": CLOSED, "reason": error.code})
                return
            await refused(error)(scope, receive, self._adding(scope, send))
            return
        await self._app(scope, receive, self._adding(scope, send))

    def _adding(self, scope: MutableMapping[str, Any], send: Send) -> Send:
        kept = [] if scope["path"].startswith(STATIC) else [(b"cache-control", b"no-store")]

        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = [
                    pair for pair in message.get("headers", []) if not (kept and pair[0].lower() == b"cache-control")
                ]
                message = {**message, "headers": [*given, *kept, *self._headers]}
            await send(message)

        return adding


def refused(error: SkerryError) -> Response:
    problem = problem_of(error)
    return Response(msgspec.json.encode(problem), problem.status, headers_of(problem), MEDIA_TYPE)
