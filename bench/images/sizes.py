"""How large the images of the shipped recipes are, against a Debian of their own with the same programs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from bench.cloud import ROOT
from bench.images.apps import CACHE, WORK
from bench.images.roots import debian, look
from skerry.client.images import LocalImages, sandbox
from skerry.image.building.build import build
from skerry.image.building.recipe import parse_recipe


@dataclass(frozen=True)
class Kind:
    """A recipe, the project that it is for, and the packages that a Debian would need instead."""

    recipe: Mapping[str, Any]
    packages: tuple[str, ...] = ()
    project: Path | None = None
    files: Mapping[str, str] = field(default_factory=dict)


SERVER = """#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
int main(void) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(8000)};
    int door = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(door, (void *)&here, sizeof here) || listen(door, 64)) return 1;
    for (;;) {
        int wire = accept(door, 0, 0);
        char page[300];
        time_t now = time(0);
        snprintf(page, sizeof page, "HTTP/1.0 200 OK\\r\\n\\r\\nit is %s", asctime(localtime(&now)));
        write(wire, page, strlen(page));
        close(wire);
    }
}
"""
COMPILED = {
    "packages": ["gcc", "libc6-dev"],
    "run": ["gcc", "-O2", "-static", "-o", "server", "server.c"],
    "outputs": ["server"],
}
KINDS = {
    "static": Kind(  # with authorities and time zones, as a server of its own would want them
        {"recipe": "static", "entrypoint": ["server"], "build": COMPILED, "tls": True, "tz": True},
        files={"server.c": SERVER},
    ),
    "nginx": Kind({"recipe": "nginx"}, ("nginx-light",)),
    "redis": Kind({"recipe": "redis"}, ("redis-server",)),
    "python": Kind(
        {"recipe": "python", "entrypoint": ["python3", "-m", "uvicorn", "guestbook:app"]},
        ("python3", "python3-venv", "ca-certificates", "tzdata"),
        project=ROOT / "examples" / "guestbook" / "web",
    ),
    "postgresql": Kind({"recipe": "postgres"}, ("postgresql-15",)),
}


def measure(tell: Callable[[str], None]) -> dict[str, Any]:
    """`size_times_smaller`: the least of them. The Debian for Python has no wheels in it, the image has."""
    images = LocalImages(WORK / "images")
    sizes: dict[str, float] = {}
    times: dict[str, float] = {}
    shells = suid = 0
    for name, kind in KINDS.items():
        own = look(images.images.make(built(name, images)))
        other = debian(kind.packages, tell)
        sizes[name], times[name] = own.megabytes, round(other.megabytes / own.megabytes, 1)
        shells, suid = shells + own.shells, suid + own.suid
        tell(f"{name}: {own}, {times[name]} times smaller than {other}")
    return {
        "size_mb": sizes,
        "size_times_smaller": min(times.values()),
        "size_times_smaller_each": times,
        "size_shells": shells,
        "size_suid": suid,
    }


def built(name: str, images: LocalImages) -> str:
    """The digest of this kind's image."""
    kind = KINDS[name]
    folder = WORK / "kinds" / name
    shutil.rmtree(folder, ignore_errors=True)
    if kind.project is None:
        folder.mkdir(parents=True)
    else:
        shutil.copytree(kind.project, folder)
    for path, text in kind.files.items():
        (folder / path).write_text(text)
    recipe = msgspec.structs.replace(
        parse_recipe(dict(kind.recipe)), init=None
    )  # what runs once before it is no part of it
    return build(recipe, folder, objects=images.objects, cache=CACHE, name=name, sandbox=sandbox()).digest
