"""The images of a host: what is missing of one, and the root tree that containers run on. Node side.

A root tree is made whole in a directory of another name and then renamed, so `root` gives a complete tree or none.
Files are hard links to the objects: a host pays for a file once, however many images have it. So a tree must never
be written to: the runtime shows it read-only. Building and importing images live elsewhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from skerry.errors import SkerryError
from skerry.image.coming import Coming
from skerry.image.contract import BadImage, ImageIncomplete, ImageTooLarge, Objects
from skerry.image.manifest import MAX_MANIFEST_BYTES, MAX_TREE_BYTES, Entry, Tree, parse_tree
from skerry.image.oci import DIGEST, MAX_JSON_BYTES, ImageConfig, Refs, hash_of, parse_config, parse_manifest

LINKED_MODE = 0o644
MARKERS = ("ready", "doubted")  # a tree that is whole has one of them; with the second no container starts from it


class Collected(NamedTuple):
    """What a collection removed (or, on a dry run, would have)."""

    objects: int
    bytes: int


class Images:
    """Images by digest ("sha256:…") over `objects`, with their root trees in `directory`.

    Make it once per host and directory: unfinished trees of an earlier process are removed here. Calls block (they
    touch the disk): an agent runs `make` and `verify` in a thread.
    """

    def __init__(
        self,
        objects: Objects,
        directory: Path,
        *,
        spare_bytes: Callable[[], int] = lambda: MAX_TREE_BYTES,
        alone: bool = True,
    ) -> None:
        """`spare_bytes`: how much more may be used for images here. `alone=False`: other processes use it at the same time (an
        operator's commands), so what is being made may be theirs.
        """
        self._objects = objects
        self._spare_bytes = spare_bytes
        self._directory = directory
        self._making = threading.Lock()
        self._coming = Coming()
        directory.mkdir(parents=True, exist_ok=True)
        for home in directory.iterdir():  # not made to the end, or not removed to the end
            unfinished = home.name.startswith(".making-") and (alone or _is_old(home))
            if unfinished or (_is_home(home) and not any((home / m).exists() for m in MARKERS)):
                shutil.rmtree(home, ignore_errors=True)

    def missing(self, digest: str) -> list[str]:
        """The hashes to fetch next, each once; empty when the image is whole.

        Ask again after each round: the OCI manifest names config and tree, and only the tree names the files. Raises
        BadImage when one of those documents is not well formed: then this digest can never be made; ImageTooLarge, before
        any file has come, when they don't fit here.
        """
        manifest = hash_of(digest)
        self._comes(digest, manifest)  # each time before the look: a collection takes nothing that was seen here
        if not self._objects.has(manifest):
            return [manifest]
        refs = self._refs(digest)
        self._comes(digest, manifest, refs.config, refs.tree)
        documents = [hash for hash in (refs.config, refs.tree) if not self._objects.has(hash)]
        if documents:
            return documents
        parse_config(self._read(refs.config, MAX_JSON_BYTES))
        tree = self._tree(refs)
        self._comes(digest, manifest, refs.config, refs.tree, *tree.objects())
        missing = {entry.sha256: entry.size for entry in tree.files() if not self._objects.has(entry.sha256)}
        if missing and (needs_bytes := sum(missing.values()) + _copied_bytes(tree)) > (spare := self._spare_bytes()):
            raise ImageTooLarge(digest, needs_bytes, spare)
        return list(missing)

    def _comes(self, digest: str, *hashes: str) -> None:
        if self.root(digest) is None:
            self._coming.needs(digest, hashes)

    def make(self, digest: str) -> Path:
        """Make the root tree, once all objects are there; made before is given at once. Raises ImageIncomplete,
        BadImage, OSError.
        """
        with self._making:
            root = self.root(digest) or self._make(digest)
            self._coming.ends(digest)
            return root

    def root(self, digest: str) -> Path | None:
        """The root tree, if it has been made."""
        home = self._directory / hash_of(digest)
        return home / "root" if (home / "ready").is_file() else None

    def config(self, digest: str) -> ImageConfig:
        """How the image wants to be run. Needs its manifest and config objects."""
        return parse_config(self._read(self._refs(digest).config, MAX_JSON_BYTES))

    def tree(self, digest: str) -> Tree:
        """Its tree. Needs its manifest and tree objects."""
        return self._tree(self._refs(digest))

    def objects(self, digest: str) -> list[str]:
        """Every object that the image is made of, documents first: what a collection must keep and a peer may ask
        for.
        """
        refs = self._refs(digest)
        return [hash_of(digest), refs.config, refs.tree, *self._tree(refs).objects()]

    def held(self) -> list[str]:
        """The digests whose root trees are made, sorted."""
        homes = filter(_is_home, self._directory.iterdir())
        return sorted("sha256:" + home.name for home in homes if (home / "ready").is_file())

    def age_s(self, digest: str, now_s: float) -> float:
        """How long ago its root tree was made, by the wall clock; 0 if there is none."""
        try:
            made_s = (self._directory / hash_of(digest) / "ready").stat().st_mtime
        except FileNotFoundError:
            return 0.0
        return max(0.0, now_s - made_s)

    def used_bytes(self) -> int:
        """What all images here take: each object once, and what trees have copies of."""
        copies = sum(_noted_bytes(self._directory / hash_of(digest) / "ready") for digest in self.held())
        sizes = 0
        for hash in self._objects:
            with contextlib.suppress(FileNotFoundError):  # just removed
                sizes += self._objects.path(hash).stat().st_size
        return sizes + copies

    def forget(self, digest: str) -> None:
        """Remove its root tree; the objects stay until they are collected. Already gone counts as forgotten."""
        home = self._directory / hash_of(digest)
        # The marker goes first: a tree that was half removed must not look whole after a power cut.
        for marker in MARKERS:
            (home / marker).unlink(missing_ok=True)
        shutil.rmtree(home, ignore_errors=True)
        self._coming.ends(digest)

    def collect(
        self,
        *,
        came_before_s: float,
        keep: Iterable[str] = (),
        besides: Iterable[str] = (),
        gone: Iterable[str] = (),
        dry_run: bool = False,
    ) -> Collected:
        """Remove the objects that no image here is made of, while all else goes on.

        Needed are those of held images (but not of those in `besides`), of those in `keep` (an operator's named ones) as
        far as they are here, and of those that are coming in. `came_before_s`: unix time; younger objects are spared, as
        somebody may be handing an image over whose documents haven't come yet; but not those in `gone` (hashes), of which
        it is known what they were for. An image whose documents are damaged doesn't say what it needs: then nothing is
        collected.
        `dry_run`: only count.
        """
        objects = bytes_ = 0
        with self._making:  # a tree that is just being made isn't held yet
            try:
                held = set(self.held()) - set(besides)
                needed = {hash for digest in held for hash in self.objects(digest)}
                needed.update(hash for digest in keep for hash in self._here_of(digest))
            except SkerryError:
                return Collected(0, 0)
            old = set(gone)
            for hash in self._objects:
                if hash in needed:
                    continue
                with contextlib.suppress(FileNotFoundError), self._coming.unless_needed(hash) as free:
                    found = self._objects.path(hash).stat()
                    if free and (hash in old or found.st_mtime < came_before_s):
                        objects, bytes_ = objects + 1, bytes_ + found.st_size
                        if not dry_run:
                            self._objects.remove(hash)
        return Collected(objects, bytes_)

    def _here_of(self, digest: str) -> list[str]:
        """As `objects`, of an image that may not be whole here."""
        try:
            return self.objects(digest)
        except ImageIncomplete:
            return [hash_of(digest)]

    def verify(self, digest: str) -> list[str]:
        """What of it is not what it should be, in words; empty when all is well. Reads every byte.

        Paths of the made tree, and objects: of a program the tree has a copy, and peers get the object.
        """
        root = self.root(digest)
        if root is None:
            raise ImageIncomplete(f"image {digest} can't be verified", "its root tree has not been made")
        hashes, entries = self.objects(digest), self.tree(digest).entries
        damaged = [f"object {hash[:12]}" for hash in hashes if not self._objects.verify(hash)]
        return damaged + [entry.path for entry in entries if not _same(root, entry)]

    def doubt(self, digest: str) -> None:
        """Damage was found in it, or in an object of it: no container starts from this tree until `make` has mended it."""
        home = self._directory / hash_of(digest)
        with contextlib.suppress(FileNotFoundError):
            (home / "ready").rename(home / "doubted")

    def made_of(self, hash: str) -> list[str]:
        """The held images that this object is part of; those whose documents can't be read might be."""
        return [digest for digest in self.held() if hash in self._parts(digest, hash)]

    def _parts(self, digest: str, unsure: str) -> list[str]:
        try:
            return self.objects(digest)
        except SkerryError:
            return [unsure]

    def _make(self, digest: str) -> Path:
        if lacking := self.missing(digest):
            raise ImageIncomplete(
                f"image {digest} is not whole", f"{len(lacking)} objects are missing, {lacking[0]} first"
            )
        tree = self._tree(self._refs(digest))
        # A flipped bit would be in every container from now on: 50 MB are read through in a tenth of a second.
        if damaged := [hash for hash in tree.objects() if not self._objects.verify(hash)]:
            raise ImageIncomplete(
                f"image {digest} is not whole", f"{len(damaged)} objects were damaged, {damaged[0]} first"
            )
        if (self._directory / hash_of(digest) / "doubted").exists():
            return self._mend(self._directory / hash_of(digest), tree)
        making = self._directory / f".making-{hash_of(digest)}-{os.getpid()}"
        shutil.rmtree(making, ignore_errors=True)
        try:
            (making / "root").mkdir(parents=True)
            (making / "root").chmod(0o755)
            root = str(making / "root")
            for entry in tree.entries:  # thousands: without a Path for each
                self._place(f"{root}/{entry.path}", entry)
            (making / "ready").write_text(f"{digest} {_copied_bytes(tree)}\n")
            final = self._directory / hash_of(digest)
            try:
                making.rename(final)
            except OSError:  # something is there
                if (made := self.root(digest)) is not None:
                    return made  # another process was faster, and may be using it
                shutil.rmtree(final, ignore_errors=True)  # without its marker it never was whole
                making.rename(final)
        finally:
            shutil.rmtree(making, ignore_errors=True)
        return final / "root"

    def _mend(self, home: Path, tree: Tree) -> Path:
        """Put whole files in the place of damaged ones, one by one: containers may be running on this tree.

        What they have open they keep, whatever it is; their next start finds the whole.
        """
        root = home / "root"
        for entry in tree.entries:
            if not _same(root, entry):
                if entry.kind != "f":
                    raise BadImage(
                        f"the tree in {home} can't be mended",
                        f"{entry.path} is missing or changed, and is not a file",
                        "look at the disk; drain the host, remove the tree, and it is made anew",
                    )
                fresh = home / "fresh"
                fresh.unlink(missing_ok=True)
                self._place(str(fresh), entry)
                fresh.replace(root / entry.path)
        (home / "doubted").rename(home / "ready")
        return root

    def _place(self, target: str, entry: Entry) -> None:
        if entry.kind == "d":
            os.mkdir(target)  # noqa: PTH102
            os.chmod(target, entry.mode)  # noqa: PTH101  mkdir's mode would pass through the umask
        elif entry.kind == "l":
            os.symlink(entry.link, target)  # noqa: PTH211
        else:
            source = self._objects.path(entry.sha256)
            found = source.stat()
            if found.st_size != entry.size:
                raise BadImage(
                    f"{entry.path} can't be placed", f"its object has {found.st_size} bytes, not {entry.size}"
                )
            # A link shares the object's inode, and with it the mode: only a plain file that all may read can be one.
            if entry.mode == LINKED_MODE and found.st_mode & 0o7555 == 0o444:
                with contextlib.suppress(OSError):  # another device, or too many links
                    os.link(source, target)
                    return
            shutil.copyfile(source, target)
            with open(target, "rb") as copy:
                os.fchmod(copy.fileno(), entry.mode)
                os.fsync(copy.fileno())

    def _refs(self, digest: str) -> Refs:
        refs = parse_manifest(self._read(hash_of(digest), MAX_JSON_BYTES))
        if not refs.tree:
            raise BadImage(f"image {digest} was refused", "its manifest names no tree: import it first")
        return refs

    def _tree(self, refs: Refs) -> Tree:
        return parse_tree(self._read(refs.tree, MAX_MANIFEST_BYTES))

    def _read(self, hash: str, limit_bytes: int) -> bytes:
        if not self._objects.has(hash):
            raise ImageIncomplete("an image is not whole", f"object {hash} is missing")
        if self._objects.path(hash).stat().st_size > limit_bytes:
            raise BadImage("an image was refused", f"its document {hash} has more than {limit_bytes} bytes")
        return self._objects.read(hash)


def _is_old(path: Path) -> bool:
    """No tree takes a day to make."""
    try:
        return path.stat().st_mtime < time.time() - 86400
    except FileNotFoundError:
        return True


def _is_home(directory: Path) -> bool:
    return DIGEST.match("sha256:" + directory.name) is not None


def _copied_bytes(tree: Tree) -> int:
    """Of files that can't be links to their objects, see `_place`."""
    return sum(entry.size for entry in tree.files() if entry.mode != LINKED_MODE)


def _noted_bytes(ready: Path) -> int:
    try:
        return int(ready.read_text().split()[1])
    except (OSError, ValueError, IndexError):  # just forgotten; made by an earlier version
        return 0


def _same(root: Path, entry: Entry) -> bool:
    path = root / entry.path
    if entry.kind == "l":
        return path.is_symlink() and str(path.readlink()) == entry.link
    if path.is_symlink() or not path.exists():
        return False
    if entry.kind == "d":
        return path.is_dir()
    if not path.is_file() or path.stat().st_size != entry.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256
