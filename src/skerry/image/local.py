"""Which image a compose file's `image:` means: a digest or a name in the local store, or a path to an archive. Nothing else:
Skerry knows no registry, so that what runs is what was built or brought here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.image.contract import ImageNotFound, Objects
from skerry.image.oci import DIGEST, hash_of

if TYPE_CHECKING:
    from skerry.image.archive import Imported


def resolve_image(
    ref: str,
    *,
    objects: Objects,
    names: Mapping[str, str],
    base: Path,
    progress: Callable[[str], None] = lambda line: None,
    imported: Callable[[Path, Imported], None] = lambda path, imported: None,
) -> str:
    """The digest ("sha256:…") of the image that `ref` means; an archive is imported into `objects` for that.

    `names`: name -> digest of the local store; `base`: the folder that relative paths start from; `progress` gets a line for
    each finding of an import, `imported` hears of the import itself. Raises ImageNotFound (with what to do) and BadImage.
    """
    digest = ref if DIGEST.match(ref) else names.get(ref, "")
    if digest:
        if not objects.has(hash_of(digest)):
            raise ImageNotFound(f"the image {ref} was not found", "the local store does not have it", _FIX)
        return digest
    path = base / ref
    if path.is_dir() or path.is_file():
        from skerry.image.archive import import_archive  # what reads archives is a good part of a deploy's start

        found = import_archive(path, objects)
        imported(path, found)
        for finding in found.findings[:20]:
            progress(finding)
        if len(found.findings) > 20:
            progress(f"and {len(found.findings) - 20} findings more")
        return found.digest
    why = "it is no digest or name of the local store, and no path"
    if name := shipped_for(ref):
        fix = f"there is a shipped recipe for {name}, in the version of Debian 12: in the place of image: {ref} write"
        raise ImageNotFound(f"the image {ref!r} was not found", why, f"{fix} x-skerry: {{image: {{recipe: {name}}}}}")
    raise ImageNotFound(f"the image {ref!r} was not found", why, _FIX)


def shipped_for(ref: str) -> str:
    """The shipped recipe that stands for a well-known official image, such as "redis:7-alpine"; "" without one."""
    from skerry.image.building.recipes import shipped_names

    found = _OFFICIAL.match(ref)
    return found[1] if found and found[1] in shipped_names() else ""


_OFFICIAL = re.compile(r"(?:(?:index\.)?docker\.io/)?(?:library/)?([a-z]+)(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?\Z")
_FIX = (
    "`skerry image ls` shows the names; else build it by a recipe (x-skerry: image: in the compose file), take it from a "
    "registry (skerry image pull NAME), or save it and give the path: docker save NAME -o web.tar"
)
