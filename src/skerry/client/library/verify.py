"""Every object of an image read again and hashed, and its layer made anew: is it still what its digest says?"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from skerry.errors import Passing
from skerry.image.contract import BadImage
from skerry.image.manifest import Tree
from skerry.image.oci import hash_of, layer_of, parse_manifest

if TYPE_CHECKING:
    from skerry.client.images import LocalImages


class ImageDamaged(Passing):
    """Objects of the image are missing, or are no longer what their hash says; the damaged ones were put aside."""

    code = "image-damaged"

    def __init__(self, digest: str, named: list[str]) -> None:
        shown = ", ".join(named[:10]) + (f" and {len(named) - 10} more" if len(named) > 10 else "")
        super().__init__(
            f"{digest[:19]} is damaged",
            f"missing, or with other bytes than its digest says: {shown}",
            "build or import it again: only what is missing is written anew; look at this machine's disk",
        )
        self.damaged = named


def verify(images: LocalImages, digest: str) -> dict[str, Any]:
    """What was checked. Raises ImageDamaged, which names each damaged thing; BadImage for documents that contradict one another."""
    manifest = hash_of(digest)
    if not images.objects.verify(manifest):
        raise ImageDamaged(digest, ["its manifest"])
    refs = parse_manifest(images.objects.read(manifest))
    documents = {refs.config: "its config", refs.tree: "its tree manifest"}
    if lost := [name for hash, name in documents.items() if not images.objects.verify(hash)]:
        raise ImageDamaged(digest, lost)
    tree = images.images.tree(digest)
    objects = tree.objects()
    wrong = {hash for hash in objects if not images.objects.verify(hash)}
    if wrong:
        # A root tree shares the objects' bytes: it is made anew when it is wanted next.
        images.images.forget(digest)
        raise ImageDamaged(digest, [entry.path for entry in tree.files() if entry.sha256 in wrong])
    layer = _layer(tree, images)
    if refs.layers != (layer,):
        raise BadImage(
            f"{digest} was refused", f"its tree makes the layer {layer}, its manifest names {refs.layers[0]}"
        )
    if f'"sha256:{layer}"'.encode() not in images.objects.read(refs.config):
        raise BadImage(f"{digest} was refused", "its config names another layer than its tree makes")
    in_root = images.images.verify(digest) if images.images.root(digest) else []
    if in_root:
        images.images.forget(digest)
    return {
        "digest": digest,
        "objects": len(objects) + 3,
        "size_bytes": tree.size_bytes,
        "layer": f"sha256:{layer}",
        "root_tree_made_anew": in_root,
    }


def _layer(tree: Tree, images: LocalImages) -> str:
    digest = hashlib.sha256()
    for block in layer_of(tree, images.objects.read):
        digest.update(block)
    return digest.hexdigest()
