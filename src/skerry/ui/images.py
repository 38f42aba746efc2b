"""What pages show of the images in this machine's store: one looked at, its files, its bill of materials, two side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skerry.api.problems import Malformed
from skerry.client.images import LocalImages
from skerry.client.library.compare import compare
from skerry.client.library.inspect import inspect
from skerry.client.library.parts import origin_of
from skerry.errors import SkerryError
from skerry.image.contract import ImageIncomplete, ImageNotFound
from skerry.image.oci import DIGEST
from skerry.image.sbom import sbom
from skerry.ui.guard import refused

FILES_SHOWN = 1000


def routes(images: Callable[[], LocalImages]) -> list[Route]:
    """`images`: the store as it is now."""

    async def one(request: Request) -> Any:
        digest = _digest(request, "digest")
        return await asyncio.to_thread(_there, images(), inspect, digest)

    async def parts(request: Request) -> Any:
        digest = _digest(request, "digest")
        return await asyncio.to_thread(_there, images(), _sbom, digest)

    async def files(request: Request) -> Any:
        digest, wanted = _digest(request, "digest"), request.query_params.get("with", "")[:200]
        return await asyncio.to_thread(_there, images(), _files, digest, wanted)

    async def between(request: Request) -> Any:
        old, new = _digest(request, "old"), _digest(request, "new")
        return await asyncio.to_thread(_there, images(), compare, old, new)

    return [
        Route("/images/{digest}", answering(one)),
        Route("/images/{digest}/sbom", answering(parts)),
        Route("/images/{digest}/files", answering(files)),
        Route("/images/{old}/to/{new}", answering(between)),
    ]


def answering(handler: Callable[[Request], Awaitable[Any]]) -> Callable[[Request], Awaitable[Response]]:
    """What it gives as JSON; what it raises as a problem."""

    async def answer(request: Request) -> Response:
        try:
            return Response(msgspec.json.encode(await handler(request)), media_type="application/json")
        except SkerryError as error:
            return refused(error)

    return answer


def _digest(request: Request, name: str) -> str:
    digest: str = request.path_params[name]
    if not DIGEST.fullmatch(digest):
        raise Malformed(f"{digest[:80]!r} is no image", "it is no digest", "take one of /v1/images")
    return digest


def _there(images: LocalImages, look: Callable[..., Any], *args: str) -> Any:
    try:
        return look(images, *args)
    except (FileNotFoundError, ImageIncomplete):
        raise ImageNotFound(
            "the image is not on this machine", "hosts that run it have it, and this machine's store has not",
            "build it here, or bring it: skerry image pull",
        ) from None  # fmt: skip


def _files(images: LocalImages, digest: str, wanted: str) -> dict[str, Any]:
    """The first of those in whose path `wanted` stands. `more`: how many others there are."""
    found = [entry for entry in images.images.tree(digest).entries if wanted in entry.path]
    rows = [
        {
            "path": e.path,
            "kind": e.kind,
            "mode": f"{e.mode:04o}",
            "size_bytes": e.size,
            "link": e.link,
            "sha256": e.sha256,
        }
        for e in found[:FILES_SHOWN]
    ]
    return {"files": rows, "more": len(found) - len(rows)}


def _sbom(images: LocalImages, digest: str) -> dict[str, Any]:
    name = next((name for name, named in sorted(images.names.items()) if named == digest), "")
    return sbom(digest, name, origin_of(images, digest))
