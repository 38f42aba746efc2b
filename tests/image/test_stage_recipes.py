"""Recipes with a `build` part, carried out for real: from sources to images that run, the same each time."""

import os
import subprocess
from pathlib import Path

import pytest

from skerry.client.images import sandbox
from skerry.image.building.build import Built, build, plan
from skerry.image.building.recipe import BadRecipe, parse_recipe
from skerry.image.building.stage.contract import StageFailed
from skerry.image.trees import Images
from skerry.store.objects import ObjectStore

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
CACHE = ROOT / "build" / "cache"
SERVER = r"""
#include <stdio.h>
#include <math.h>
int main(int argc, char **argv) { printf("hello from %s, %.3f\n", __FILE__, cos(argc)); return 0; }
"""
ADDON = r"""
#include <node_api.h>
static napi_value hi(napi_env env, napi_callback_info info) {
    napi_value said;
    napi_create_string_utf8(env, "high tide of " __DATE__, NAPI_AUTO_LENGTH, &said);
    return said;
}
NAPI_MODULE_INIT() {
    napi_value function;
    napi_create_function(env, "hi", 2, hi, 0, &function);
    napi_set_named_property(env, exports, "hi", function);
    return exports;
}
"""
RECIPE = {
    "recipe": "debian",
    "packages": ["libc6"],
    "entrypoint": ["/app/server"],
    "build": {"packages": ["gcc", "libc6-dev", "make"], "run": ["make"], "outputs": ["server"]},
    "exclude": ["src"],
}


def project(folder: Path, source: str = SERVER) -> Path:
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "main.c").write_text(source)
    (folder / "Makefile").write_text("server: src/main.c\n\t$(CC) $(CFLAGS) -o $@ $< -lm\n")
    return folder


def made(content: dict, folder: Path, home: Path, **options) -> tuple[Built, Images]:
    objects = ObjectStore(home)
    options = {"objects": objects, "cache": CACHE, "sandbox": sandbox()} | options
    return build(parse_recipe(content), folder, **options), Images(objects, home / "trees")


def said(images: Images, built: Built, *command: str) -> str:
    root = images.make(built.digest)
    return subprocess.run(["chroot", root, *command], capture_output=True, text=True, check=True).stdout


def test_a_c_program_becomes_an_image_of_itself_and_its_libraries(tmp_path):
    folder = project(tmp_path / "project")
    built, images = made(RECIPE, folder, tmp_path / "home")
    assert said(images, built, "/app/server") == "hello from src/main.c, 0.540\n"
    assert built.executables == ("app/server", "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
    paths = {entry.path for entry in images.tree(built.digest).entries}
    assert "usr/lib/x86_64-linux-gnu/libm.so.6" in paths and not [p for p in paths if "/bin/" in p or p.endswith(".c")]
    locked = (folder / "skerry.lock").read_text()
    assert '"image:build"' in locked and '"gcc-12"' in locked


def test_folders_umasks_zones_and_moments_do_not_change_the_image(tmp_path, monkeypatch):
    one, _ = made(RECIPE, project(tmp_path / "one"), tmp_path / "home")
    other = project(tmp_path / "deep" / "er" / "two")
    (other / "skerry.lock").write_bytes((tmp_path / "one" / "skerry.lock").read_bytes())
    fresh = tmp_path / "cache"
    (fresh / "stage").mkdir(parents=True)
    for part in ("debs", "unpacked", "index", "stage/roots"):
        (fresh / part).symlink_to(CACHE / part)
    monkeypatch.setenv("TZ", "America/St_Johns")
    for path in other.rglob("*"):
        os.utime(path, (1, 1))
    before = os.umask(0o077)
    try:
        two, _ = made(RECIPE, other, tmp_path / "home2", cache=fresh)
    finally:
        os.umask(before)
    assert one.digest == two.digest


def test_an_edit_is_built_anew_and_no_edit_is_not(tmp_path):
    folder, home = project(tmp_path / "project"), tmp_path / "home"
    first, _ = made(RECIPE, folder, home)
    stages: dict[str, str] = {}
    again, _ = made(RECIPE, folder, home, progress=lambda stage: stages.update({stage.name: stage.state}))
    assert again.digest == first.digest and set(stages.values()) == {"cached"}
    (folder / "src" / "main.c").write_text(SERVER.replace("hello", "good evening"))
    changed, images = made(RECIPE, folder, home)
    assert changed.digest != first.digest and said(images, changed, "/app/server").startswith("good evening")


def test_a_plan_says_what_would_be_run(tmp_path):
    folder, home = project(tmp_path / "project"), tmp_path / "home"
    recipe, objects = parse_recipe(RECIPE), ObjectStore(home)
    before = {stage.name: stage for stage in plan(recipe, folder, objects=objects, cache=CACHE)}
    assert (
        not before["build"].cached and "make" in before["build"].detail and "without network" in before["build"].detail
    )
    assert not (folder / "skerry.lock").exists()
    made(RECIPE, folder, home)
    after = plan(recipe, folder, objects=objects, cache=CACHE)
    assert all(stage.cached for stage in after), after


def test_a_build_that_fails_leaves_no_image_and_says_why(tmp_path):
    folder = project(tmp_path / "project", "int main() { return nonsense; }")
    with pytest.raises(StageFailed) as error:
        made(RECIPE, folder, tmp_path / "home")
    assert "make failed" in error.value.what and "nonsense" in error.value.why and "src/main.c" in error.value.why
    assert not list((tmp_path / "home").glob("objects/*/*"))
    with pytest.raises(StageFailed, match="left no 'serve'"):
        made(RECIPE | {"build": RECIPE["build"] | {"outputs": ["serve"]}}, project(tmp_path / "b"), tmp_path / "home")


def test_a_static_recipe_compiles_its_program(tmp_path):
    """The image is the program alone; the Makefile's own flags come over those of the stage."""
    folder = project(tmp_path / "project")
    (folder / "Makefile").write_text("server: src/main.c\n\t$(CC) $(CFLAGS) -static -o $@ $< -lm\n")
    content = {"recipe": "static", "entrypoint": ["./server"], "build": RECIPE["build"]}
    built, images = made(content, folder, tmp_path / "home")
    assert said(images, built, "/app/server") == "hello from src/main.c, 0.540\n"
    assert built.executables == ("app/server",)


def test_an_addon_of_node_is_compiled_for_the_image_s_own_node(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "tide.c").write_text(ADDON)
    (folder / "binding.gyp").write_text('{"targets": [{"target_name": "tide", "sources": ["tide.c"]}]}')
    (folder / "package.json").write_text('{"name": "tides", "version": "1.0.0"}')
    (folder / "server.js").write_text('console.log(require("./build/Release/tide.node").hi())\n')
    steps = {"packages": ["g++", "libnode-dev", "make", "node-gyp"], "run": ["node-gyp", "rebuild"]}
    content = {
        "recipe": "node",
        "entrypoint": ["node", "server.js"],
        "exclude": ["*.c", "binding.gyp"],
        "build": steps | {"outputs": ["build/Release/tide.node"]},
    }
    built, images = made(content, folder, tmp_path / "home")
    assert said(images, built, "/usr/bin/node", "/app/server.js") == "high tide of Jan  1 1980\n"
    paths = {entry.path for entry in images.tree(built.digest).entries}
    assert "app/build/Release/tide.node" in paths and not [
        path for path in paths if "gyp" in path or path.endswith(".c")
    ]


@pytest.mark.parametrize(
    "wrong, told",
    [
        ({"run": ["make"]}, "outputs"),
        ({"outputs": ["x"]}, "outputs"),
        ({"run": "make", "outputs": ["x"]}, "run"),
        ({"run": ["make"], "outputs": ["/x"]}, "outputs"),
        ({"run": ["make"], "outputs": ["../x"]}, "outputs"),
        ({"run": [[]], "outputs": ["x"]}, "words"),
        ({"run": ["make"], "outputs": ["x"], "packages": ["GCC"]}, "Debian package"),
        ({"run": ["make"], "outputs": ["x"], "sdists": ["y"]}, "python"),
        ({"run": ["make"], "outputs": ["x"], "environment": {"A=B": ""}}, "environment"),
        ({"run": ["make"], "outputs": ["x"], "memory_mib": 1}, "memory_mib"),
        ({"run": ["make"], "outputs": ["x"], "network": True}, "network"),
    ],
)
def test_a_build_part_with_a_mistake_is_refused(wrong, told):
    with pytest.raises(BadRecipe, match=told):
        parse_recipe(RECIPE | {"build": wrong})
