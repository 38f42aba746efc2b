"""The tree manifest: what an image's file system is, as one immutable value with one canonical form in bytes.

It is the truth of an image; the OCI layer is a pure function of it (`oci.py`). Nothing here reads or writes a file.

The form: a header line, then a line for each entry, sorted by the path's bytes, fields parted by tabs:

    skerry-tree 1
    d  755  etc
    f  644  etc/hosts  <sha256>  <size>
    l  777  bin        usr/bin

Every directory is named, so a path below something that isn't a directory can't be written. Control characters are
refused, so no quoting is needed and one tree has exactly one form. Owners are always 0:0, times always 0: neither is
part of a tree.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from skerry.image.contract import BadImage

HEADER = "skerry-tree 1\n"
MAX_ENTRIES = 200_000
MAX_PATH_BYTES = 4096
MAX_NAME_BYTES = 255
MAX_FILE_BYTES = 8 << 30
MAX_TREE_BYTES = 64 << 30
MAX_MANIFEST_BYTES = 64 << 20

MODES = {"f": (0o644, 0o755), "d": (0o755, 0o1777), "l": (0o777,)}
_HASH = re.compile(r"[0-9a-f]{64}\Z")
_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,18})\Z")
CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class Entry(msgspec.Struct, frozen=True):
    """One file (`f`), directory (`d`) or symbolic link (`l`). `path` is relative to the root: "usr/bin/env".

    `mode` is one of `MODES[kind]`; `size` in bytes; `link` is the target as written, which may point anywhere: it is
    only ever followed inside the container.
    """

    path: str
    kind: Literal["f", "d", "l"]
    mode: int
    link: str = ""
    sha256: str = ""
    size: int = 0


class Tree(msgspec.Struct, frozen=True):
    """A file system: entries in order, checked. Make one with `tree_of` or `parse_tree` only."""

    entries: tuple[Entry, ...]

    def encode(self) -> bytes:
        """The canonical bytes; `parse_tree` takes them back, and nothing else."""
        return "".join([HEADER, *map(_line, self.entries)]).encode()

    @property
    def sha256(self) -> str:
        """The hash of the canonical bytes, hex."""
        return hashlib.sha256(self.encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """All files' contents together; a content that two files share counts twice."""
        return sum(entry.size for entry in self.entries)

    def files(self) -> Iterator[Entry]:
        return (entry for entry in self.entries if entry.kind == "f")

    def objects(self) -> list[str]:
        """The hashes of all files, each once, in the tree's order."""
        return list(dict.fromkeys(entry.sha256 for entry in self.files()))


def tree_of(entries: Iterable[Entry]) -> Tree:
    """A tree of these entries in any order; directories that are implied but not given are added. Raises BadImage."""
    by_path: dict[str, Entry] = {}
    for entry in entries:
        if entry.path in by_path:
            raise _bad(entry.path, "it is there twice")
        by_path[entry.path] = entry
    for path in list(by_path):
        while "/" in path:
            path = path.rpartition("/")[0]
            if path in by_path:
                break
            by_path[path] = Entry(path, "d", 0o755)
    # Code points sort as their UTF-8 bytes do, so this is the bytewise order.
    tree = Tree(tuple(by_path[path] for path in sorted(by_path)))
    _check(tree.entries)
    return tree


def parse_tree(data: bytes) -> Tree:
    """Read a tree manifest strictly: only the canonical bytes of a tree that keeps every rule and bound. Raises
    BadImage.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise BadImage("a tree manifest was refused", f"it has {len(data)} bytes, more than {MAX_MANIFEST_BYTES}")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise BadImage("a tree manifest was refused", "it is not UTF-8") from error
    if not text.startswith(HEADER) or not text.endswith("\n"):
        raise BadImage("a tree manifest was refused", "its first or last line is wrong")
    lines = text[len(HEADER) :].split("\n")[:-1]
    if len(lines) > MAX_ENTRIES:
        raise BadImage("a tree manifest was refused", f"it has more than {MAX_ENTRIES} entries")
    entries = tuple(_parse_line(line) for line in lines)
    _check(entries)
    return Tree(entries)


def _line(entry: Entry) -> str:
    head = f"{entry.kind}\t{entry.mode:o}\t{entry.path}"
    if entry.kind == "f":
        return f"{head}\t{entry.sha256}\t{entry.size}\n"
    return f"{head}\t{entry.link}\n" if entry.kind == "l" else f"{head}\n"


def _parse_line(line: str) -> Entry:
    fields = line.split("\t")
    if len(fields) == 3 and fields[0] == "d" and fields[1] in ("755", "1777"):
        return Entry(fields[2], "d", int(fields[1], 8))
    if len(fields) == 5 and fields[0] == "f" and fields[1] in ("644", "755") and _NUMBER.match(fields[4]):
        return Entry(fields[2], "f", int(fields[1], 8), sha256=fields[3], size=int(fields[4]))
    if len(fields) == 4 and fields[0] == "l" and fields[1] == "777":
        return Entry(fields[2], "l", 0o777, link=fields[3])
    raise BadImage("a tree manifest was refused", f"this is not a line of it: {line[:100]!r}")


def _check(entries: tuple[Entry, ...]) -> None:
    if len(entries) > MAX_ENTRIES:
        raise BadImage("a tree was refused", f"it has more than {MAX_ENTRIES} entries")
    directories = {""}
    before = ""
    total_bytes = 0
    for entry in entries:
        path = entry.path
        _check_path(path)
        if path <= before:
            raise _bad(path, "the entries are not sorted, or it is there twice")
        before = path
        if path.rpartition("/")[0] not in directories:
            raise _bad(path, "it is below something that is not a directory")
        if entry.mode not in MODES[entry.kind]:
            raise _bad(path, f"mode {entry.mode:o} is not allowed for it")
        if entry.kind == "d":
            directories.add(path)
        elif entry.kind == "l":
            if (
                not entry.link
                or len(entry.link.encode("utf-8", "replace")) > MAX_PATH_BYTES
                or CONTROL.search(entry.link)
            ):
                raise _bad(path, "its link target is empty, too long or has control characters")
        elif not _HASH.match(entry.sha256) or not 0 <= entry.size <= MAX_FILE_BYTES:
            raise _bad(path, "its hash or size is not one")
        total_bytes += entry.size
    if total_bytes > MAX_TREE_BYTES:
        raise BadImage("a tree was refused", f"its files have more than {MAX_TREE_BYTES} bytes")


def _check_path(path: str) -> None:
    if not path or CONTROL.search(path):
        raise _bad(path, "the path is empty or has control characters")
    if len(path.encode()) > MAX_PATH_BYTES:
        raise _bad(path, "the path is too long")
    for name in path.split("/"):
        if name in ("", ".", "..") or len(name.encode()) > MAX_NAME_BYTES:
            raise _bad(path, "the path is absolute, or has an empty, dotted or too long name")


def _bad(path: str, why: str) -> BadImage:
    return BadImage(f"{path[:200]!r} was refused as an image's path", why)
