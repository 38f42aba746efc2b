"""All images of the local store, one row for each name, and those without any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from skerry.errors import SkerryError

if TYPE_CHECKING:
    from skerry.client.images import LocalImages


def listing(images: LocalImages) -> list[dict[str, Any]]:
    """By name, those without one last, newest first. `size_bytes` is None for one that is damaged or not whole."""
    uses: dict[str, list[str]] = {}
    for use, digest in images.uses.items():
        uses.setdefault(digest, []).append(use)
    names = sorted(images.names.items())
    named = {digest for _, digest in names}
    origins = {digest: images.origins.get(digest) for digest in {*named, *images.origins.digests()}}
    unnamed = sorted(
        (digest for digest, origin in origins.items() if digest not in named and origin),
        key=lambda digest: -(origin.when_s if (origin := origins[digest]) else 0.0),
    )
    rows = []
    for name, digest in [*names, *(("", digest) for digest in unnamed)]:
        origin = origins[digest]
        rows.append(
            {
                "name": name,
                "digest": digest,
                "size_bytes": _size(images, digest),
                "when_s": origin.when_s if origin else None,
                "how": origin.how if origin else None,
                "used_by": sorted(uses.get(digest, [])),
            }
        )
    return rows


def _size(images: LocalImages, digest: str) -> int | None:
    try:
        return images.images.tree(digest).size_bytes
    except (SkerryError, FileNotFoundError):
        return None
