"""The root that a build stage runs in: locked Debian packages as a folder, read-only for whoever runs in it.

No maintainer script runs; the few things that those would have made and that builds need are made here. A root is kept in
the cache by what it was made of, as unpacking takes seconds and most builds want the same; the oldest unused go.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from skerry.image.building.pile import File, Pile, file_of, link_to
from skerry.image.building.sources.debian import deb_path
from skerry.image.building.sources.lock import Deb
from skerry.image.building.sources.unpack import unpack_deb
from skerry.image.building.stage.contract import EPOCH_S, PLACE, Progress

KEPT_ROOTS = 3
UNUSED_S = 6 * 3600.0
STEPS = "1"  # raised when the same packages shall give another root

# Names that `update-alternatives` would have made, with what they lead to: the first one that is there.
ALTERNATIVES = {
    "awk": ("gawk", "mawk"),
    "c++": ("g++", "clang++"),
    "c89": ("c89-gcc",),
    "c99": ("c99-gcc",),
    "cc": ("gcc", "clang"),
    "cpp": ("cpp",),
    "automake": ("automake-1.16",),
    "aclocal": ("aclocal-1.16",),
    "lex": ("flex",),
    "which": ("which.debianutils",),
    "yacc": ("bison.yacc",),
}
MADE = {
    "etc/passwd": "root:x:0:0:root:/tmp:/bin/sh\nbuild:x:64321:64321:build:/tmp:/bin/sh\n",
    "etc/group": "root:x:0:\nbuild:x:64321:\n",
    "etc/hosts": "127.0.0.1 localhost build\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "etc/resolv.conf": "",
}
MOUNT_POINTS = ("dev", "proc", "sys", "run", "tmp", PLACE.lstrip("/"))


def root_name(debs: Iterable[Deb]) -> str:
    """A hash of all that the root is made of."""
    made_of = [STEPS, repr(ALTERNATIVES), repr(MADE), *sorted(deb.sha256 for deb in debs)]
    return hashlib.sha256("\n".join(made_of).encode()).hexdigest()


def stage_root(debs: Sequence[Deb], work: Path, cache: Path, progress: Progress) -> Path:
    """The folder that is the root of these packages, made below `work` if it isn't in the cache yet. Raises OSError."""
    roots = cache / "stage" / "roots"
    root = roots / root_name(debs)
    if not root.is_dir():
        progress(f"unpacking {len(debs)} packages for the build stage")
        roots.mkdir(parents=True, exist_ok=True)
        making = work / "root"
        making.mkdir()
        _fill(making, debs, cache)
        try:
            making.rename(root)
        except OSError:
            if not root.is_dir():  # else somebody else made it meanwhile
                raise
    os.utime(root)
    _forget_old(roots)
    return root.resolve()


def write_files(folder: Path, files: Iterable[File], owner: int | None) -> None:
    """Write files, links and folders below `folder`; what begins as a program does can be run. All get one time and, where
    it is given, one owner; the caller's umask doesn't matter."""
    made = {folder}

    def folder_of(path: Path) -> None:
        if path not in made:
            folder_of(path.parent)
            path.mkdir(exist_ok=True)
            made.add(path)

    for file in files:
        target = folder / file.path
        folder_of(target.parent)
        if file.kind == "d":
            folder_of(target)
        elif file.kind == "l":
            target.symlink_to(file.link)
            os.utime(target, (EPOCH_S, EPOCH_S), follow_symlinks=False)
        else:
            data = file.load()
            target.write_bytes(data)
            target.chmod(0o755 if data[:4] == b"\x7fELF" or data[:2] == b"#!" else 0o644)
            os.utime(target, (EPOCH_S, EPOCH_S))
        if owner is not None and file.kind != "d":
            os.chown(target, owner, owner, follow_symlinks=False)
    for path in sorted(made, reverse=True):  # inner ones first: their making changed the outer ones' times
        path.chmod(0o755)
        os.utime(path, (EPOCH_S, EPOCH_S))
        if owner is not None:
            os.chown(path, owner, owner)


def _fill(folder: Path, debs: Sequence[Deb], cache: Path) -> None:
    pile = Pile()
    for deb in debs:
        pile.add(unpack_deb(deb_path(deb, cache), cache, f"{deb.name} {deb.version}"))
    made = [file_of(path, text.encode(), "skerry") for path, text in MADE.items()]
    for name, targets in ALTERNATIVES.items():
        found = next((target for target in targets if pile.follow(f"usr/bin/{target}")[1]), None)
        if found and found != name and pile.get(f"usr/bin/{name}") is None:
            made.append(link_to(f"usr/bin/{name}", found, "skerry"))
    pile.add(made)
    pile.add(File(path, "d") for path in MOUNT_POINTS)
    everything = [file for path in pile.paths() if (file := pile.get(path)) is not None]
    # A path below a link to a folder would be written through it: packages of a merged /usr have none, others are passed over.
    whole = [file for file in everything if pile.follow(posixpath.dirname(file.path))[0] == []]
    write_files(folder, sorted(whole, key=lambda file: file.path), None)


def _forget_old(roots: Path) -> None:
    """What a running stage uses was touched when it began, and no stage runs for so long."""
    found = sorted((path for path in roots.iterdir() if path.name[0] != "."), key=lambda path: -path.stat().st_mtime)
    for path in found[KEPT_ROOTS:]:
        if time.time() - path.stat().st_mtime < UNUSED_S:
            continue
        shutil.rmtree(path, ignore_errors=True)
