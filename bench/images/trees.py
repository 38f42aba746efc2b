"""Images out of trees that no recipe gives: one with another version of a file in it, one of a single program."""

from __future__ import annotations

from collections.abc import Mapping

from bench.images.apps import Version
from skerry.image.contract import Objects
from skerry.image.manifest import Entry, Tree, tree_of
from skerry.image.oci import ImageConfig, assemble


def kept(tree: Tree, objects: Objects) -> Version:
    """The image of this tree, in the store, as a build would leave it."""
    image = assemble(tree, ImageConfig(entrypoint=("/app",)), objects.read)
    for document in (tree.encode(), image.config, image.manifest):
        objects.put(document)
    return Version(image.digest, tree)


def with_files(tree: Tree, contents: Mapping[str, bytes], objects: Objects, mode: int = 0o644) -> Tree:
    """The tree with these files in it, new or in place of what is there."""
    entries = {entry.path: entry for entry in tree.entries}
    for path, data in contents.items():
        mode = entries[path].mode if path in entries else mode
        entries[path] = Entry(path, "f", mode, sha256=objects.put(data), size=len(data))
    return tree_of(entries.values())
