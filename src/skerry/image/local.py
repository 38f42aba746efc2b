"""Which image a compose file's `image:` means: a digest or a name in the local store, or a path to an archive."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from skerry.image.contract import Objects


def resolve_image(ref: str, *, objects: Objects, names: Mapping[str, str], base: Path) -> str:
    """The digest ("sha256:…") of the image that `ref` means; an archive is imported into `objects` for that.

    `names`: name -> digest of the local store; `base`: the folder that relative paths start from. Raises ImageNotFound
    (with what to do) and BadImage.
    """
    raise NotImplementedError
