"""One image, looked at: how it wants to be run, what is in it, where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from skerry.image.lint.names import kind_of
from skerry.image.manifest import Tree

if TYPE_CHECKING:
    from skerry.client.images import LocalImages

BIGGEST = 10


def inspect(images: LocalImages, digest: str) -> dict[str, Any]:
    """All that is known of an image, as plain values. Raises ImageIncomplete, BadImage."""
    config = images.images.config(digest)
    tree = images.images.tree(digest)
    origin = images.origins.get(digest)
    packages = [
        {
            "kind": part.ecosystem,
            "name": part.name,
            "version": part.version,
            "files": len(part.files),
            "licences": list(part.licences),
        }
        for part in (origin.parts if origin else ())
        if part.files
    ]
    biggest = sorted(tree.files(), key=lambda entry: (-entry.size, entry.path))[:BIGGEST]
    return {
        "digest": digest,
        "names": sorted(name for name, named in images.names.items() if named == digest),
        "used_by": sorted(use for use, used in images.uses.items() if used == digest),
        "config": config_of(config),
        "tree": summary(tree),
        "biggest": [{"path": entry.path, "size_bytes": entry.size} for entry in biggest],
        "executables": executables(tree),
        "shells": shells(tree),
        "packages": packages,
        "origin": {
            "how": origin.how,
            "when_s": origin.when_s,
            "source": origin.source,
            "recipe": origin.recipe,
            "complete": origin.complete,
            "findings": list(origin.findings),
        }
        if origin
        else None,
        "lock": msgspec.to_builtins(origin.lock) if origin and origin.lock else None,
    }


def config_of(config: Any) -> dict[str, Any]:
    """An image's config as plain values, its environment as a mapping."""
    plain: dict[str, Any] = msgspec.to_builtins(config)
    return plain | {"env": dict(config.env)}


def summary(tree: Tree) -> dict[str, int]:
    kinds = [entry.kind for entry in tree.entries]
    return {
        "files": kinds.count("f"),
        "directories": kinds.count("d"),
        "links": kinds.count("l"),
        "size_bytes": tree.size_bytes,
    }


def executables(tree: Tree) -> list[str]:
    return [entry.path for entry in tree.files() if entry.mode & 0o111]


def shells(tree: Tree) -> list[str]:
    """By name; renamed ones are the lint's matter."""
    may = (entry for entry in tree.entries if entry.kind == "l" or (entry.kind == "f" and entry.mode & 0o111))
    return sorted(entry.path for entry in may if kind_of(entry.path) == "shell")
