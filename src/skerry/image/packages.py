"""What package databases inside an image say about its packages: all there is to know of an image that others made.

Read from the tree's objects, never from a folder. Everything in them is somebody else's word: bounded, and what can't be read is
left out. A database of a kind that isn't read here is named, so that nobody takes the list for complete.
"""

from __future__ import annotations

import email.parser
import re
from collections.abc import Callable, Iterator

import msgspec

from skerry.image.building.pile import merged
from skerry.image.licences import of_wheel
from skerry.image.manifest import Entry, Tree
from skerry.image.origin import Part
from skerry.outside import UNREADABLE

MAX_DATABASE_BYTES = 64 << 20
MAX_PARTS = 20_000
MAX_FILES_EACH = 50_000
_WHEEL = re.compile(r"(?:.*/)?([^/]+)\.dist-info/METADATA\Z")
_NODE = re.compile(r"(?:.*/)?node_modules/((?:@[^/]+/)?[^/]+)/package\.json\Z")
_IN_MODULE = re.compile(r"((?:.*/)?node_modules/(?:@[^/]+/)?[^/]+)/")  # greedy: the innermost
_UNREAD = re.compile(r"(?:var/lib/rpm|usr/lib/sysimage/rpm|var/lib/pacman)/")

Read = Callable[[str], bytes]


class _NodePackage(msgspec.Struct):
    name: str = ""
    version: str = ""
    license: str | dict[str, object] = ""


def parts_in(tree: Tree, read: Read) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """The packages that the tree's own databases name, and what could not be read, in sentences."""
    parts: list[Part] = []
    findings: list[str] = []
    paths = {entry.path: entry for entry in tree.entries}
    modules = _modules(tree)
    for entry in tree.files():
        if len(parts) >= MAX_PARTS:
            findings.append(f"only the first {MAX_PARTS} packages were read")
            break
        if entry.size > MAX_DATABASE_BYTES or not entry.size:
            continue
        parts += _of(entry, paths, modules, read)
    if unread := next((entry.path for entry in tree.entries if _UNREAD.match(entry.path)), ""):
        findings.append(f"{unread.rpartition('/')[0]} is a database that is not read: its packages are unknown")
    return tuple(sorted(parts, key=lambda part: (part.ecosystem, part.name, part.version))), tuple(findings)


def _of(entry: Entry, paths: dict[str, Entry], modules: dict[str, list[str]], read: Read) -> Iterator[Part]:
    path = entry.path
    if path == "var/lib/dpkg/status" or path.startswith("var/lib/dpkg/status.d/"):
        if not path.endswith(".md5sums"):
            yield from _debs(read(entry.sha256), paths, read)
    elif path in ("lib/apk/db/installed", "usr/lib/apk/db/installed"):
        yield from _apks(read(entry.sha256), paths)
    elif found := _WHEEL.match(path):
        yield from _wheel(found[1], read(entry.sha256), path, paths, read)
    elif _NODE.match(path):
        yield from _node(read(entry.sha256), modules.get(path.rpartition("/")[0], [path]))


def _debs(status: bytes, paths: dict[str, Entry], read: Read) -> Iterator[Part]:
    """Source: dpkg's status file, deb-control(5)."""
    for stanza in status.decode("utf-8", "replace").split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Source|Architecture|Status): (.*)$", stanza, re.MULTILINE))
        if not (fields.get("Package") and fields.get("Version")) or "deinstall" in fields.get("Status", ""):
            continue
        name, architecture = fields["Package"], fields.get("Architecture", "")
        listing = next(
            (
                paths[p]
                for p in (f"var/lib/dpkg/info/{name}.list", f"var/lib/dpkg/info/{name}:{architecture}.list")
                if p in paths
            ),
            None,
        )
        files: tuple[str, ...] = ()
        if listing is not None and listing.size < MAX_DATABASE_BYTES:
            lines = read(listing.sha256).decode("utf-8", "replace").splitlines()[:MAX_FILES_EACH]
            files = _there((line.lstrip("/") for line in lines), paths)
        source = (fields.get("Source") or name).partition(" ")[0]
        yield Part(
            ecosystem="deb", name=name, version=fields["Version"], source=source, architecture=architecture, files=files
        )


def _apks(installed: bytes, paths: dict[str, Entry]) -> Iterator[Part]:
    """Source: apk-tools, its package database: one letter, a colon and a value a line; F is a folder, R a file in it."""
    for stanza in installed.decode("utf-8", "replace").split("\n\n"):
        fields: dict[str, str] = {}
        folder, files = "", []
        for line in stanza.splitlines()[:MAX_FILES_EACH]:
            key, _, value = line.partition(":")
            if key == "F":
                folder = value
            elif key == "R":
                files.append(f"{folder}/{value}" if folder else value)
            else:
                fields.setdefault(key, value)
        if fields.get("P") and fields.get("V"):
            licences = (fields["L"],) if fields.get("L") else ()
            yield Part(
                ecosystem="apk", name=fields["P"], version=fields["V"], source=fields.get("o", ""),
                architecture=fields.get("A", ""), licences=licences, files=_there(files, paths),
            )  # fmt: skip


def _wheel(folder: str, metadata: bytes, path: str, paths: dict[str, Entry], read: Read) -> Iterator[Part]:
    fields = email.parser.BytesHeaderParser().parsebytes(metadata)
    name, version = str(fields.get("Name") or ""), str(fields.get("Version") or "")
    if not (name and version):
        return
    site = path.rpartition(f"{folder}.dist-info/")[0]
    files: tuple[str, ...] = ()
    record = paths.get(f"{site}{folder}.dist-info/RECORD")
    if record is not None and record.kind == "f" and record.size < MAX_DATABASE_BYTES:
        lines = read(record.sha256).decode("utf-8", "replace").splitlines()[:MAX_FILES_EACH]
        files = _there((site + line.rsplit(",", 2)[0] for line in lines), paths)
    plain = re.sub(r"[-_.]+", "-", name).lower()
    yield Part(ecosystem="pypi", name=plain, version=version, licences=of_wheel(metadata), files=files or (path,))


def _modules(tree: Tree) -> dict[str, list[str]]:
    """The files of each folder of a package of npm, less those of packages inside of it."""
    found: dict[str, list[str]] = {}
    for entry in tree.entries:
        if entry.kind != "d" and (inside := _IN_MODULE.match(entry.path)):
            found.setdefault(inside[1], []).append(entry.path)
    return found


def _node(package: bytes, files: list[str]) -> Iterator[Part]:
    try:
        found = msgspec.json.decode(package, type=_NodePackage)
    except UNREADABLE:
        return
    if found.name and found.version:
        licence = found.license if isinstance(found.license, str) else ""
        licences = (licence,) if licence and licence.isprintable() else ()
        yield Part(ecosystem="npm", name=found.name, version=found.version, licences=licences, files=tuple(files))


def _there(files: Iterator[str] | list[str], paths: dict[str, Entry]) -> tuple[str, ...]:
    """Those that the tree has, also where /usr was merged after the package had been made."""
    places = (path if path in paths else merged(path) for path in files)
    return tuple(path for path in places if path in paths and paths[path].kind != "d")
