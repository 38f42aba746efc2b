"""Recipe node: which packages a lock file means, how they are fetched and read, and an image that serves."""

import base64
import hashlib
import io
import json
import re
import shutil
import tarfile
from pathlib import Path

import pytest

from image.memory import elf_of
from image.running import image_running, wait_for
from skerry.image.building.build import build
from skerry.image.building.closure import Closure
from skerry.image.building.pile import Pile, file_of
from skerry.image.building.recipe import BadRecipe, parse_recipe
from skerry.image.building.recipes import kind_of
from skerry.image.building.recipes.kind import Sources
from skerry.image.building.sources.lock import Lock, Module
from skerry.image.building.sources.modules import dependencies_of, module_path, read_package_lock, unpack_module
from skerry.image.contract import BuildRefused, DownloadRefused
from skerry.image.trees import Images
from skerry.store.objects import ObjectStore

PROJECT = Path(__file__).parent / "node"
CACHE = Path(__file__).parents[2] / "build" / "cache"
RECIPE = {"recipe": "node", "entrypoint": ["node", "server.mjs"]}
HASH = "sha512-" + base64.b64encode(bytes(64)).decode()


@pytest.mark.real
def test_a_project_with_its_packages_and_an_addon_serves_without_npm_or_a_shell(tmp_path):
    shutil.copytree(PROJECT, tmp_path / "project")
    objects = ObjectStore(tmp_path)
    found = build(parse_recipe(RECIPE), tmp_path / "project", objects=objects, cache=CACHE)
    assert found.executables == ("usr/bin/node", "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
    assert [said.partition(":")[0].rpartition(" ")[0] for said in found.findings] == ["bufferutil"]
    assert "://" not in (tmp_path / "project" / "skerry.lock").read_text()
    images = Images(objects, tmp_path / "trees")
    with image_running(images, found.digest, tmp_path / "run") as node:
        assert wait_for(lambda: node.get("http://127.0.0.1:8000/")[0] == 200, 15), node.said
        assert json.loads(node.get("http://127.0.0.1:8000/")[2]) == {
            "masked": [254, 253, 252, 251],
            "addon": True,
            "self": "fetched",
            "environment": "production",
            "zone": "1.1.1970, 9:00:00 Japanische Normalzeit",
            "user": 10001,
            "developed": False,
            "shell": "ENOENT",
            "authorities": True,
        }
        node.check_rights()


@pytest.mark.real
def test_a_project_without_a_lock_file_is_locked_by_npm_and_left_as_it_was(tmp_path):
    (tmp_path / "package.json").write_text('{"dependencies": {"ms": "2.1.3"}, "devDependencies": {"is-odd": "3.0.1"}}')
    (tmp_path / "server.js").write_text("console.log(require('ms')('2 days'))")
    recipe = parse_recipe({"recipe": "node", "entrypoint": ["node", "server.js"]})
    objects = ObjectStore(tmp_path / ".store")
    found = build(recipe, tmp_path, objects=objects, cache=CACHE)
    assert {path.name for path in tmp_path.iterdir()} == {"package.json", "server.js", "skerry.lock", ".store"}
    assert build(recipe, tmp_path, objects=objects, cache=CACHE).digest == found.digest
    with image_running(Images(objects, tmp_path / ".trees"), found.digest, tmp_path / ".run") as node:
        node.process.wait(15)
        assert node.said == "172800000\n"


def project(folder: Path, packages: dict, root: dict | None = None, version: int = 3, **package_json) -> Path:
    root = {"dependencies": {"a": "1"}} if root is None else root
    (folder / "package.json").write_text(json.dumps(root | package_json))
    (folder / "package-lock.json").write_text(
        json.dumps({"lockfileVersion": version, "packages": {"": root} | packages})
    )
    return folder


def entry(**more) -> dict:
    return {"version": "1.0.0", "integrity": HASH} | more


def test_what_is_for_development_or_for_other_systems_stays_out_and_one_tarball_may_go_to_two_places(tmp_path):
    packages = {
        "node_modules/a": entry(resolved="https://somewhere.example/a.tgz"),
        "node_modules/b/node_modules/a": entry(),
        "node_modules/alias": entry(name="@scope/real", version="2.0.0-rc.1+x", integrity="sha1-abc " + HASH),
        "node_modules/dev": entry(dev=True),
        "node_modules/bundled": {"version": "1.0.0", "inBundle": True},
        "node_modules/mac": entry(optional=True, os=["darwin"]),
        "node_modules/not-linux": entry(optional=True, os=["!linux"]),
        "node_modules/musl": entry(optional=True, libc=["musl"]),
        "node_modules/here": entry(optional=True, os=["linux"], cpu=["x64", "arm64"], libc=["glibc"]),
        "node_modules/both": entry(devOptional=True),
    }
    found = read_package_lock(project(tmp_path, packages))
    assert {module.name: (module.version, module.paths) for module in found} == {
        "a": ("1.0.0", ("node_modules/a", "node_modules/b/node_modules/a")),
        "@scope/real": ("2.0.0-rc.1+x", ("node_modules/alias",)),
        "here": ("1.0.0", ("node_modules/here",)),
        "both": ("1.0.0", ("node_modules/both",)),
    }
    assert "example" not in repr(found)


@pytest.mark.parametrize(
    ("packages", "more", "said"),
    [
        ({}, {"version": 1}, "version 1"),
        ({}, {"dependencies": {"a": "2"}}, "other packages"),
        ({}, {"workspaces": ["x"]}, "workspaces"),
        ({"node_modules/w": {"link": True, "resolved": "x"}}, {}, "linked in"),
        ({"x": {"version": "1.0.0"}}, {}, "folder of the project"),
        ({"node_modules/a": entry(os=["win32"])}, {}, "other platforms"),
        ({"node_modules/a": {"version": "1.0.0"}}, {}, "no integrity"),
        ({"node_modules/a": entry(integrity="sha1-abc")}, {}, "SHA-512"),
        ({"node_modules/a": entry(integrity="sha512-abc")}, {}, "SHA-512"),
        ({"node_modules/a": entry(resolved="git+ssh://git@x/y.git#1")}, {}, "git"),
        ({"node_modules/a": entry(resolved="file:../a.tgz")}, {}, "file"),
        ({"node_modules/../../etc": entry()}, {}, "odd name"),
        ({"node_modules/a": entry(version="../../x")}, {}, "odd name"),
        ({"node_modules/a": entry(name="http://x/y")}, {}, "odd name"),
    ],
)
def test_a_lock_file_that_can_not_be_kept_to_is_refused_with_what_to_do(packages, more, said, tmp_path):
    with pytest.raises(BuildRefused, match=re.escape(said)) as refused:
        read_package_lock(project(tmp_path, packages, **more))
    assert refused.value.fix


def test_lock_files_of_others_are_answered_with_the_way_to_one_of_npm(tmp_path):
    (tmp_path / "package.json").write_text('{"dependencies": {"a": "1"}}')
    assert json.loads(dependencies_of(tmp_path)) == {"dependencies": {"a": "1"}, "optionalDependencies": {}}
    (tmp_path / "yarn.lock").write_text("")
    with pytest.raises(BuildRefused, match=r"yarn\.lock") as refused:
        dependencies_of(tmp_path)
    assert "package-lock" in refused.value.fix


@pytest.mark.parametrize("words", [["npm", "start"], ["server.js"], ["next"], []])
def test_what_only_npm_or_a_shell_could_start_is_refused(words):
    with pytest.raises(BadRecipe) as refused:
        parse_recipe({"recipe": "node", "entrypoint": words})
    assert "[node, server.js]" in refused.value.fix


def packed(cache: Path, members: dict[str, bytes | str]) -> Module:
    """A tarball in the cache, a text being the target of a link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname, content = tarfile.SYMTYPE, content, b""
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content))
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(out.getvalue()).digest()).decode()
    module = Module("a", "1", integrity, ("node_modules/a", "node_modules/b/node_modules/a"))
    module_path(module, cache).parent.mkdir(parents=True, exist_ok=True)
    module_path(module, cache).write_bytes(out.getvalue())
    return module


def test_a_tarball_is_read_without_its_first_folder_and_its_links(tmp_path):
    module = packed(
        tmp_path, {"package/a.js": b"1", "odd/lib/b.js": b"2", "package/link": "../../etc/passwd", "top": b"3"}
    )
    files = {file.path: file.load() for file in unpack_module(module, tmp_path, "app")}
    assert files == {
        f"app/{place}/{name}": text for place in module.paths for name, text in (("a.js", b"1"), ("lib/b.js", b"2"))
    }


@pytest.mark.parametrize("name", ["package/../../x", "package/..", "package/a\\b"])
def test_a_tarball_that_leaves_its_folder_is_refused(name, tmp_path):
    with pytest.raises(DownloadRefused, match="leaves"):
        unpack_module(packed(tmp_path, {name: b"x"}), tmp_path, "app")


def test_addons_for_other_systems_stay_out_and_scripts_that_did_not_run_are_told():
    mine, other = elf_of(needed=("libc.so.6",)), bytearray(elf_of())
    other[18] = 183  # for ARM, 64 bits
    at = "app/node_modules/"
    files = {
        "usr/bin/node": elf_of(), "usr/lib/x86_64-linux-gnu/libc.so.6": elf_of(),
        at + "p/prebuilds/linux-x64/p.node": mine, at + "p/prebuilds/darwin-arm64/p.node": b"Mach-O",
        at + "p/prebuilds/linux-x64/p.musl.node": elf_of(needed=("libc.musl-x86_64.so.1",)),
        at + "p/package.json": b'{"name": "p", "version": "1.0.0", "scripts": {"install": "node-gyp-build"}}',
        at + "q/build/q.node": bytes(other),
        at + "q/package.json": b'{"name": "q", "version": "2.0.0", "scripts": {"postinstall": "x"}}',
        at + "@s/r/bin/tool": elf_of(),
        at + "@s/r/package.json": b'{"name": "@s/r"}', at + "@s/r/x/package.json": b'{"scripts": {"install": "x"}}',
    }  # fmt: skip
    closure = Closure(Pile(file_of(path, data, "x") for path, data in files.items()))
    kind_of("node").close(closure, parse_recipe(RECIPE), [], Sources(Path(), Lock(""), Path()))
    assert {path for path in closure.kept if path.endswith(".node")} == {at + "p/prebuilds/linux-x64/p.node"}
    assert [said.partition(":")[0] for said in closure.findings] == [
        f"{at}q/build/q.node was left out", f"{at}@s/r/bin/tool is a program", "p 1.0.0", "q 2.0.0",
    ]  # fmt: skip
