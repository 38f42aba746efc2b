"""`skerry image export` and `import` as wholes: killed or interrupted before each step, on a full disk, and of an image whose
manifest lies about sizes. What is under its name is whole; the store stays as it was.
"""

from __future__ import annotations

import json
import random
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from agent.small import archive, put_image
from agent.unsynced import synced
from image.steps import killed_at_each_step
from image.test_full_disk import empty_again, fill_files, fill_pages, full_at_each_point, small_disk
from skerry.client.images import LocalImages
from skerry.client.library.export import export
from skerry.errors import SkerryError
from skerry.image.archive import import_archive
from skerry.image.contract import BadImage
from skerry.image.oci import parse_manifest
from skerry.image.trees import Images
from skerry.store.disk import DiskFull, told
from skerry.store.objects import ObjectStore

__all__ = ["small_disk", "synced"]
CHANCE = random.Random(1)
FILES = {"usr/bin/app": b"program" * 900, "etc/conf": b"text", "etc/long": CHANCE.randbytes(10_000)}
FORMS = {"layout": "oci", "a.tar": "oci", "d.tar.gz": "docker"}


class Store(NamedTuple):
    directory: Path
    digest: str

    @property
    def images(self) -> LocalImages:
        return LocalImages(self.directory / "images")

    def out(self, name: str) -> Path:
        return self.directory / "out" / name


def store(directory: Path) -> Store:
    images = LocalImages(directory / "images")
    digest = put_image(images.objects, FILES)
    images.tag("app", digest)
    (directory / "out").mkdir()
    archive(directory / "saved.tar", b"program of somebody")
    return Store(directory, digest)


def export_as(name: str) -> Callable[[Store], None]:
    return lambda of: [None, export(of.images, "app", of.out(name), FORMS[name])][0]  # type: ignore[arg-type]


def is_whole_or_not_there(of: Store, name: str) -> bool:
    """Whether it is there. It is read by our own import, which checks every hash."""
    if not of.out(name).exists():
        return False
    assert import_archive(of.out(name), of.images.objects).digest == of.digest
    return True


def is_sound(of: Store) -> None:
    images = of.images
    assert all(images.objects.verify(hash) for hash in images.objects)
    assert images.names["app"] == of.digest and images.images.missing(of.digest) == []
    for digest in images.names.values():
        assert images.images.missing(digest) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=lambda how: how.name)
@pytest.mark.parametrize("name", FORMS)
def test_an_export_that_is_ended_is_whole_or_not_there(tmp_path: Path, name: str, how: signal.Signals) -> None:
    every = 1 if how == signal.SIGKILL else 3
    for of in killed_at_each_step(tmp_path, store, export_as(name), how, every):
        if how == signal.SIGINT:
            assert {path.name for path in of.out("").iterdir()} <= {name}
        is_sound(of)
        if not is_whole_or_not_there(of, name):
            export_as(name)(of)
            assert is_whole_or_not_there(of, name)
        assert {path.name for path in of.out("").iterdir()} == {name}, "and the next one leaves nothing of the first"


@pytest.mark.real
@pytest.mark.parametrize("fill", [fill_pages, fill_files], ids=lambda fill: fill.__name__)
@pytest.mark.parametrize("name", FORMS)
def test_an_export_that_finds_no_room_says_so_and_leaves_nothing(
    small_disk: Path, name: str, fill: Callable[[Path, int], None]
) -> None:
    for of, refused in full_at_each_point(small_disk, fill, store_in_new, as_told(export_as(name))):
        assert isinstance(of, Store)
        if refused is not None:
            assert isinstance(refused, DiskFull) and str(small_disk) in refused.what and refused.fix, refused
            assert not list(of.out("").iterdir())
        empty_again(small_disk)
        is_sound(of)
        if refused is not None:
            export_as(name)(of)
        assert is_whole_or_not_there(of, name)


def store_in_new(directory: Path) -> Store:
    directory.mkdir(exist_ok=True)
    return store(directory)


def as_told(act: Callable[[Store], None]) -> Callable[[Store], None]:
    """As the command line tells it."""

    def tell(of: Store) -> None:
        try:
            act(of)
        except OSError as error:
            raise told(error) or error from error

    return tell


def bring(of: Store) -> None:
    of.images.bring(of.directory / "saved.tar", "brought")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=lambda how: how.name)
def test_an_import_under_a_name_that_is_ended(tmp_path: Path, how: signal.Signals) -> None:
    for of in killed_at_each_step(tmp_path, store, bring, how, 1 if how == signal.SIGKILL else 3):
        if how == signal.SIGINT:
            assert not [path for path in of.directory.rglob(".*") if path.is_file()]
            assert not list(of.directory.glob("images/objects/incoming/*"))
        is_sound(of)
        bring(of)
        is_sound(of)
        assert set(of.images.names) == {"app", "brought"}


@pytest.mark.real
@pytest.mark.parametrize("fill", [fill_pages, fill_files], ids=lambda fill: fill.__name__)
def test_an_import_under_a_name_that_finds_no_room(small_disk: Path, fill: Callable[[Path, int], None]) -> None:
    for of, refused in full_at_each_point(small_disk, fill, store_in_new, as_told(bring)):
        assert isinstance(of, Store)
        if refused is not None:
            assert isinstance(refused, DiskFull) and refused.fix, refused
        empty_again(small_disk)
        is_sound(of)
        bring(of)
        is_sound(of)
        assert set(of.images.names) == {"app", "brought"}
        assert not [path for path in of.directory.rglob(".*") if path.is_file()]


# Sizes.

SIZES = [0, 1, -1, 1 << 62, 1 << 63, 1 << 70, "large", None, 10.5]


def lying(objects: ObjectStore, digest: str, size: object, what: str) -> str:
    """The same image, its manifest saying that config or layer have this size. Gives its digest."""
    manifest = json.loads(objects.read(digest[7:]))
    descriptor = manifest["config"] if what == "config" else manifest["layers"][0]
    descriptor["size"] = size
    return "sha256:" + objects.put(json.dumps(manifest).encode())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("what", ["config", "layer"])
def test_a_manifest_that_lies_about_sizes_gets_nothing_by_it(tmp_path: Path, what: str, size: object) -> None:
    """A host goes by hashes, and by the tree's own sizes: it makes the very same tree. An export, which needs the layer's size,
    finds the lie and writes nothing."""
    of = store(tmp_path)
    digest = lying(of.images.objects, of.digest, size, what)
    images = Images(of.images.objects, tmp_path / "trees")
    assert images.missing(digest) == []
    assert images.verify(digest) == [] if images.make(digest) else False
    for name in FORMS:
        if what == "layer" and name != "layout":
            with pytest.raises(BadImage, match="manifest says that the layer has") as refused:
                export(of.images, digest, of.out(name), FORMS[name])  # type: ignore[arg-type]
            assert refused.value.exit_code == 2
            assert not list(of.out("").iterdir())


@pytest.mark.parametrize("size", [6299, 6301, 0, -1, 1 << 63, 1 << 33, (8 << 30) + 1])
def test_a_tree_manifest_that_lies_about_sizes_makes_no_tree(tmp_path: Path, size: int) -> None:
    of = store(tmp_path)
    objects = of.images.objects
    manifest = json.loads(objects.read(of.digest[7:]))
    tree = objects.read(parse_manifest(objects.read(of.digest[7:])).tree)
    assert tree.count(b"\t6300\n") == 1
    manifest["annotations"] = {"dev.skerry.tree": objects.put(tree.replace(b"\t6300\n", b"\t%d\n" % size))}
    digest = "sha256:" + objects.put(json.dumps(manifest).encode())
    images = Images(objects, tmp_path / "trees")
    with pytest.raises(SkerryError) as refused:
        images.missing(digest)
        images.make(digest)
    assert refused.value.code == "bad-image", refused.value
    assert images.root(digest) is None and not list((tmp_path / "trees").iterdir())
    for name in FORMS:
        with pytest.raises(BadImage):
            export(of.images, digest, of.out(name), FORMS[name])  # type: ignore[arg-type]
    assert not list(of.out("").iterdir())


def test_what_is_exported_is_what_a_plain_tar_reader_reads(tmp_path: Path) -> None:
    of = store(tmp_path)
    export_as("a.tar")(of)
    with tarfile.open(of.out("a.tar")) as tar:
        assert "index.json" in tar.getnames()
