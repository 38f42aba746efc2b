"""Two images side by side: files, packages, config, and what would travel to a host that has the first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from skerry.client.library.inspect import config_of
from skerry.image.bundle import NoBundle, make_bundle, open_bundle, version_of
from skerry.image.manifest import Entry, Tree
from skerry.image.oci import parse_manifest
from skerry.image.packs import Portion, pack, pack_documents, portions_of

if TYPE_CHECKING:
    from skerry.client.images import LocalImages


def compare(images: LocalImages, old: str, new: str) -> dict[str, Any]:
    """What differs from `old` to `new`, as plain values."""
    before, after = images.images.tree(old), images.images.tree(new)
    files = files_between(before, after)
    return {
        "old": old,
        "new": new,
        "files": files,
        "packages": packages_between(images, old, new),
        "config": _config_between(images, old, new),
        "old_size_bytes": before.size_bytes,
        "new_size_bytes": after.size_bytes,
        "travels": travels(images, old, new),
    }


def files_between(before: Tree, after: Tree) -> list[dict[str, Any]]:
    """Paths that came, went or changed, with their sizes."""
    one, other = ({entry.path: entry for entry in tree.entries if entry.kind != "d"} for tree in (before, after))
    rows = []
    for path in sorted(one.keys() | other.keys()):
        old, new = one.get(path), other.get(path)
        if old != new:
            what = "added" if old is None else "removed" if new is None else "changed"
            rows.append({"path": path, "what": what, "old_bytes": _size(old), "new_bytes": _size(new)})
    return rows


def packages_between(images: LocalImages, old: str, new: str) -> list[dict[str, Any]] | None:
    """Packages whose version changed; None where one image's packages aren't known."""
    origins = images.origins.get(old), images.origins.get(new)
    if origins[0] is None or origins[1] is None:
        return None
    before, after = (
        {(p.ecosystem, p.name): p.version for p in origin.parts if p.files} for origin in origins if origin
    )
    keys = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    return [
        {"kind": kind, "name": name, "old": before.get((kind, name)), "new": after.get((kind, name))}
        for kind, name in keys
    ]


def travels(images: LocalImages, old: str, new: str) -> dict[str, Any]:
    """How many bytes a host that has `old` is sent, as they would be sent; `how` in words."""
    if old == new:
        return {"bytes": 0, "how": "nothing differs"}
    read = images.objects.read
    before, after = version_of(old, read), version_of(new, read)
    known = set(before.tree.objects())
    try:
        bundle = make_bundle(before, after, read)
        opened = open_bundle(bundle, before, new, read)
        sent, how = len(bundle), "one bundle"
        known |= {*opened.files, *(patch.sha256 for patch in opened.patches)}
    except NoBundle:
        refs = parse_manifest(after.manifest)
        sent, how = len(pack_documents(after.manifest, read(refs.config), after.tree.encode())), "its documents"
    portions = portions_of((e.sha256, e.size) for e in after.tree.files() if e.sha256 not in known)
    if portions:
        sent += sum(len(pack([_content(portion, read)])) for portion in portions)
        how += f" and {len(portions)} packs"
    return {"bytes": sent, "how": how}


def _content(portion: Portion, read: Callable[[str], bytes]) -> bytes:
    data = b"".join(read(hash) for hash, _ in portion.files)
    return data[portion.at : portion.at + portion.length] if portion.is_part else data


def _config_between(images: LocalImages, old: str, new: str) -> list[dict[str, Any]]:
    before, after = (config_of(images.images.config(digest)) for digest in (old, new))
    return [{"field": key, "old": before[key], "new": after[key]} for key in before if before[key] != after[key]]


def _size(entry: Entry | None) -> int | None:
    return None if entry is None else entry.size
