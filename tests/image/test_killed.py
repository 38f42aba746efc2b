"""SIGKILL before every step on the disk: of taking objects in, of an import, of making, mending and forgetting a tree, of a
collection. What is left is whole or isn't there, the next start clears away the rest, and the same act then succeeds.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from agent.small import archive
from agent.unsynced import synced
from image.memory import file_entry
from image.steps import killed_at_each_step
from skerry.image.archive import import_archive
from skerry.image.manifest import Entry, tree_of
from skerry.image.oci import ImageConfig, assemble
from skerry.image.trees import Images
from skerry.store.objects import ObjectStore

__all__ = ["synced"]

FILES = {"usr/bin/app": b"program", "etc/conf": b"text", "etc/more": b"more text"}


class Host(NamedTuple):
    """`old` is held, `new` has all its objects here and no tree yet. They share a file."""

    directory: Path
    objects: ObjectStore
    images: Images
    old: str
    new: str

    def again(self) -> Host:
        """After a start: what is on its disk, and nothing of what it remembered."""
        objects = ObjectStore(self.directory)
        return self._replace(objects=objects, images=Images(objects, self.directory / "images"))


def bring(objects: ObjectStore, files: dict[str, bytes]) -> str:
    for data in files.values():
        objects.put(data)
    entries = [file_entry(path, data, 0o755 if "bin" in path else 0o644) for path, data in files.items()]
    image = assemble(tree_of([*entries, Entry("lib", "l", 0o777, link="usr/lib")]), ImageConfig(), objects.read)
    for data in (image.manifest, image.config, image.tree.encode()):
        objects.put(data)
    return image.digest


def host(directory: Path) -> Host:
    objects = ObjectStore(directory, durable=True)
    images = Images(objects, directory / "images")
    old = bring(objects, {**FILES, "etc/more": b"as it was"})
    images.make(old)
    return Host(directory, objects, images, old, bring(objects, FILES))


def is_sound(host: Host) -> None:
    """Nothing half-done after a start: objects are what their names say, trees that are held are whole, no rest lies about."""
    assert all(host.objects.verify(hash) for hash in host.objects)
    assert not list((host.directory / "objects" / "incoming").iterdir())
    assert not list((host.directory / "objects" / "damaged").iterdir())
    for image in host.images.held():
        assert host.images.verify(image) == []
    for image in (host.old, host.new):
        if host.images.root(image) is not None:
            assert host.images.missing(image) == []
    held = {image[7:] for image in host.images.held()}
    assert {path.name for path in (host.directory / "images").iterdir()} == held


def make(host: Host) -> None:
    host.images.make(host.new)


def forget(host: Host) -> None:
    host.images.forget(host.old)


def forget_and_collect(host: Host) -> None:
    gone = host.images.objects(host.old) if host.images.root(host.old) else []
    host.images.forget(host.old)
    host.images.collect(came_before_s=0, keep=[host.new], gone=gone)


def mend(host: Host) -> None:
    host.images.doubt(host.old)
    host.images.make(host.old)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)


def host_with_damage(directory: Path) -> Host:
    """One file of the held tree is damaged, its object was fetched anew."""
    made = host(directory)
    hash = hashlib.sha256(b"as it was").hexdigest()
    flip(made.objects.path(hash))
    assert not made.objects.verify(hash)
    (made.directory / "objects" / "damaged" / hash).unlink()
    made.objects.put(b"as it was")
    assert made.images.verify(made.old) == ["etc/more"]
    return made


@pytest.mark.parametrize("act", [make, forget, forget_and_collect], ids=lambda act: act.__name__)
def test_a_tree_and_a_collection_that_were_killed_leave_all_or_nothing(
    tmp_path: Path, act: Callable[[Host], None]
) -> None:
    for before in killed_at_each_step(tmp_path, host, act):
        after = before.again()
        is_sound(after)
        assert after.images.missing(after.new) == [], "what was to stay is here"
        if act is make:
            assert after.images.root(after.old) is not None
        act(after)
        is_sound(after)
        if act is make:
            assert after.images.root(after.new) is not None
        elif act is forget_and_collect:
            # Killed between forgetting and collecting, what was the image's own goes when it is old.
            after.images.collect(came_before_s=time.time() + 3600, keep=[after.new])
            assert set(after.objects) == set(after.images.objects(after.new))


def test_a_tree_that_is_mended_is_whole_or_still_doubted_whenever_it_is_killed(tmp_path: Path) -> None:
    for before in killed_at_each_step(tmp_path, host_with_damage, mend):
        after = before.again()
        assert all(after.objects.verify(hash) for hash in after.objects)
        if after.images.root(after.old) is None or after.images.verify(after.old):
            mend(after)
        assert after.images.root(after.old) is not None and after.images.verify(after.old) == []
        assert not (after.directory / "images" / after.old[7:] / "fresh").exists()


class Empty(NamedTuple):
    directory: Path
    objects: ObjectStore

    def again(self) -> Empty:
        return Empty(self.directory, ObjectStore(self.directory))


def empty(directory: Path) -> Empty:
    made = Empty(directory, ObjectStore(directory))
    archive(directory / "saved.tar", b"program of somebody")
    return made


def take_in(store: Empty) -> None:
    """As a fetch does: small ones staged and synced together, a large one by itself."""
    for data in (b"one", b"two", b"three"):
        writer = store.objects.writer(hashlib.sha256(data).hexdigest(), sync=False)
        writer.write(data)
        writer.finish()
    store.objects.sync_all()
    store.objects.put(b"large")


def import_it(store: Empty) -> None:
    import_archive(store.directory / "saved.tar", store.objects)


@pytest.mark.parametrize("act", [take_in, import_it], ids=lambda act: act.__name__)
def test_objects_whose_coming_was_killed_are_whole_or_not_there(tmp_path: Path, act: Callable[[Empty], None]) -> None:
    whole: set[str] = set()
    for before in killed_at_each_step(tmp_path, empty, act):
        after = before.again()
        assert all(after.objects.verify(hash) for hash in after.objects)
        assert not list((after.directory / "objects" / "incoming").iterdir())
        act(after)
        whole = whole or set(after.objects)
        assert set(after.objects) == whole and len(whole) == 4
