"""The packages of an image that was built here: out of its lock and the download cache, where all their files are listed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from skerry.image.building.elf import is_elf
from skerry.image.building.pile import File
from skerry.image.building.recipes import kind_of
from skerry.image.building.rules.python import SITE
from skerry.image.building.sources.debian import deb_path
from skerry.image.building.sources.lock import Deb, Lock, Wheel, read_lock
from skerry.image.building.sources.unpack import unpack_deb
from skerry.image.building.sources.wheels import unpack_wheel
from skerry.image.manifest import Tree
from skerry.image.origin import Origin, Part, parts_of
from skerry.image.packages import parts_in

if TYPE_CHECKING:
    from skerry.client.images import LocalImages
    from skerry.image.building.build import Built
    from skerry.image.building.recipe import Recipe


def parts_of_build(
    images: LocalImages, built: Built, recipe: Recipe, context: Path, section: str, when_s: float
) -> Origin:
    """The origin of what was just built."""
    lock = read_lock(built.lock, section) or Lock("")
    tree = images.images.tree(built.digest)
    parts, own = parts_of(lock, tree, lambda package: files_of(package, images.cache))
    more, unread = parts_in(tree, images.objects.read)
    known = {(part.ecosystem, part.name, part.version) for part in parts}
    parts += _with_locked(lock, [part for part in more if (part.ecosystem, part.name, part.version) not in known])
    owned = {path for part in parts for path in part.files}
    own = tuple(path for path in own if path not in owned)
    return Origin(
        how="built",
        when_s=when_s,
        source=str(context.absolute()),
        recipe=recipe.recipe,
        lock=lock,
        parts=parts,
        own=own,
        complete=not (kind_of(recipe.recipe).foreign or _has_programs(images, tree, own)),
        findings=(*built.findings, *unread),
    )


def _with_locked(lock: Lock, parts: list[Part]) -> tuple[Part, ...]:
    """Packages of npm: their hashes are in the lock, their licences and files in the image. One may be there several times."""
    integrity = {(module.name, module.version): module.integrity for module in lock.modules}
    files: dict[tuple[str, str], list[str]] = {}
    for part in parts:
        if part.ecosystem == "npm":
            files.setdefault((part.name, part.version), []).extend(part.files)
    found = {(part.name, part.version): part for part in parts if part.ecosystem == "npm"}
    for name, version in integrity.keys() - found.keys():
        found[name, version] = Part(ecosystem="npm", name=name, version=version)
    npm = [
        msgspec.structs.replace(found[key], integrity=integrity.get(key, ""), files=tuple(files.get(key, ())))
        for key in sorted(found)
    ]
    return (*(part for part in parts if part.ecosystem != "npm"), *npm)


def _has_programs(images: LocalImages, tree: Tree, own: tuple[str, ...]) -> bool:
    """Whether the project brings compiled code: what is linked into that, nobody here knows."""
    files = {entry.path: entry for entry in tree.files()}
    for path in own:
        if entry := files.get(path):
            with images.objects.path(entry.sha256).open("rb") as file:
                if is_elf(file.read(4)):
                    return True
    return False


def files_of(package: Deb | Wheel, cache: Path) -> Iterable[File]:
    """All that a package holds. It must be in the cache: `fetch_debs` and `fetch_wheels` see to it."""
    if isinstance(package, Deb):
        return unpack_deb(deb_path(package, cache), cache, f"{package.name} {package.version}")
    return unpack_wheel(package, cache, SITE)


def origin_of(images: LocalImages, digest: str) -> Origin:
    """What is known of the image's parts; of one that came before origins were kept, what it tells itself."""
    found = images.origins.get(digest)
    if found is not None:
        return found
    parts, unread = parts_in(images.images.tree(digest), images.objects.read)
    return Origin(how="imported", when_s=0.0, parts=parts, findings=unread)
