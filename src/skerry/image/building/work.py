"""One build at work: what it is made of, and under which names its results are kept. `build.py` and `plan` go by it.

Two results are kept in the cache by the hash of what they were made of: the *base* (all but the project's own files, so that an
edit looks at the project alone) and the image itself. Nothing here writes anything.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path

import msgspec

import skerry.image
from skerry.image.building.elf import is_elf
from skerry.image.building.pile import File, Pile, file_of, is_below, merged, moved
from skerry.image.building.project import content_of, project_files
from skerry.image.building.recipe import Recipe
from skerry.image.building.recipes import kind_of
from skerry.image.building.recipes.kind import APP, Sources
from skerry.image.building.sources.lock import Lock
from skerry.image.contract import BuildRefused, Objects
from skerry.image.kept import kept
from skerry.image.manifest import Entry, Tree, parse_tree, tree_of
from skerry.image.oci import ImageConfig

STICKY = ("tmp", "run")  # become tmpfs: runc gives such a mount the mode of the directory below


class Base(msgspec.Struct, frozen=True):
    """A base as it is kept: its tree manifest, executables, findings."""

    tree: bytes
    executables: tuple[str, ...]
    findings: tuple[str, ...]


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    """An image as it is kept: its digest, the hashes of its documents (manifest, config, tree), and what is told about it."""

    digest: str
    documents: tuple[str, ...]
    size_bytes: int
    files: int
    executables: tuple[str, ...]
    findings: tuple[str, ...]


class Work:
    """What is made of a recipe, a project and a lock. `outputs`: what the build stage made, at its place in the image.

    `as_init`: the image will run once before a service. `initialised_by`: the digest of the one that does so before this one.
    """

    def __init__(
        self,
        recipe: Recipe,
        context: Path,
        locked: Lock,
        outputs: Sequence[File],
        cache: Path,
        *,
        as_init: bool = False,
        initialised_by: str = "",
    ) -> None:
        self.recipe = recipe
        self.as_init = as_init
        self.initialised_by = initialised_by
        self.kind = kind_of(recipe.recipe)
        self.context = context
        self.locked = locked
        self.outputs = outputs
        self.cache = cache

    @property
    def sources(self) -> Sources:
        return Sources(self.context, self.locked, self.cache)

    @cached_property
    def config(self) -> ImageConfig:
        config = self.kind.config(self.recipe, self.sources)
        return msgspec.structs.replace(
            config, init=self.as_init, initialised_by=self.initialised_by, tools=self.recipe.tools
        )

    @cached_property
    def project(self) -> list[File]:
        """All files that come from the user: the project's, those that the recipe names or holds, those that were built."""
        named = [f"{APP}/{path}" for path in self.recipe.files.values()]
        rest = [file for file in self.outputs if not any(is_below(file.path, path) for path in named)]
        own = self.kind.project(self.recipe, self.context, rest)
        files = {file.path: file for file in (*own, *placed(self.recipe, self.context, self.outputs))}
        return [files[path] for path in sorted(files)]

    @cached_property
    def elves(self) -> list[File]:
        """Those of them that are programs or libraries: what these need is the closure's matter."""
        return [file for file in self.project if file.kind == "f" and is_elf(file.load()[:4])]

    @cached_property
    def pile(self) -> Pile:
        """All that the closure picks from. Unpacks what wasn't yet."""
        from skerry.image.building.sources.debian import deb_path
        from skerry.image.building.sources.unpack import unpack_deb

        pile = Pile()
        for deb in self.locked.debs:
            pile.add(unpack_deb(deb_path(deb, self.cache), self.cache, f"{deb.name} {deb.version}"))
        pile.add(self.kind.parts(self.recipe, self.sources))
        pile.add(self.elves)
        return pile

    @cached_property
    def base_file(self) -> Path:
        relevant = msgspec.structs.replace(
            self.recipe,
            command=(),
            environment={},
            working_dir="",
            expose=(),
            stop_signal="",
            exclude=(),
            files={},
            texts={},
            init=None,
        )
        made_of = [msgspec.json.encode((self.locked, relevant), order="sorted"), _code().encode(), b"%d" % _compiles()]
        made_of += [f"{file.path} {file.sha256}".encode("utf-8", "surrogateescape") for file in self.elves]
        return self.cache / "bases" / _named(made_of)

    @cached_property
    def packed_file(self) -> Path:
        made_of = [self.base_file.name.encode(), msgspec.json.encode(self.config)]
        made_of += [
            f"{file.kind} {file.path} {file.link} {file.sha256}".encode("utf-8", "surrogateescape")
            for file in self.project
        ]
        return self.cache / "packed" / _named(made_of)

    def kept_base(self, has: Callable[[str], bool]) -> Base | None:
        """The base, if it was made before and all its files are here still."""
        base = kept(self.base_file, Base)
        return base if base and all(has(hash) for hash in _tree(base.tree).objects()) else None

    def kept_image(self, objects: Objects) -> Packed | None:
        """The image, if it was made before and all of it is here still."""
        packed = kept(self.packed_file, Packed)
        if packed is None or not all(objects.has(hash) for hash in packed.documents):
            return None
        tree = parse_tree(objects.read(packed.documents[-1]))
        return packed if all(objects.has(hash) for hash in tree.objects()) else None


def placed(recipe: Recipe, context: Path, outputs: Sequence[File]) -> list[File]:
    """What `files` and `texts` of a recipe put into the image; files may be `outputs` of the build stage. Raises BuildRefused."""
    # A file of the project takes the place of a shipped recipe's text.
    found = [file_of(_place(path), text.encode(), "recipe") for path, text in recipe.texts.items()]
    for path, named in recipe.files.items():
        source = context / named
        if not source.resolve().is_relative_to(context.resolve()):
            raise BuildRefused(f"files: {named!r} can't be put into the image", "it is a link out of the project")
        if source.is_dir():
            found += project_files(source, _place(path), recipe.exclude)
        elif source.is_file():
            found.append(file_of(_place(path), content_of(source), "project"))
        elif made := moved(outputs, f"{APP}/{named}", _place(path)):
            found += made
        else:
            raise BuildRefused(f"files: {named!r} can't be put into the image", "the project has no such file")
    return found


def entries_of(files: Iterable[File], executables: Iterable[str] = ()) -> dict[str, Entry]:
    """The entries of these files by path; the only place where modes are made."""
    runnable = frozenset(executables)
    entries: dict[str, Entry] = {}
    for file in files:
        if file.kind == "d":
            entries[file.path] = Entry(file.path, "d", 0o1777 if file.path in STICKY else 0o755)
        elif file.kind == "l":
            entries[file.path] = Entry(file.path, "l", 0o777, link=file.link)
        else:
            mode = 0o755 if file.path in runnable else 0o644
            entries[file.path] = Entry(file.path, "f", mode, sha256=file.sha256, size=file.size)
    return entries


def keep_contents(files: Iterable[File], objects: Objects) -> None:
    for file in files:
        if file.kind == "f" and not objects.has(file.sha256):
            objects.put(file.load())


def whole_tree(base: Base, project: Iterable[File], working_dir: str) -> Tree:
    """The base with the project's files over it, and the folder that the program begins in, without which nothing starts."""
    entries = {entry.path: entry for entry in _tree(base.tree).entries}
    entries |= entries_of(project, base.executables)
    if (folder := working_dir.strip("/")) and not any(path.startswith(f"{folder}/") for path in entries):
        entries.setdefault(folder, Entry(folder, "d", 0o755))
    return tree_of(entries.values())


@functools.lru_cache(maxsize=1)
def _tree(text: bytes) -> Tree:
    """Of a base: looked through before it is used, and then used."""
    return parse_tree(text)


def _place(path: str) -> str:
    return merged(path.strip("/"))


def _named(made_of: Sequence[bytes]) -> str:
    return hashlib.sha256(b"\n".join(made_of)).hexdigest()


def _compiles() -> bool:
    from skerry.image.building.bytecode import can_run

    return can_run()


@functools.cache
def _code() -> str:
    """A hash of what makes images: results of another version of Skerry are not taken from the cache."""
    digest = hashlib.sha256()
    for path in makers():
        digest.update(path.read_bytes())
    return digest.hexdigest()


def makers() -> list[Path]:
    """The sources that an image's bytes depend on: all of `skerry.image`, where trees and layers are written, recipes too."""
    room = Path(skerry.image.__file__).parent
    return sorted((*room.rglob("*.py"), *room.rglob("*.toml")))
