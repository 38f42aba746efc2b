"""`recipe: archive`: an image that others made, out of a docker-archive or an OCI layout of the project's folder.

As it is, or `slim`: closed to its entry points, as our own images are. What its builder did can't be done again here, so the
hash of the archive is kept instead, in the lock and in the image's config. The lint searches it as somebody else's work.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from skerry.image.building.pile import MERGED, File, Pile, merged
from skerry.image.building.recipe import APP_USER, Recipe, refused
from skerry.image.building.recipes.kind import PATH, SharedData, Sources, Whole, config_of
from skerry.image.building.rules import base
from skerry.image.building.sources.lock import Input, Wants
from skerry.image.contract import BuildRefused
from skerry.image.kept import CacheDamaged, keep, kept, read_checked, write_whole
from skerry.image.manifest import Entry, Tree, parse_tree
from skerry.image.oci import ImageConfig, hash_of, parse_config, parse_manifest

if TYPE_CHECKING:
    from skerry.image.building.closure import Closure

# Data that programs read and that no ELF file names; kept if it is there.
DATA = (
    "etc/ssl/**", "usr/lib/ssl/**", "usr/share/ca-certificates/**", "etc/ca-certificates/**", "etc/nsswitch.conf", "etc/services",
    "etc/protocols", "etc/mime.types", "etc/passwd", "etc/group", "etc/ld.so.cache", "etc/ld.so.conf", "etc/ld.so.conf.d/**",
    "etc/ld-musl-*.path", "usr/lib/locale/C.utf8/**", "usr/lib/x86_64-linux-gnu/libgcc_s.so.1", "usr/share/zoneinfo/**",
)  # fmt: skip
LIBRARIES = ("usr/local/lib/x86_64-linux-gnu", "usr/local/lib")  # the loader finds these by its cache, which is kept


class Archive:
    fields = frozenset({"path", "slim"})
    foreign = True
    starts_others: tuple[str, ...] = ()

    def check(self, recipe: Recipe) -> None:
        if not recipe.path or recipe.path.startswith("/") or ".." in recipe.path.split("/"):
            raise refused(
                "recipe archive needs a path in the project's folder", "docker save NAME -o web.tar, and path: web.tar"
            )
        if recipe.packages:
            raise refused("recipe archive takes no packages: the image is made of the archive", "use recipe debian")
        if (recipe.keep or recipe.programs) and not recipe.slim:
            raise refused("keep and programs are for slim archives; as it is, everything stays", "write slim: true")

    def wants(self, recipe: Recipe, context: Path) -> Wants:
        path = context / recipe.path
        if not path.resolve().is_relative_to(context.resolve()) or not path.exists():
            raise BuildRefused(f"{path} can't be read", "the project has no such file", "docker save NAME -o web.tar")
        return Wants(inputs=(Input(recipe.path, _hash_of(path)),))

    def project(self, recipe: Recipe, context: Path, outputs: Sequence[File]) -> list[File]:
        return list(outputs)

    def parts(self, recipe: Recipe, sources: Sources) -> Iterable[File]:
        entries = (entry for entry in _read(sources).tree.entries if entry.path not in MERGED)  # a pile has these
        return [_merged_file(entry, sources.cache) for entry in entries]

    def whole(self, recipe: Recipe, sources: Sources) -> Whole | None:
        if recipe.slim:
            return None
        found = _read(sources)
        files = [_file(entry, entry.path, entry.link, sources.cache) for entry in found.tree.entries]
        files += [File(path.strip("/"), "d", origin="skerry") for path in recipe.directories]
        runnable = tuple(entry.path for entry in found.tree.files() if entry.mode == 0o755)
        return Whole(list({file.path: file for file in files}.values()), runnable, found.findings)

    def close(self, closure: Closure, recipe: Recipe, elves: Sequence[File], sources: Sources) -> None:
        config = self.config(recipe, sources)
        closure.look_in = LIBRARIES
        words = [*config.entrypoint, *config.cmd]
        if not words:
            raise refused("the archive names nothing to run", "write an entrypoint")
        closure.program(_found(words[0], config, closure))
        for pattern in DATA:
            closure.take(closure.find(pattern))
        if folder := config.working_dir.strip("/"):  # where an application's own files usually are
            closure.take(closure.find(f"{merged(folder)}/**"))
        base.mount_points(closure)

    def shared_data(self, recipe: Recipe, elves: Sequence[File]) -> SharedData:
        return SharedData(recipe.tls, bool(recipe.tz))

    def derive(self, recipe: Recipe, files: Sequence[File], pile: Pile, cache: Path) -> tuple[list[File], list[str]]:
        return [], []

    def config(self, recipe: Recipe, sources: Sources) -> ImageConfig:
        """The archive's own, with what the recipe says over it. One that names no user runs as ours do, never as root."""
        theirs = _read(sources).config
        ours = config_of(recipe)
        user = recipe.user if recipe.user != APP_USER else theirs.user
        return ImageConfig(
            entrypoint=recipe.entrypoint or theirs.entrypoint,
            cmd=recipe.command or (() if recipe.entrypoint else theirs.cmd),
            env=tuple((dict(theirs.env) | recipe.environment).items()),
            user=user if user.partition(":")[0] not in ("", "0", "root") else APP_USER,
            working_dir=recipe.working_dir or theirs.working_dir,
            exposed=ours.exposed or theirs.exposed,
            stop_signal=recipe.stop_signal or theirs.stop_signal,
            input=f"sha256:{sources.locked.inputs[0].sha256}",
        )


class _Found(NamedTuple):
    """An archive as it was read: config, tree, and what was said about it."""

    config: ImageConfig
    tree: Tree
    findings: tuple[str, ...]


def _read(sources: Sources) -> _Found:
    """The locked archive; read once into the cache, and again only if somebody emptied that."""
    from skerry.image.archive import import_archive

    (source,) = sources.locked.inputs
    path = sources.cache / "foreign" / f"{source.sha256}.msgpack"
    store = _Kept(sources.cache)
    known = kept(path, tuple[str, tuple[str, ...]])
    if known is None or (before := _whole(store, *known)) is None:
        found = import_archive(sources.context / source.path, store)  # type: ignore[arg-type]
        keep(path, (found.digest, found.findings))
        before = _whole(store, found.digest, found.findings)
    if before is None:
        raise BuildRefused(f"{source.path} can't be read", "the cache was emptied meanwhile", "run it again")
    return before


def _whole(store: _Kept, digest: str, findings: tuple[str, ...]) -> _Found | None:
    """None: not all of it is in the cache any more."""
    try:
        refs = parse_manifest(store.read(hash_of(digest)))
        found = _Found(parse_config(store.read(refs.config)), parse_tree(store.read(refs.tree)), findings)
    except (FileNotFoundError, CacheDamaged):
        return None
    return found if all(store.path(hash).is_file() for hash in found.tree.objects()) else None


class _Kept:
    """As much of `contract.Objects` as reading an archive takes, in the cache."""

    def __init__(self, cache: Path) -> None:
        self._directory = cache / "foreign" / "objects"

    def put(self, data: bytes) -> str:
        hash = hashlib.sha256(data).hexdigest()
        if not self.path(hash).is_file():
            write_whole(self.path(hash), data)
        return hash

    def read(self, hash: str) -> bytes:
        return read_checked(self.path(hash), hash, f"object {hash[:12]} of an archive")

    def path(self, hash: str) -> Path:
        return self._directory / hash[:2] / hash


def _file(entry: Entry, path: str, link: str, cache: Path) -> File:
    def load() -> bytes:
        return _Kept(cache).read(entry.sha256)

    return File(path, entry.kind, link, entry.sha256, entry.size, "archive", load)


def _merged_file(entry: Entry, cache: Path) -> File:
    """As of a merged /usr. A relative link starts elsewhere then, so it becomes one from the root."""
    path, link = merged(entry.path), entry.link
    if entry.kind == "l" and path != entry.path and not link.startswith("/"):
        link = "/" + posixpath.normpath(posixpath.join(posixpath.dirname(entry.path), link))
    return _file(entry, path, link, cache)


def _found(program: str, config: ImageConfig, closure: Closure) -> str:
    """The path of a program, looked for as the kernel and a shell would."""
    if "/" in program:
        return posixpath.join(config.working_dir, program)
    for folder in dict(config.env).get("PATH", PATH).split(":"):
        if closure.pile.follow(f"{folder}/{program}")[1] is not None:
            return f"{folder}/{program}"
    return program


def _hash_of(path: Path) -> str:
    """Of a file its SHA-256; of a layout's folder that of all its files."""
    if path.is_file():
        with path.open("rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest()
    whole = hashlib.sha256()
    for part in sorted(part for part in path.rglob("*") if part.is_file()):
        whole.update(f"{part.relative_to(path).as_posix()} {_hash_of(part)}\n".encode())
    return whole.hexdigest()


KIND = Archive()
