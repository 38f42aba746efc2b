"""What the closure left out and the program wants: it is started with everything that its packages hold, and watched.

With everything, because a program that misses something may never come to ask for the next. Each file that it found there and that
the image lacks is told, with the line of the recipe that keeps it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skerry.client.library.parts import files_of
from skerry.client.trial.container import scratch_folder
from skerry.client.trial.run import run_image
from skerry.client.trial.trace import Asked, Tracer, parse_trace
from skerry.client.trial.wish import Wish
from skerry.errors import Refusal
from skerry.image.building.pile import File, Pile
from skerry.image.building.rules.python import DENIED, STDLIB
from skerry.image.lint.names import kind_of
from skerry.image.manifest import Tree

if TYPE_CHECKING:
    from skerry.client.images import LocalImages
    from skerry.image.building.sources.lock import Deb, Lock, Wheel


# Asked for by nearly every program, and left out on purpose: without it the C library does the same, a little slower.
ON_PURPOSE = frozenset({"usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache"})


class NothingToCompare(Refusal):
    """Only what was built here from packages can be checked: of others it isn't known what was left out."""

    code = "nothing-to-compare"


def check(
    images: LocalImages, digest: str, wish: Wish, *, for_s: float, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Run it for that long, watched, and compare. Raises NothingToCompare, NoStrace, TraceFailed, and what a trial raises."""
    origin = images.origins.get(digest)
    if origin is None or origin.lock is None or not origin.lock.debs:
        raise NothingToCompare(
            f"{digest[:19]} can't be checked", "it was not built here from packages", "build it: skerry image build DIR"
        )
    tree, config = images.images.tree(digest), images.images.config(digest)
    pile = _pile(images, origin.lock, progress)
    with scratch_folder(images.trials) as scratch:
        root = scratch / "root"
        root.mkdir()
        _write_root(root, pile, tree, images)
        log = scratch / "trace"
        tracer = Tracer(log)
        progress(f"watching it for {for_s:g} s, with all files of its {len(origin.lock.debs)} Debian packages")
        try:
            code = run_image(root, config, wish, images.trials, out=2, before=tracer.attach, for_s=for_s)
        finally:
            tracer.close()
        first = (config.entrypoint or wish.arguments or config.cmd)[0]
        with log.open(encoding="utf-8", errors="replace") as lines:
            asked = list(parse_trace(lines, _found_in_path(first, dict(config.env), tree), config.working_dir or "/"))
    missing = missing_of(asked, pile, tree)
    return {
        "digest": digest,
        "exit_code": code,
        "asked": len({one.path for one in asked}),
        "missing": [row for row in missing if row["path"] not in ON_PURPOSE],
        "left_out_on_purpose": [row["path"] for row in missing if row["path"] in ON_PURPOSE],
    }


def missing_of(asked: list[Asked], pile: Pile, tree: Tree) -> list[dict[str, str]]:
    """Files of packages that were found and that the image lacks, by path, with what to write. Pure but for the pile's links."""
    kept = {entry.path for entry in tree.entries}
    found: dict[str, dict[str, str]] = {}
    for one in sorted(asked, key=lambda one: ("run", "opened", "looked at").index(one.how)):
        _, file = pile.follow(one.path)
        if file is None or file.kind != "f" or file.path in kept or "/__pycache__/" in file.path:
            continue
        found.setdefault(
            file.path, {"path": file.path, "how": one.how, "package": file.origin, "write": advice(file.path, one.how)}
        )
    return [found[path] for path in sorted(found)]


def advice(path: str, how: str) -> str:
    """The line of the recipe that keeps it."""
    if how == "run":
        if kind_of(path) == "shell":
            return "no line: no image has a shell; let the program start what it needs itself"
        return f'programs = ["/{path}"]'
    for part, patterns in DENIED.items():
        for pattern in patterns:
            if path.startswith(f"{STDLIB}/{pattern.rstrip('*')}"):
                return f'stdlib = ["{part}"]'
    return f'keep = ["{path}"]'


def _pile(images: LocalImages, lock: Lock, progress: Callable[[str], None]) -> Pile:
    """Everything that its packages hold, fetched again if need be."""
    from skerry.image.building.sources.debian import fetch_debs
    from skerry.image.building.sources.mirrors import archives
    from skerry.image.building.sources.wheels import fetch_wheels

    fetch_debs(lock.debs, archives(""), images.cache, progress)
    fetch_wheels(lock.wheels, images.cache, progress)
    pile = Pile()
    packages: list[Deb | Wheel] = [*lock.debs, *lock.wheels]
    for package in packages:
        pile.add(files_of(package, images.cache))
    return pile


def _write_root(root: Path, pile: Pile, tree: Tree, images: LocalImages) -> None:
    """All of the packages, and over it the image."""
    from skerry.image.building.stage.root import write_files

    own = [_file(entry.path, entry.kind, entry.link, entry.sha256, images) for entry in tree.entries]
    whole = Pile([file for path in pile.paths() if (file := pile.get(path)) is not None])
    whole.add(own)
    files = [file for path in whole.paths() if (file := whole.get(path)) is not None]
    # A path below a link to a folder would be written through it.
    write_files(root, sorted((f for f in files if not whole.follow(posixpath.dirname(f.path))[0]), key=_path), None)
    for entry in tree.entries:
        if entry.kind == "d":
            (root / entry.path).chmod(entry.mode)


def _file(path: str, kind: Any, link: str, sha256: str, images: LocalImages) -> File:
    return File(path, kind, link, sha256, 0, "image", lambda: images.objects.read(sha256))


def _path(file: File) -> str:
    return file.path


def _found_in_path(program: str, environment: dict[str, str], tree: Tree) -> str:
    """Where the runtime finds it."""
    kept = {entry.path for entry in tree.entries}
    folders = environment.get("PATH", "/usr/bin").split(":")
    found = (f"{folder}/{program}" for folder in folders if f"{folder}/{program}".lstrip("/") in kept)
    return program if "/" in program else next(found, program)
