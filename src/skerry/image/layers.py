"""Foreign layers, one over the other, into one tree: whiteouts, hard links, links on the way. Everything in them is distrusted.

Nothing is written into a directory: contents go to the object store, paths are resolved among the entries alone, so no name
and no link in an archive can reach this machine's files. Owners and times are dropped; modes become a tree's. Source: OCI
image spec 1.0, layer.md.
"""

from __future__ import annotations

import posixpath
import tarfile
from typing import IO

from skerry.image.contract import BadImage, Objects
from skerry.image.lint.findings import Finding
from skerry.image.manifest import MAX_ENTRIES, MAX_PATH_BYTES, Entry, Tree, tree_of
from skerry.image.paths import walk
from skerry.image.tars import BROKEN, members, open_tar

MAX_FILE_BYTES = 1 << 30
MAX_TOTAL_BYTES = 8 << 30
CAPABILITIES = "SCHILY.xattr.security.capability"
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"


class Layers:
    """The tree that grows layer by layer. `findings`: what was left out or changed, as a tree can't hold it."""

    def __init__(self, objects: Objects) -> None:
        self.findings: list[Finding] = []
        self._objects = objects
        self._entries: dict[str, Entry] = {}
        self._children: dict[str, set[str]] = {"": set()}
        self._total_bytes = 0
        self._members = 0

    def add(self, stream: IO[bytes]) -> None:
        """Lay one uncompressed layer over what is there. Raises BadImage."""
        fresh: set[str] = set()
        try:
            with open_tar(stream, "r|") as tar:
                for info in members(tar):
                    self._members += 1
                    if self._members > 4 * MAX_ENTRIES:
                        raise BadImage("an image's layer was refused", "it has too many members")
                    self._add_member(tar, info, fresh)
        except BROKEN as error:
            raise BadImage("an image's layer was refused", f"it is not a whole tar: {error}") from error

    def tree(self) -> Tree:
        return tree_of(self._entries.values())

    def _add_member(self, tar: tarfile.TarFile, info: tarfile.TarInfo, fresh: set[str]) -> None:
        if max(len(info.name), len(info.linkname)) > MAX_PATH_BYTES:  # before anything is done for each of its parts
            raise _too_long()
        name = _clean(info.name)
        if not name:
            return
        folder, _, last = name.rpartition("/")
        folder = self._resolve(folder, name)
        path = f"{folder}/{last}" if folder else last
        if len(path) > MAX_PATH_BYTES:
            raise _too_long()
        if last == OPAQUE:
            for child in list(self._children.get(folder, ())):
                self._hide(child, fresh)
            return
        if last.startswith(WHITEOUT):
            self._hide(posixpath.join(folder, last.removeprefix(WHITEOUT)), fresh)
            return
        entry = self._entry(tar, info, path)
        if entry is None:
            return
        self._make_folders(folder, fresh)
        held = self._entries.get(path)
        if held is not None and not (held.kind == "d" and entry.kind == "d"):
            self._remove(path)
        self._set(entry, fresh)

    def _entry(self, tar: tarfile.TarFile, info: tarfile.TarInfo, path: str) -> Entry | None:
        if info.mode & 0o6000 and not info.isdir():
            self.findings.append(Finding("setuid", path, "was set-user-id or set-group-id; it no longer is"))
        if CAPABILITIES in info.pax_headers:
            self.findings.append(Finding("capability", path, "had file capabilities; it no longer has"))
        if info.isdir():
            return Entry(path, "d", 0o1777 if info.mode & 0o1000 else 0o755)
        if info.issym():
            return Entry(path, "l", 0o777, link=info.linkname)
        if info.islnk():
            target_name = _clean(info.linkname)
            folder, _, last = target_name.rpartition("/")
            target = self._entries.get(posixpath.join(self._resolve(folder, path), last))
            if target is None or target.kind == "d":
                raise BadImage("an image's layer was refused", f"{path[:200]!r} is a hard link to nothing")
            return Entry(path, target.kind, target.mode, target.link, target.sha256, target.size)
        if not info.isreg():
            self.findings.append(Finding("device", path, "was a device or a pipe; it was left out"))
            return None
        self._total_bytes += info.size
        if info.size > MAX_FILE_BYTES or self._total_bytes > MAX_TOTAL_BYTES or info.sparse is not None:
            raise BadImage("an image's layer was refused", f"{path[:200]!r} is too large, sparse, or one too many")
        source = tar.extractfile(info)
        data = source.read() if source else b""
        if len(data) != info.size:
            raise BadImage("an image's layer was refused", f"{path[:200]!r} is cut")
        return Entry(path, "f", 0o755 if info.mode & 0o111 else 0o644, sha256=self._objects.put(data), size=len(data))

    def _resolve(self, folder: str, asked: str) -> str:
        """The real path of a folder: links in it are followed inside the tree, as they would be in the container."""
        end = walk(folder, self._entries.get).end
        if end is None:
            raise BadImage("an image's layer was refused", f"{asked[:200]!r} leads through a circle of links")
        return end

    def _make_folders(self, folder: str, fresh: set[str]) -> None:
        lacking = []
        while folder and ((held := self._entries.get(folder)) is None or held.kind != "d"):
            lacking.append(folder)
            folder = posixpath.dirname(folder)
        for path in reversed(lacking):
            self._remove(path)
            self._set(Entry(path, "d", 0o755), fresh)

    def _set(self, entry: Entry, fresh: set[str]) -> None:
        if len(self._entries) >= MAX_ENTRIES:
            raise BadImage("an image was refused", f"it has more than {MAX_ENTRIES} entries")
        self._entries[entry.path] = entry
        self._children.setdefault(posixpath.dirname(entry.path), set()).add(entry.path)
        fresh.add(entry.path)

    def _hide(self, path: str, fresh: set[str]) -> None:
        """A whiteout: what lower layers put there goes, what this layer put there stays."""
        for each in reversed(self._with_all_below(path)):
            if each not in fresh and not self._children.get(each):
                self._take_out(each)

    def _remove(self, path: str) -> None:
        for each in reversed(self._with_all_below(path)):
            self._take_out(each)

    def _take_out(self, path: str) -> None:
        self._children.pop(path, None)
        if self._entries.pop(path, None) is not None:
            self._children.get(posixpath.dirname(path), set()).discard(path)

    def _with_all_below(self, path: str) -> list[str]:
        """Folders before what is in them. Not by calling itself: trees are deeper than a stack."""
        found = [path]
        for each in found:
            found += self._children.get(each, ())
        return found


def _clean(name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or name.startswith("/"):
        raise BadImage("an image's layer was refused", f"{name[:200]!r} leaves the image")
    return "/".join(parts)


def _too_long() -> BadImage:
    return BadImage("an image's layer was refused", f"a path or link in it is longer than {MAX_PATH_BYTES} bytes")
