"""The operator's own image store: what no build names any more goes once it is old, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from image.memory import file_entry
from skerry.client.images import LocalImages
from skerry.image.manifest import tree_of
from skerry.image.oci import ImageConfig, assemble


def image_of(local: LocalImages, *contents: bytes) -> str:
    for data in contents:
        local.objects.put(data)
    tree = tree_of([file_entry(f"f{n}", data) for n, data in enumerate(contents)])
    image = assemble(tree, ImageConfig(), local.objects.read)
    for data in (image.manifest, image.config, image.tree.encode()):
        local.objects.put(data)
    return image.digest


def all_old(local: LocalImages) -> None:
    for hash in local.objects:
        os.utime(local.objects.path(hash), (1000, 1000))


def test_only_what_no_name_needs_is_collected_and_only_when_it_is_old(tmp_path: Path) -> None:
    local = LocalImages(tmp_path)
    named, earlier, asked = (
        image_of(local, b"shared", b"new"),
        image_of(local, b"shared", b"old"),
        image_of(local, b"x"),
    )
    (tmp_path / "names.json").write_bytes(msgspec.json.encode({"web.web": named}))
    assert local.collect(older_than_s=60).objects == 0, "all of it came just now"
    all_old(local)
    local.images.make(earlier)
    os.utime(tmp_path / "trees" / earlier[7:] / "ready", (1000, 1000))
    would = local.collect(older_than_s=60, keep=[asked], dry_run=True)
    assert local.images.root(earlier) is not None
    assert local.collect(older_than_s=60, keep=[asked]) == would
    assert would.objects == 4, "one file, config, tree and manifest: the other file is shared"
    assert local.images.missing(named) == local.images.missing(asked) == []
    assert local.images.root(earlier) is None and local.images.missing(earlier) == [earlier[7:]]


def test_what_a_build_puts_again_counts_as_just_come(tmp_path: Path) -> None:
    local = LocalImages(tmp_path)
    image_of(local, b"one")
    all_old(local)
    again = image_of(local, b"one")
    assert local.collect(older_than_s=60).objects == 0
    assert local.images.missing(again) == []


MANY = """
import sys
from pathlib import Path
from skerry.client.images import LocalImages
from skerry.image.manifest import Entry, tree_of
from skerry.image.oci import ImageConfig, assemble
for number in range(40):
    local = LocalImages(Path(sys.argv[1]))  # as each command does
    data = [b"%d-%d" % (number, part) for part in range(20)]
    tree = tree_of(Entry(f"f{n}", "f", 0o644, sha256=local.objects.put(each), size=len(each)) for n, each in enumerate(data))
    image = assemble(tree, ImageConfig(), local.objects.read)
    for each in (image.manifest, image.config, image.tree.encode()):
        local.objects.put(each)
    local.tag(f"{sys.argv[2]}-{number}", image.digest)
    root = local.images.make(image.digest)
    assert (root / "f7").read_bytes() == data[7]
"""


def test_commands_side_by_side_lose_nothing_of_one_another(tmp_path: Path) -> None:
    """Each makes the same images, trees and names of its own; what one has on its way in is not swept up by the next."""
    started = [subprocess.Popen([sys.executable, "-c", MANY, str(tmp_path), name]) for name in ("a", "b", "c")]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    local = LocalImages(tmp_path)
    assert len(local.names) == 120
    assert len(set(local.names.values())) == 40
    assert all(local.images.verify(digest) == [] for digest in local.names.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["names.json", "objects", "trees"]


def test_a_lock_that_a_killed_command_left_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no lock for folders; where it has, a lock ends with whoever holds it."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    local = LocalImages(tmp_path)
    lock = tmp_path / ".skerry-changes"
    lock.touch()
    os.utime(lock, (1000, 1000))
    local.tag("web", "sha256:" + "0" * 64)
    assert local.names == {"web": "sha256:" + "0" * 64}
    assert not lock.exists()
