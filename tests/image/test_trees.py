"""A host's root trees: fetched step by step, whole or not there, shared by hard links, found out when damaged."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from image.memory import SimpleObjects, file_entry
from skerry.image.contract import BadImage, ImageIncomplete
from skerry.image.manifest import Entry, tree_of
from skerry.image.oci import ImageConfig, assemble
from skerry.image.trees import Images

CONTENT = {"usr/bin/app": b"program", "etc/conf": b"text", "etc/same": b"text"}


@pytest.fixture
def image(tmp_path):
    """(digest, where its objects are): an image on another machine."""
    source = SimpleObjects(tmp_path / "source")
    for data in CONTENT.values():
        source.put(data)
    entries = [file_entry(path, data, 0o755 if "bin" in path else 0o644) for path, data in CONTENT.items()]
    entries += [Entry("tmp", "d", 0o1777), Entry("bin", "l", 0o777, link="usr/bin")]
    image = assemble(tree_of(entries), ImageConfig(entrypoint=("/bin/app",), user="10001"), source.read)
    for data in (image.manifest, image.config, image.tree.encode()):
        source.put(data)
    return image.digest, source


@pytest.fixture
def here(tmp_path):
    objects = SimpleObjects(tmp_path / "objects")
    return objects, Images(objects, tmp_path / "trees")


def fetch(digest, source, objects, images) -> list[int]:
    """What an agent does: as long as something is missing, fetch it. Gives how many came in each round."""
    rounds = []
    while missing := images.missing(digest):
        rounds.append(len(missing))
        for hash in missing:
            objects.put(source.read(hash))
    return rounds


def test_an_image_comes_in_three_rounds_and_then_is_whole(image, here):
    digest, source = image
    objects, images = here
    assert images.root(digest) is None
    with pytest.raises(ImageIncomplete):
        images.make(digest)
    assert fetch(digest, source, objects, images) == [1, 2, 2]  # manifest; config and tree; files, each content once
    root = images.make(digest)
    assert images.root(digest) == root == images.make(digest)
    assert {path: (root / path).read_bytes() for path in CONTENT} == CONTENT
    assert (root / "bin").readlink().name == "bin"
    assert [(root / path).stat().st_mode & 0o7777 for path in ("tmp", "etc", "usr/bin/app")] == [0o1777, 0o755, 0o755]
    assert images.config(digest).entrypoint == ("/bin/app",)
    assert images.held() == [digest]
    assert images.verify(digest) == []
    assert set(images.objects(digest)) == {file.name for file in source.directory.iterdir()}


def test_plain_files_share_the_objects_inode_and_programs_do_not(image, here):
    digest, source = image
    objects, images = here
    fetch(digest, source, objects, images)
    root = images.make(digest)
    assert (root / "etc/conf").stat().st_ino == (root / "etc/same").stat().st_ino
    assert (root / "etc/conf").stat().st_nlink == 3
    assert (root / "usr/bin/app").stat().st_nlink == 1


def test_the_umask_does_not_show(image, here):
    digest, source = image
    fetch(digest, source, *here)
    before = os.umask(0o077)
    try:
        root = here[1].make(digest)
    finally:
        os.umask(before)
    assert [(root / path).stat().st_mode & 0o777 for path in (".", "etc", "usr/bin/app")] == [0o755] * 3
    assert (root / "etc/conf").stat().st_mode & 0o004


def test_a_tree_that_was_not_finished_is_not_there_and_goes_at_the_next_start(image, here, monkeypatch, tmp_path):
    digest, source = image
    objects, images = here
    fetch(digest, source, objects, images)
    half = tmp_path / "trees" / f".making-{digest[7:]}-9999999" / "root"
    half.mkdir(parents=True)
    assert images.root(digest) is None and images.held() == []
    assert Images(objects, tmp_path / "trees", alone=False).held() == []
    assert half.exists(), "another command may just be making it"
    assert Images(objects, tmp_path / "trees").held() == []
    assert not half.exists()
    monkeypatch.setattr(Images, "_place", lambda *ignored: (_ for _ in ()).throw(OSError("no space left on device")))
    with pytest.raises(OSError):
        images.make(digest)
    assert list((tmp_path / "trees").iterdir()) == []


def test_damage_in_a_made_tree_is_named(image, here):
    digest, source = image
    fetch(digest, source, *here)
    root = here[1].make(digest)
    (root / "usr/bin/app").write_bytes(b"Program")
    (root / "etc/same").unlink()
    assert here[1].verify(digest) == ["etc/same", "usr/bin/app"]


def test_forgetting_takes_the_tree_and_leaves_the_objects(image, here):
    digest, source = image
    fetch(digest, source, *here)
    here[1].make(digest)
    here[1].forget(digest)
    here[1].forget(digest)
    assert here[1].held() == [] and here[1].root(digest) is None and here[1].missing(digest) == []


def test_a_manifest_that_is_none_or_lies_about_a_size_is_refused(here):
    objects, images = here
    with pytest.raises(BadImage):
        images.missing("sha256:" + objects.put(b"no manifest"))
    with pytest.raises(BadImage):
        images.missing("latest")
    hash = objects.put(b"four")
    tree = tree_of([Entry("a", "f", 0o644, sha256=hash, size=5)])
    image = assemble(tree, ImageConfig(), lambda asked: b"fours")
    for data in (image.manifest, image.config, tree.encode()):
        objects.put(data)
    with pytest.raises(BadImage):
        images.make(image.digest)
    assert images.root(image.digest) is None


def test_an_object_that_was_damaged_on_disk_is_fetched_again_before_a_tree_is_made(image, here):
    digest, source = image
    objects, images = here
    fetch(digest, source, objects, images)
    object = objects.path(next(entry.sha256 for entry in images.tree(digest).files()))
    object.chmod(0o644)
    object.write_bytes(bytes([object.read_bytes()[0] ^ 1]) + object.read_bytes()[1:])
    with pytest.raises(ImageIncomplete, match="damaged"):
        images.make(digest)
    assert fetch(digest, source, objects, images) == [1]
    assert images.verify(digest if images.make(digest) else "") == []


def test_two_threads_that_make_one_image_both_get_it(image, here):
    digest, source = image
    fetch(digest, source, *here)
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: here[1].make(digest), range(8)))) == 1


def test_objects_that_no_held_image_is_made_of_are_collected_once_they_are_old(image, here):
    digest, source = image
    objects, images = here
    fetch(digest, source, objects, images)
    images.make(digest)
    old, young = objects.put(b"of an image that was forgotten"), objects.put(b"of one that is coming in")
    os.utime(objects.path(old), (1000, 1000))
    assert images.collect(came_before_s=2000, dry_run=True) == (1, 30)
    assert images.collect(came_before_s=2000) == (1, 30)
    assert not objects.has(old)
    assert objects.has(young)
    assert images.missing(digest) == []
    for hash in objects:
        os.utime(objects.path(hash), (1000, 1000))
    images.forget(digest)
    assert (
        images.collect(came_before_s=2000).objects == len(CONTENT) + 3
    )  # two share a content; young one, three documents
    assert not list(objects)
