"""The page's own files, read once: what isn't in this table is not there, whatever path is asked for."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response

from skerry.ui.access import STATIC

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "LICENSE": "text/plain; charset=utf-8",
}


class Files:
    """All of skerry/ui/static: some 700 KiB, most of it the terminal."""

    def __init__(self) -> None:
        self._files = dict(_below(files("skerry.ui") / "static", ""))

    def answer(self, request: Request, name: str) -> Response:
        """A file by its path below static. Browsers keep it, and ask each time whether it is still the same."""
        content = self._files.get(name)
        if content is None:
            return Response("there is no such file\n", 404, media_type="text/plain")
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        headers = {"etag": tag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=TYPES[name.rpartition(".")[2]])

    async def static(self, request: Request) -> Response:
        return self.answer(request, request.scope["path"].removeprefix(STATIC))

    async def page(self, request: Request) -> Response:
        return self.answer(request, "index.html")


def _below(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found = []
    for entry in folder.iterdir():
        name = f"{prefix}{entry.name}"
        if entry.is_dir():
            found += _below(entry, f"{name}/")
        elif entry.name.rpartition(".")[2] in TYPES:
            found.append((name, entry.read_bytes()))
    return found
