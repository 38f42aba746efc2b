"""Archives of others: layers over each other as a container runtime would lay them, and every trick refused."""

import gzip
import io
import json
import tarfile
from hashlib import sha256

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from image.memory import SimpleObjects, tar_of
from skerry.image.archive import import_archive
from skerry.image.contract import BadImage
from skerry.image.layers import Layers
from skerry.image.manifest import parse_tree
from skerry.image.oci import parse_config, parse_manifest


def laid(objects, *layers: bytes) -> dict[str, str]:
    """path -> content, link target or "/" of what comes out."""
    stack = Layers(objects)
    for layer in layers:
        stack.add(io.BytesIO(layer))
    kinds = {"d": lambda e: "/", "l": lambda e: "-> " + e.link, "f": lambda e: objects.read(e.sha256).decode()}
    return {entry.path: kinds[entry.kind](entry) for entry in stack.tree().entries}


@pytest.fixture
def objects(tmp_path):
    return SimpleObjects(tmp_path / "objects")


def hard_link(name: str, target: str) -> tuple[str, tarfile.TarInfo]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.LNKTYPE, target
    return name, info


def test_an_upper_layer_replaces_adds_and_takes_away(objects):
    lower = tar_of(("etc", None), ("etc/a", b"1"), ("etc/b", b"1"), ("opt/c/d", b"1"))
    upper = tar_of(("etc/a", b"2"), ("etc/.wh.b", b""), (".wh.opt", b""), ("new", b"2"))
    assert laid(objects, lower, upper) == {"etc": "/", "etc/a": "2", "new": "2"}


def test_an_opaque_folder_hides_what_is_below_but_not_what_comes_with_it(objects):
    lower = tar_of(("a/old", b"1"), ("a/deep/old", b"1"))
    upper = tar_of(("a/new", b"2"), ("a/.wh..wh..opq", b""))
    assert laid(objects, lower, upper) == {"a": "/", "a/new": "2"}


def test_a_hard_link_is_the_file_it_names(objects):
    assert laid(objects, tar_of(("a", b"1"), hard_link("b", "a"))) == {"a": "1", "b": "1"}


def test_a_path_through_a_link_lands_where_the_link_leads_inside(objects):
    lower = tar_of(("usr/bin/x", b"1"), ("bin", "usr/bin"), ("abs", "/usr"))
    assert laid(objects, lower, tar_of(("bin/y", b"2"), ("abs/z", b"2"))) == {
        "abs": "-> /usr", "bin": "-> usr/bin", "usr": "/", "usr/bin": "/", "usr/bin/x": "1", "usr/bin/y": "2", "usr/z": "2",
    }  # fmt: skip


def test_a_link_upwards_stays_inside(objects):
    tree = laid(objects, tar_of(("up", "../../../.."), ("up/etc/passwd", b"mine")))
    assert tree == {"etc": "/", "etc/passwd": "mine", "up": "-> ../../../.."}


def test_a_file_takes_the_place_of_a_folder_and_the_other_way_round(objects):
    assert laid(objects, tar_of(("a/b", b"1")), tar_of(("a", b"2"))) == {"a": "2"}
    assert laid(objects, tar_of(("a", b"1")), tar_of(("a/b", b"2"))) == {"a": "/", "a/b": "2"}


def test_set_user_id_and_devices_are_dropped_and_told(objects):
    stack = Layers(objects)
    device = tarfile.TarInfo("dev/sda")
    device.type = tarfile.BLKTYPE
    stack.add(io.BytesIO(tar_of(("bin/su", b"1"), mode=0o4755)))
    stack.add(io.BytesIO(tar_of(("dev/sda", device))))
    assert [(entry.path, entry.mode) for entry in stack.tree().files()] == [("bin/su", 0o755)]
    assert len(stack.findings) == 2


@pytest.mark.parametrize(
    "members",
    [
        [("../evil", b"1")],
        [("/etc/passwd", b"1")],
        [("a/../../b", b"1")],
        [hard_link("b", "../../etc/passwd")],
        [hard_link("b", "/etc/passwd")],
        [("a", "b"), ("b", "a"), ("a/c", b"1")],
        [("a\nb", b"1")],
    ],
)
def test_paths_and_links_that_trick_are_refused(objects, members):
    with pytest.raises(BadImage):
        laid(objects, tar_of(*members))


@given(st.binary(max_size=2000), st.integers(0, 1500))
def test_a_layer_with_any_damage_is_read_or_refused(tmp_path_factory, noise, at):
    objects = SimpleObjects(tmp_path_factory.getbasetemp() / "noise")
    whole = tar_of(("a", b"1"), ("b/c", b"2"))
    stack = Layers(objects)
    try:
        stack.add(io.BytesIO(whole[:at] + noise + whole[at + len(noise) :]))
        stack.tree()
    except BadImage:
        pass


def docker_archive(layers: list[bytes], packed: list[bytes] | None = None) -> bytes:
    config = {
        "architecture": "amd64",
        "config": {"Entrypoint": ["/bin/app"], "User": "app"},
        "rootfs": {"diff_ids": [f"sha256:{sha256(layer).hexdigest()}" for layer in layers]},
    }
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": "config.json", "Layers": names, "RepoTags": ["app:1"]}]
    parts = [("manifest.json", json.dumps(manifest).encode()), ("config.json", json.dumps(config).encode())]
    return tar_of(*parts, *zip(names, packed or layers, strict=True))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_a_docker_archive_becomes_an_image_of_ours(objects, tmp_path, pack):
    layers = [tar_of(("bin/sh", b"1"), mode=0o755), tar_of(("etc/x", b"2"))]
    path = tmp_path / "app.tar"
    path.write_bytes(docker_archive(layers, [pack(layer) for layer in layers]))
    imported = import_archive(path, objects)
    refs = parse_manifest(objects.read(imported.digest[7:]))
    assert parse_config(objects.read(refs.config)).entrypoint == ("/bin/app",)
    assert [entry.path for entry in parse_tree(objects.read(refs.tree)).entries] == ["bin", "bin/sh", "etc", "etc/x"]
    assert any("bin/sh is a shell" in finding for finding in imported.findings)


def test_a_layer_that_is_not_the_one_its_config_names_is_refused(objects, tmp_path):
    path = tmp_path / "app.tar"
    path.write_bytes(docker_archive([tar_of(("a", b"1"))], [tar_of(("a", b"2"))]))
    with pytest.raises(BadImage, match="another hash"):
        import_archive(path, objects)


def test_files_that_are_no_archive_are_refused(objects, tmp_path):
    for content in (b"", b"hello", tar_of(("a", b"1")), docker_archive([tar_of(("a", b"1"))])[:1500]):
        path = tmp_path / "some.tar"
        path.write_bytes(content)
        with pytest.raises(BadImage):
            import_archive(path, objects)


def test_a_layout_whose_blob_is_a_link_out_of_it_is_refused(objects, tmp_path):
    layout = tmp_path / "layout"
    layout.mkdir()
    (layout / "index.json").symlink_to("/etc/hostname")
    with pytest.raises(BadImage):
        import_archive(layout, objects)
