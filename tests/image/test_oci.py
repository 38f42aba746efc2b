"""Layer, config and manifest are pure functions of the tree; other tools can read them."""

import contextlib
import hashlib
import io
import json
import shutil
import subprocess
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image.memory import SimpleObjects, file_entry
from skerry.image.archive import import_archive
from skerry.image.contract import BadImage, ImageNotFound
from skerry.image.export import export_layout, export_tar
from skerry.image.local import resolve_image
from skerry.image.manifest import Entry, Tree, tree_of
from skerry.image.oci import ImageConfig, assemble, layer_of, parse_config, parse_manifest

CONFIG = ImageConfig(
    entrypoint=("/app/run",), cmd=("--fast",), env=(("LANG", "C.UTF-8"), ("EMPTY", "")), user="10001:10001", exposed=("80/tcp",),
    stop_signal="SIGINT",
)  # fmt: skip
CONTENT = {"app/run": b"#!", "app/" + "long/" * 40 + "name": b"y" * 600, "etc/empty": b"", "é/ü": b"z"}


@pytest.fixture
def objects(tmp_path):
    return SimpleObjects(tmp_path / "objects")


def small_tree(objects) -> Tree:
    entries = [file_entry(path, data, 0o755 if path == "app/run" else 0o644) for path, data in CONTENT.items()]
    for data in CONTENT.values():
        objects.put(data)
    return tree_of([*entries, Entry("tmp", "d", 0o1777), Entry("bin", "l", 0o777, link="app")])


def stored(objects) -> str:
    image = assemble(small_tree(objects), CONFIG, objects.read)
    for data in (image.manifest, image.config, image.tree.encode()):
        objects.put(data)
    return image.digest


def test_the_layer_is_a_plain_tar_of_the_tree(objects):
    tree = small_tree(objects)
    with tarfile.open(fileobj=io.BytesIO(b"".join(layer_of(tree, objects.read)))) as tar:
        found = {info.name: info for info in tar}
        assert sorted(found) == [entry.path for entry in tree.entries]
        assert {(info.uid, info.gid, info.mtime, info.uname) for info in found.values()} == {(0, 0, 0, "")}
        assert found["tmp"].mode == 0o1777 and found["bin"].linkname == "app"
        assert {name: tar.extractfile(name).read() for name in CONTENT} == CONTENT


def test_the_manifest_names_config_layer_and_tree_by_their_hashes(objects):
    tree = small_tree(objects)
    image = assemble(tree, CONFIG, objects.read)
    refs = parse_manifest(image.manifest)
    layer = b"".join(layer_of(tree, objects.read))
    assert refs.config == hashlib.sha256(image.config).hexdigest()
    assert refs.layers == (hashlib.sha256(layer).hexdigest(),)
    assert refs.tree == tree.sha256
    assert json.loads(image.config)["rootfs"]["diff_ids"] == ["sha256:" + refs.layers[0]]
    assert parse_config(image.config) == CONFIG
    assert assemble(tree, CONFIG, objects.read).digest == image.digest


def test_a_file_of_another_size_than_its_manifest_says_is_not_packed(objects):
    hash = objects.put(b"longer")
    with pytest.raises(BadImage):
        list(layer_of(tree_of([Entry("a", "f", 0o644, sha256=hash, size=3)]), objects.read))


@given(
    st.binary(max_size=100)
    | st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=4).map(lambda x: json.dumps(x).encode())
)
def test_any_bytes_are_refused_or_read_as_manifest_and_config(data):
    for parse in (parse_manifest, parse_config):
        with contextlib.suppress(BadImage):
            parse(data)


def test_what_is_exported_comes_back_with_the_same_digest(objects, tmp_path):
    digest = stored(objects)
    export_layout(digest, objects, tmp_path / "layout")
    export_tar(digest, objects, tmp_path / "image.tar")
    for path in (tmp_path / "layout", tmp_path / "image.tar"):
        fresh = SimpleObjects(tmp_path / f"fresh-{path.name}")
        assert import_archive(path, fresh).digest == digest
        assert resolve_image(path.name, objects=fresh, names={}, base=tmp_path) == digest


@pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")
def test_skopeo_reads_the_layout_and_its_docker_archive_comes_back(objects, tmp_path):
    digest = stored(objects)
    export_layout(digest, objects, tmp_path / "layout", "1")
    shown = subprocess.run(
        ["skopeo", "inspect", f"oci:{tmp_path}/layout:1"], check=True, capture_output=True, text=True
    ).stdout
    assert json.loads(shown)["Digest"] == digest
    archive = tmp_path / "docker.tar"
    command = [
        "skopeo",
        "copy",
        "--insecure-policy",
        "-q",
        f"oci:{tmp_path}/layout:1",
        f"docker-archive:{archive}:app:1",
    ]
    subprocess.run(command, check=True, capture_output=True)
    fresh = SimpleObjects(tmp_path / "fresh")
    assert import_archive(archive, fresh).digest == digest


def test_an_image_is_found_by_digest_name_or_path_and_else_refused_with_what_to_do(objects, tmp_path):
    digest = stored(objects)
    assert resolve_image(digest, objects=objects, names={}, base=tmp_path) == digest
    assert resolve_image("web", objects=objects, names={"web": digest}, base=tmp_path) == digest
    for ref in ("nginx:latest", "sha256:" + "0" * 64, "./no/such.tar"):
        with pytest.raises(ImageNotFound) as refused:
            resolve_image(ref, objects=objects, names={}, base=tmp_path)
        assert "recipe" in refused.value.fix


@pytest.mark.parametrize(
    ("ref", "recipe"),
    [("redis", "redis"), ("redis:7", "redis"), ("redis:7.2-alpine@sha256:" + "a" * 64, "redis"), ("library/caddy", "caddy"),
     ("docker.io/library/nginx:1", "nginx"), ("memcached:1.6", "memcached"), ("mine/redis:7", ""), ("docker.io/mine/redis", ""),
     ("redis/redis", ""), ("red", "")],
)  # fmt: skip
def test_an_official_image_with_a_shipped_recipe_is_answered_with_the_line_to_write(ref, recipe, tmp_path):
    with pytest.raises(ImageNotFound) as refused:
        resolve_image(ref, objects=SimpleObjects(tmp_path), names={}, base=tmp_path)
    line = f"x-skerry: {{image: {{recipe: {recipe}}}}}"
    assert (line in refused.value.fix) is bool(recipe), refused.value.fix
