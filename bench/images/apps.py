"""The two applications that are edited, built by Skerry's own builder: one with 3,000 files of its own, one with a single file.

`project`: Django's source tree as an app's own code (some 3,400 files and their bytecode), for want of another one of this
size that everybody can have. `guestbook`: the demo's web, one file on 1,600 of its wheels. Both with one line more as version 2.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.cloud import ROOT
from skerry.client.images import LocalImages
from skerry.image.building.build import build
from skerry.image.building.recipe import Recipe
from skerry.image.building.sources.wheels import lock_wheels, wheel_path
from skerry.image.manifest import Entry, Tree, tree_of

WORK = ROOT / "build" / "bench-images"
CACHE = WORK / "cache"
FRAMEWORK = "Django==5.2.9\n"
NEEDS = "asgiref==3.8.1\nsqlparse==0.5.1\nuvicorn==0.30.6\n"
EDITED_BYTES = 26_000  # the edit goes into the module nearest to this size
LINE = "BENCH_EDIT = 'one line more'\n"


@dataclass(frozen=True)
class Version:
    """One version of an image."""

    digest: str
    tree: Tree

    def layers(self, how_many: int) -> list[Tree]:
        """All of it as one layer, or as three, from the lowest up: what changes least, the wheels, the app."""
        if how_many == 1:
            return [self.tree]
        parts: dict[str, list[Entry]] = {"rest": [], "wheels": [], "app": []}
        for entry in self.tree.entries:
            if entry.path.startswith("app/"):
                parts["app"].append(entry)
            elif "dist-packages/" in entry.path or "site-packages/" in entry.path:
                parts["wheels"].append(entry)
            else:
                parts["rest"].append(entry)
        return [tree_of(entries) for entries in parts.values()]


class App:
    """`images`: the operator's store that its versions are built into. `old` and `new` differ by one line of one file."""

    def __init__(self, name: str, folder: Path, edited: str, images: LocalImages, recipe: Recipe) -> None:
        self.name, self.folder, self.edited = name, folder, edited
        self.images = images
        self.recipe = recipe

    @cached_property
    def old(self) -> Version:
        return self.rebuild()

    @cached_property
    def new(self) -> Version:
        _ = self.old
        path = self.folder / self.edited
        path.write_text(with_a_line(path.read_text()))
        return self.rebuild()

    def rebuild(self) -> Version:
        built = build(self.recipe, self.folder, objects=self.images.objects, cache=CACHE, name=self.name)
        return Version(built.digest, self.images.images.tree(built.digest))


def with_a_line(text: str) -> str:
    """One line more at the top level, near the middle of the module."""
    lines = text.splitlines(keepends=True)
    at = next(
        n for n in range(len(lines) // 2, len(lines)) if lines[n].startswith(("def ", "class ", "async def ", "@"))
    )
    return "".join([*lines[:at], LINE, *lines[at:]])


def project(tell: Callable[[str], None]) -> App:
    folder = _fresh("project")
    wheels = lock_wheels(FRAMEWORK, "3.11.2", folder, CACHE, tell)
    wheel = next(wheel for wheel in wheels if wheel.name == "django")
    with zipfile.ZipFile(wheel_path(wheel, CACHE)) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith("django/")])
    (folder / "requirements.txt").write_text(NEEDS)
    modules = [path for path in folder.rglob("*.py") if "\nclass " in path.read_text()]
    edited = min(modules, key=lambda path: (abs(path.stat().st_size - EDITED_BYTES), path))
    own = sum(path.is_file() for path in folder.rglob("*"))
    tell(f"project: {own} files of its own, the edit is in {edited.relative_to(folder)}, {edited.stat().st_size} bytes")
    entrypoint = ("python3", "-m", "uvicorn", "django.core.asgi:get_asgi_application")
    return App(
        "project", folder, str(edited.relative_to(folder)), _images(), Recipe(recipe="python", entrypoint=entrypoint)
    )


def guestbook(tell: Callable[[str], None]) -> App:
    folder = _fresh("guestbook")
    shutil.copytree(ROOT / "examples" / "guestbook" / "web", folder, dirs_exist_ok=True)
    entrypoint = ("python3", "-m", "uvicorn", "guestbook:app")
    return App("web", folder, "guestbook.py", _images(), Recipe(recipe="python", entrypoint=entrypoint))


def _fresh(name: str) -> Path:
    folder = WORK / "apps" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _images() -> LocalImages:
    return LocalImages(WORK / "images")
