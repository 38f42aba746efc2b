"""`recipe: static`: one program of the project, of Go, Rust, C or the like. Linked statically it is alone in its image; what a
dynamic one needs comes from Debian.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.image.building.pile import File, Pile, file_of
from skerry.image.building.recipe import Recipe, refused
from skerry.image.building.recipes.kind import APP, SharedData, Sources, config_of
from skerry.image.building.rules import certificates, zones
from skerry.image.building.sources.lock import Wants
from skerry.image.contract import BuildRefused
from skerry.image.oci import ImageConfig

if TYPE_CHECKING:
    from skerry.image.building.closure import Closure

GLIBC = (2, 36)  # of the image's Debian; sources/wheels.py chooses by the same
PACKAGES = ("libc6", "libgcc-s1", "libstdc++6", "zlib1g")  # what compiled programs are usually linked to
HOLDERS = {  # of libraries beside those; for others the recipe has to name the package
    "libssl.so.3": "libssl3",
    "libcrypto.so.3": "libssl3",
    "libcurl.so.4": "libcurl4",
    "libpq.so.5": "libpq5",
    "libmariadb.so.3": "libmariadb3",
    "libsqlite3.so.0": "libsqlite3-0",
    "libpcre2-8.so.0": "libpcre2-8-0",
    "libbz2.so.1.0": "libbz2-1.0",
    "liblzma.so.5": "liblzma5",
    "libzstd.so.1": "libzstd1",
    "libuv.so.1": "libuv1",
    "libsodium.so.23": "libsodium23",
}
TLS_SIGNS = (b"/etc/ssl/certs/ca-certificates.crt",)  # Go, Rust, GnuTLS and curl look there, each by this name
TZ_SIGNS = (b"/usr/share/zoneinfo", b"\0tzset\0", b"\0localtime\0", b"\0localtime_r\0", b"\0mktime\0")
_GLIBC = re.compile(rb"GLIBC_(\d+)\.(\d+)")


class Static:
    fields: frozenset[str] = frozenset()
    foreign = False
    starts_others = ()

    def check(self, recipe: Recipe) -> None:
        if not recipe.entrypoint:
            raise refused("recipe static needs an entrypoint", "write entrypoint: [./server], a file of the project")

    def wants(self, recipe: Recipe, context: Path) -> Wants:
        own = _named(recipe)
        if not (context / own).is_file() or recipe.entrypoint[0].startswith("/"):
            if recipe.build is None and not recipe.entrypoint[0].startswith("/"):
                raise BuildRefused(
                    f"the entry point {recipe.entrypoint[0]} can't be kept",
                    "the project has no such file",
                    "compile it first, or let the recipe do it: build: {packages: [...], run: [...], outputs: [...]}",
                )
            # What it needs isn't known yet; the closure takes what it does need.
            return Wants((*recipe.packages, *PACKAGES, certificates.PACKAGE, zones.PACKAGE))
        data = (context / own).read_bytes()
        shared = _shared_data(recipe, data)
        packages = [*recipe.packages, *_libraries(own, data)]
        return Wants((*packages, *[certificates.PACKAGE] * bool(shared.tls), *[zones.PACKAGE] * shared.tz))

    def project(self, recipe: Recipe, context: Path, outputs: Sequence[File]) -> list[File]:
        path = context / _named(recipe)
        if recipe.entrypoint[0].startswith("/") or not path.is_file():
            return list(outputs)
        if not path.resolve().is_relative_to(context.resolve()):
            raise BuildRefused(f"{path} can't be put into an image", "it is a link out of the project")
        return [file_of(f"{APP}/{_named(recipe)}", path.read_bytes(), "project"), *outputs]

    def parts(self, recipe: Recipe, sources: Sources) -> Iterable[File]:
        return ()

    def whole(self, recipe: Recipe, sources: Sources) -> None:
        return None

    def close(self, closure: Closure, recipe: Recipe, elves: Sequence[File], sources: Sources) -> None:
        closure.program(_place(recipe))

    def shared_data(self, recipe: Recipe, elves: Sequence[File]) -> SharedData:
        program = next((file for file in elves if f"/{file.path}" == _place(recipe)), None)
        return _shared_data(recipe, program.load() if program else b"")

    def derive(self, recipe: Recipe, files: Sequence[File], pile: Pile, cache: Path) -> tuple[list[File], list[str]]:
        return [], []

    def config(self, recipe: Recipe, sources: Sources) -> ImageConfig:
        return config_of(recipe, working_dir=f"/{APP}", entrypoint=(_place(recipe), *recipe.entrypoint[1:]))


def _named(recipe: Recipe) -> str:
    return recipe.entrypoint[0].removeprefix("./")


def _place(recipe: Recipe) -> str:
    """The program's path in the image."""
    return recipe.entrypoint[0] if recipe.entrypoint[0].startswith("/") else f"/{APP}/{_named(recipe)}"


def _shared_data(recipe: Recipe, program: bytes) -> SharedData:
    tls = recipe.tls
    if tls is None and any(sign in program for sign in TLS_SIGNS):
        tls = True
    tz = any(sign in program for sign in TZ_SIGNS) if recipe.tz is None else recipe.tz
    return SharedData(tls, tz)


def _libraries(name: str, data: bytes) -> tuple[str, ...]:
    """The packages that a program is probably linked to; none for a static one. Refuses what can't run on Debian's libraries."""
    from skerry.image.building.elf import read_elf

    elf = read_elf(data)
    if elf is None:
        raise BuildRefused(
            f"the entry point {name} can't be kept",
            "it is no program for Linux (ELF)",
            "scripts need recipe python or node",
        )
    if "musl" in elf.interpreter:
        raise BuildRefused(
            f"the entry point {name} can't be kept",
            f"it needs musl's loader {elf.interpreter}, and the image's libraries are glibc's",
            "link it statically: -static, CGO_ENABLED=0 (Go), -C target-feature=+crt-static (Rust)",
        )
    newest = (
        max(((int(one), int(two)) for one, two in _GLIBC.findall(data)), default=(0, 0)) if elf.interpreter else (0, 0)
    )
    if newest > GLIBC:
        raise BuildRefused(
            f"the entry point {name} can't be kept",
            f"it needs glibc {newest[0]}.{newest[1]}, and the image's is {GLIBC[0]}.{GLIBC[1]}",
            "link it statically, or compile it on Debian 12: the recipe's `build` does that",
        )
    return (*PACKAGES, *{HOLDERS[library] for library in elf.needed if library in HOLDERS}) if elf.interpreter else ()


KIND = Static()
