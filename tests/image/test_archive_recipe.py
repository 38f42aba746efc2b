"""Recipe archive: images of others, as they are or closed to their entry point, known by the hash of what came in."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from image.memory import elf_of, tar_of
from image.running import image_running, wait_for
from skerry.errors import SkerryError
from skerry.image.building.build import Built, build
from skerry.image.building.pile import Pile
from skerry.image.building.recipe import BadRecipe, parse_recipe
from skerry.image.building.sources.debian import deb_path
from skerry.image.building.sources.lock import read_lock
from skerry.image.building.sources.unpack import unpack_deb
from skerry.image.contract import BuildRefused
from skerry.image.trees import Images
from skerry.store.objects import ObjectStore

CACHE = Path(__file__).parents[2] / "build" / "cache"


def docker_archive(path: Path, layer: bytes, **config: object) -> str:
    """What `docker save` writes, of one layer; gives its hash."""
    diff_id = hashlib.sha256(layer).hexdigest()
    document = {
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": ["web:1"], "Layers": ["layer.tar"]}]
    members = (
        ("config.json", json.dumps(document).encode()),
        ("manifest.json", json.dumps(manifest).encode()),
        ("layer.tar", layer),
    )
    path.write_bytes(tar_of(*members))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def made(folder: Path, **content: object) -> tuple[Built, Images]:
    objects = ObjectStore(folder / ".store")
    recipe = parse_recipe({"recipe": "archive", "path": "web.tar", **content})
    return build(recipe, folder, objects=objects, cache=CACHE), Images(objects, folder / ".trees")


def test_an_archive_without_tools_becomes_an_image_that_bears_the_hash_of_what_came_in(tmp_path):
    program = elf_of()
    layer = tar_of(("srv", None), ("srv/server", program), ("srv/page.html", b"hello"), mode=0o755)
    came_in = docker_archive(
        tmp_path / "web.tar", layer, Entrypoint=["/srv/server"], Cmd=["-v"], WorkingDir="/srv", Env=["A=1", "B=2"]
    )
    found, images = made(tmp_path, environment={"B": "3"}, directories=["/data"])
    config = images.config(found.digest)
    assert (config.entrypoint, config.cmd, config.working_dir) == (("/srv/server",), ("-v",), "/srv")
    assert (dict(config.env), config.user) == ({"A": "1", "B": "3"}, "10001:10001")
    assert config.input == f"sha256:{came_in}" and config.executables == ()
    assert {entry.path for entry in images.tree(found.digest).entries} == {"data", "srv", "srv/page.html", "srv/server"}
    assert read_lock(tmp_path / "skerry.lock", "image").inputs[0].sha256 == came_in
    assert made(tmp_path, environment={"B": "3"}, directories=["/data"])[0].digest == found.digest
    docker_archive(tmp_path / "web.tar", layer, Entrypoint=["/srv/server", "--other"], User="node")
    changed, images = made(tmp_path)
    assert images.config(changed.digest).entrypoint == ("/srv/server", "--other")
    assert images.config(changed.digest).user == "node"


@pytest.mark.real
def test_a_fat_archive_is_slimmed_to_what_its_program_needs_and_runs(tmp_path):
    content = {"recipe": "redis"}
    build(parse_recipe(content), tmp_path, objects=ObjectStore(tmp_path / ".store"), cache=CACHE, name="debs")
    pile = Pile()
    for deb in read_lock(tmp_path / "skerry.lock", "debs").debs:
        pile.add(unpack_deb(deb_path(deb, CACHE), CACHE, deb.name))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path in sorted(pile.paths()):
            file = pile.get(path)
            info = tarfile.TarInfo(path)
            info.mode, info.type, info.linkname = (
                0o755,
                {"d": tarfile.DIRTYPE, "l": tarfile.SYMTYPE, "f": tarfile.REGTYPE}[file.kind],
                file.link,
            )
            info.size = file.size
            tar.addfile(info, io.BytesIO(file.load() if file.kind == "f" else b""))
    docker_archive(
        tmp_path / "web.tar",
        out.getvalue(),
        Entrypoint=["redis-server"],
        Env=["PATH=/usr/local/bin:/usr/bin"],
        User="root",
    )
    with pytest.raises(SkerryError) as refused:
        made(tmp_path)
    assert refused.value.code == "image-refused", refused.value
    found, images = made(tmp_path, slim=True, command=["--protected-mode", "no", "--save", ""])
    assert found.size_bytes < 19e6 and len(found.executables) == 2, found
    assert images.config(found.digest).executables == found.executables
    with image_running(images, found.digest, tmp_path / ".run") as redis:
        assert wait_for(lambda: redis.talk(6379, b"PING\r\n") == b"+PONG\r\n", 10), redis.said
        redis.check_rights()


def test_what_can_not_be_slimmed_is_said(tmp_path):
    docker_archive(
        tmp_path / "web.tar",
        tar_of(("bin/start", b"#!/bin/sh\nexec x"), mode=0o755),
        Entrypoint=["start"],
        Env=["PATH=/bin"],
    )
    with pytest.raises(BuildRefused, match="it is a script for /bin/sh"):
        made(tmp_path, slim=True)
    docker_archive(tmp_path / "web.tar", tar_of(("bin/x", elf_of()), mode=0o755))
    with pytest.raises(BadRecipe, match="nothing to run"):
        made(tmp_path, slim=True)
    assert made(tmp_path, slim=True, entrypoint=["/bin/x"])[0].executables == ("usr/bin/x",)


def test_links_of_an_old_layout_lead_where_they_did(tmp_path):
    layer = tar_of(
        ("lib/a.so", "../opt/real.so"), ("opt/real.so", elf_of()), ("bin/x", elf_of(needed=("a.so",))), mode=0o755
    )
    docker_archive(tmp_path / "web.tar", layer, Entrypoint=["/bin/x"])
    found, images = made(tmp_path, slim=True)
    entries = {entry.path: entry.link for entry in images.tree(found.digest).entries}
    assert entries["usr/lib/a.so"] == "/opt/real.so" and "opt/real.so" in entries


@pytest.mark.parametrize(
    "content",
    [
        {"path": ""},
        {"path": "/etc/x.tar"},
        {"path": "../x.tar"},
        {"packages": ["redis"]},
        {"keep": ["etc/**"]},
        {"programs": ["/bin/x"]},
    ],
)
def test_a_recipe_that_an_archive_can_not_have_is_refused(content):
    with pytest.raises(BadRecipe) as refused:
        parse_recipe({"recipe": "archive", "path": "web.tar", **content})
    assert refused.value.fix


def test_an_archive_that_is_not_there_or_leads_out_of_the_project_is_refused(tmp_path):
    with pytest.raises(BuildRefused, match="no such file"):
        made(tmp_path)
    (tmp_path / "web.tar").symlink_to("/etc/passwd")
    with pytest.raises(BuildRefused, match="no such file"):
        made(tmp_path)
