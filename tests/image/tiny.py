"""A project that is built whole in some milliseconds: a package of one program from a mirror on loopback, a lock, two files."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import httpx  # noqa: F401  loaded before a fork, not after each

from image.memory import deb_of, elf_of, tar_of
from skerry.client.images import LocalImages
from skerry.image.building.build import Built
from skerry.image.building.recipe import Recipe, parse_recipe
from skerry.image.building.recipes import wants_of
from skerry.image.building.sources.lock import Deb, Lock, read_lock, write_lock
from skerry.image.building.sources.locking import _wanted

LIB = "usr/lib/x86_64-linux-gnu"
DEB = deb_of(
    tar_of(
        ("usr/bin/app", elf_of((), "/lib64/ld-linux-x86-64.so.2")),
        ("usr/bin/script", b"#!/bin/sh\n"),
        ("usr/bin/folder", None),
        (f"{LIB}/ld-linux-x86-64.so.2", elf_of()),
        ("usr/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
    )
)
HASH = hashlib.sha256(DEB).hexdigest()
POOL = "pool/main/a/app/app_1_amd64.deb"


class Tiny(NamedTuple):
    """`project` with its lock; `home`: the operator's, empty at first."""

    home: Path
    project: Path

    @property
    def images(self) -> LocalImages:
        return LocalImages(self.home)

    def build(self, section: str = "app", **fields: object) -> Built:
        images = self.images
        built = images.build(tiny_recipe(**fields), self.project, section=section, progress=lambda stage: None)
        images.name_build(f"tiny.{section}", built)
        return built

    def rests(self) -> list[str]:
        """Half-made files, wherever they are."""
        found = [path for top in (self.home, self.project) for path in top.rglob(".*") if path.is_file()]
        found += (self.home / "objects").glob("incoming/*")
        return sorted(str(path) for path in found)


def tiny_recipe(**fields: object) -> Recipe:
    whole = {"recipe": "debian", "packages": ["app"], "entrypoint": ["/usr/bin/app"], "files": {"/etc/app": "conf"}}
    return parse_recipe({**whole, **fields})


def tiny(directory: Path, section: str = "app", **fields: object) -> Tiny:
    made = Tiny(directory / "home", directory / "project")
    made.project.mkdir(parents=True)
    (made.project / "conf").write_text("listen 80\n")
    lock_it(made, section, **fields)
    return made


def lock_it(of: Tiny, section: str = "app", **fields: object) -> None:
    wanted = _wanted(wants_of(tiny_recipe(**fields), of.project))
    deb = Deb("app", "1", HASH, len(DEB), "debian", POOL)
    write_lock(of.project / "skerry.lock", section, Lock(wanted, (deb,)))


def lock_of(of: Tiny, section: str = "app") -> Lock | None:
    return read_lock(of.project / "skerry.lock", section)


@contextmanager
def mirror() -> Iterator[str]:
    """Has that one package. Gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            there = self.path.endswith(POOL)
            self.send_response(200 if there else 404)
            self.send_header("content-length", str(len(DEB) if there else 0))
            self.end_headers()
            self.wfile.write(DEB if there else b"")

        def log_message(self, *ignored: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{running.server_port}/debian"
        finally:
            running.shutdown()
