"""The guestbook's web part: it keeps nothing itself, so any number of it may run, and it lives on when the store is away."""

import html
import os

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

VERSION = "guestbook 1"
STORE = os.environ.get("STORE", "store:6379")
SHOWN = 100
LONGEST = 500

host, _, port = STORE.rpartition(":")
# Short patience and no retries: a visitor is told at once that the store is missing, and the next request tries anew.
store = Redis(
    host=host,
    port=int(port),
    socket_timeout=0.4,
    socket_connect_timeout=0.4,
    retry=Retry(NoBackoff(), 0),
    health_check_interval=0,
    decode_responses=True,
)

PAGE = """<!doctype html><meta charset="utf-8"><title>Guestbook</title>
<style>body{{font:16px sans-serif;max-width:40em;margin:2em auto}}input{{width:70%}}</style>
<h1>Guestbook</h1>
<form method="post" action="/entries"><input name="text" maxlength="500" autofocus> <button>Write</button></form>
<ul>{entries}</ul><p><small>{version}</small></p>"""
MISSING = "the store is missing"


async def read_entries() -> list[str]:
    return list(await store.lrange("entries", 0, SHOWN - 1))


async def page(request: Request) -> Response:
    try:
        shown = "".join(f"<li>{html.escape(text)}</li>" for text in await read_entries())
    except (RedisError, OSError):
        shown = f"<li><em>{MISSING}</em></li>"
    return HTMLResponse(PAGE.format(entries=shown, version=VERSION))


async def entries(request: Request) -> Response:
    try:
        if request.method == "POST":
            return await write(request)
        return JSONResponse({"entries": await read_entries()}, headers={"X-Version": VERSION})
    except (RedisError, OSError):
        return JSONResponse({"error": MISSING}, status_code=503)


async def write(request: Request) -> Response:
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            body = await request.json()
        except ValueError:
            body = None
        text = body.get("text") if isinstance(body, dict) else None
        answer: Response = JSONResponse({"written": text}, status_code=201, headers={"X-Version": VERSION})
    else:
        form = (await request.body()).decode("utf-8", "replace")
        text = dict(_pairs(form)).get("text")
        answer = Response(status_code=303, headers={"location": "/"})
    if not isinstance(text, str) or not 0 < len(text) <= LONGEST:
        return JSONResponse({"error": f"text must have 1 to {LONGEST} characters"}, status_code=400)
    await store.lpush("entries", text)
    return answer


def _pairs(form: str) -> list[tuple[str, str]]:
    from urllib.parse import parse_qsl

    return parse_qsl(form, max_num_fields=10)


async def health(request: Request) -> Response:
    """Well as long as it can answer: whether the store is there is the store's health, not this one's."""
    return PlainTextResponse("ok")


async def version(request: Request) -> Response:
    return PlainTextResponse(VERSION + "\n")


app = Starlette(
    routes=[
        Route("/", page),
        Route("/entries", entries, methods=["GET", "POST"]),
        Route("/healthz", health),
        Route("/version", version),
    ]
)
