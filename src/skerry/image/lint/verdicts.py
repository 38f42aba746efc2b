"""Verdicts by image digest: made once, remembered on disk, and with them the facts of every file, so that an edit costs one file.

A remembered verdict stands, also when a later version of the lint knows more: what runs must not end by an upgrade.
"""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from skerry.image.contract import BadImage, ImageIncomplete, Objects
from skerry.image.kept import keep, kept
from skerry.image.lint.findings import Finding
from skerry.image.lint.programs import NOTHING, Facts, facts_of
from skerry.image.manifest import MAX_MANIFEST_BYTES, Tree, parse_tree
from skerry.image.oci import MAX_JSON_BYTES, ImageConfig, hash_of, parse_config, parse_manifest

RULES = 2  # raised with what is looked for in a file: facts of other rules are not used for new verdicts


def look(objects: Objects, hash: str) -> Facts:
    """The facts of one object. Mapped, not read: it may be larger than memory. Raises ImageIncomplete."""
    try:
        with objects.path(hash).open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return NOTHING
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return facts_of(data)
    except FileNotFoundError:
        raise ImageIncomplete("an image can't be judged", f"object {hash} is missing") from None


class _Kept(msgspec.Struct):
    """A file of this directory. `clean`: hashes of which there is nothing to say; `facts`: of all others."""

    rules: int
    findings: list[Finding]
    clean: list[bytes]
    facts: dict[str, Facts]


class Verdicts:
    """Over `objects`; may be used from any thread. Verdicts of images that are no longer here are dropped."""

    def __init__(self, directory: Path, objects: Objects) -> None:
        self._directory = directory
        self._objects = objects
        self._judging = threading.Lock()
        self._verdicts: dict[str, list[Finding]] = {}
        self._facts: dict[str, Facts] | None = None

    def of(self, digest: str) -> list[Finding]:
        """What is wrong with an image whose objects are all here. Blocks: up to a second for 100 MB that nobody has seen.

        Raises BadImage for one that isn't Skerry's or is damaged, ImageIncomplete, OSError.
        """
        with self._judging:
            found = self._verdicts.get(digest)
            if found is None:
                found = self._remembered(digest)  # [] for most: a clean image
                if found is None:
                    found = self._judge(digest)
                self._verdicts[digest] = found
            return found

    def secrets(self, files: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        """(path, rule) of those of these files (path, hash) that hold a secret."""
        from skerry.image.lint.secrets import in_named

        for path, hash in files:
            rule = self._facts_of(hash).secret
            rule = rule or in_named(path, functools.partial(self._objects.read, hash))
            if rule:
                yield path, rule

    def _facts_of(self, hash: str) -> Facts:
        if self._facts is None:
            self._facts = self._known_facts()
        if hash not in self._facts:
            self._facts[hash] = look(self._objects, hash)
        return self._facts[hash]

    def _remembered(self, digest: str) -> list[Finding] | None:
        kept = _read(self._directory / hash_of(digest))
        return kept.findings if kept is not None else None

    def _judge(self, digest: str) -> list[Finding]:
        from skerry.image.lint.judge import judge  # a deploy mostly finds its verdicts made

        tree, config = self._documents(digest)
        facts = {hash: self._facts_of(hash) for hash in tree.objects()}
        found = judge(tree, config, facts.__getitem__, self._objects.read)
        self._write(digest, found, facts)
        return found

    def _documents(self, digest: str) -> tuple[Tree, ImageConfig]:
        refs = parse_manifest(self._document(hash_of(digest), MAX_JSON_BYTES))
        if not refs.tree:
            raise BadImage(f"image {digest} can't be judged", "its manifest names no tree: import it first")
        tree = parse_tree(self._document(refs.tree, MAX_MANIFEST_BYTES))
        return tree, parse_config(self._document(refs.config, MAX_JSON_BYTES))

    def _document(self, hash: str, limit_bytes: int) -> bytes:
        if not self._objects.has(hash):
            raise ImageIncomplete("an image can't be judged", f"object {hash} is missing")
        if self._objects.path(hash).stat().st_size > limit_bytes:
            raise BadImage("an image can't be judged", f"its document {hash} has more than {limit_bytes} bytes")
        return self._objects.read(hash)

    def _known_facts(self) -> dict[str, Facts]:
        known: dict[str, Facts] = {}
        for path in self._directory.glob("?" * 64):
            kept = _read(path)
            if kept is not None and kept.rules == RULES:
                known |= dict.fromkeys((hash.hex() for hash in kept.clean), NOTHING) | kept.facts
        return known

    def _write(self, digest: str, found: list[Finding], facts: dict[str, Facts]) -> None:
        kept = _Kept(
            RULES,
            found,
            [bytes.fromhex(hash) for hash, fact in facts.items() if fact == NOTHING],
            {hash: fact for hash, fact in facts.items() if fact != NOTHING},
        )
        keep(self._directory / hash_of(digest), kept)
        for path in self._directory.iterdir():
            if len(path.name) == 64 and not self._objects.has(path.name):
                with contextlib.suppress(OSError):
                    path.unlink()
                self._verdicts.pop(f"sha256:{path.name}", None)


def _read(path: Path) -> _Kept | None:
    """None for one that isn't there or was damaged."""
    try:
        return kept(path, _Kept)
    except OSError:
        return None
