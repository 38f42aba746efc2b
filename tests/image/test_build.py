"""Recipes carried out for real: from Debian's and PyPI's packages to images that serve, the same each time."""

import json
import os
import re
import shutil
import time
from pathlib import Path

import msgspec
import pytest
from ruamel.yaml import YAML
from tests.ports import free_port

from image.running import container, get, in_container, post, wait_for
from skerry.image.building.build import Built, build, plan
from skerry.image.building.recipe import BadRecipe, Recipe, parse_recipe
from skerry.image.building.sources.fetch import Gone
from skerry.image.building.work import makers
from skerry.image.contract import BuildRefused
from skerry.image.trees import Images
from skerry.store.objects import ObjectStore

ROOT = Path(__file__).parents[2]
GUESTBOOK = ROOT / "examples" / "guestbook"
CACHE = ROOT / "build" / "cache"  # downloads are kept between runs; results are made anew where a test says so
REAL = pytest.mark.real

PROBE = """
import json, locale, os, socket, ssl, sys, tempfile, time, zoneinfo
with tempfile.TemporaryFile() as file:
    file.write(b"x")
print(json.dumps({
    "locale": locale.setlocale(locale.LC_ALL, "C.utf8"),
    "authorities": ssl.create_default_context().cert_store_stats()["x509_ca"],
    "https": socket.getservbyname("https"),
    "zone": zoneinfo.ZoneInfo("Europe/Berlin").key,
    "user": [os.getuid(), __import__("pwd").getpwuid(os.getuid()).pw_name],
    "shell": os.system("true"),
    "compiled": __import__("email.message").__cached__ is not None,
}))
"""


def recipe_of(service: str) -> tuple[Recipe, Path]:
    content = dict(
        YAML(typ="safe").load((GUESTBOOK / "compose.yaml").read_text())["services"][service]["x-skerry"]["image"]
    )
    return parse_recipe({key: value for key, value in content.items() if key != "context"}), GUESTBOOK / content.get(
        "context", "."
    )


def built(service: str, home: Path, **changes) -> tuple[Built, Images]:
    """The example's service, built from a copy of its folder into a store of its own."""
    recipe, context = recipe_of(service)
    copy = home / "project" / service
    if not copy.exists():
        shutil.copytree(context, copy)
    objects = ObjectStore(home)
    options = {"objects": objects, "cache": CACHE, "name": service} | changes
    return build(recipe, copy, **options), Images(objects, home / "trees")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


def worked_s() -> float:
    """Of processors, by us and what we ran: who else is at work here doesn't count."""
    return sum(os.times()[:4])


@REAL
def test_an_unchanged_service_is_built_at_once_and_an_edit_takes_little_more(home):
    first, _ = built("web", home)
    start_s = worked_s()
    assert built("web", home)[0] == first
    unchanged_s = worked_s() - start_s
    code = home / "project" / "web" / "guestbook.py"
    code.write_text(code.read_text().replace("guestbook 1", "guestbook 2"))
    start_s = worked_s()
    edited, images = built("web", home)
    edited_s = worked_s() - start_s
    before = set(images.objects(first.digest))
    assert len(set(images.objects(edited.digest)) - before) == 5  # manifest, config, tree, the file, its bytecode
    assert (unchanged_s < 1.0, edited_s < 1.5) == (True, True), (unchanged_s, edited_s)


@REAL
def test_each_stage_tells_what_it_does_and_a_plan_says_it_beforehand(tmp_path):
    recipe, _ = recipe_of("store")
    objects = ObjectStore(tmp_path / "store")
    where = {"objects": objects, "cache": tmp_path / "cache", "name": "store"}
    for part in ("debs", "index"):
        if (CACHE / part).is_dir():
            shutil.copytree(CACHE / part, tmp_path / "cache" / part, copy_function=os.link)
    first = plan(recipe, tmp_path, **where)
    assert [(stage.name, stage.cached) for stage in first] == [
        (name, False) for name in ("lock", "assemble", "closure", "pack", "lint")
    ]
    assert "redis-server" in first[0].detail and not (tmp_path / "skerry.lock").exists()
    for state in ("done", "cached"):
        told = []
        found = build(recipe, tmp_path, progress=told.append, **where)
        ends = [(stage.name, stage.state) for stage in told if stage.state != "begun"]
        assert ends == [(name, state) for name in ("lock", "assemble", "closure", "pack", "lint")]
        assert all(stage.cached for stage in plan(recipe, tmp_path, **where))
    assert plan(recipe, tmp_path, **where)[-2].detail == found.digest
    other = msgspec.structs.replace(recipe, command=("--port", "1"))
    assert [stage.cached for stage in plan(other, tmp_path, **where)] == [True, True, True, False, False]


@REAL
def test_images_have_their_program_and_loader_and_little_else(home):
    web, _ = built("web", home)
    store, _ = built("store", home)
    loader = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    assert web.executables == ("usr/bin/python3.11", loader)
    assert store.executables == ("usr/bin/redis-check-rdb", loader)  # redis-server is a link to it
    assert Images(ObjectStore(home), home / "trees").config(store.digest).executables == store.executables
    assert web.size_bytes < 46e6 and store.size_bytes < 18.5e6, (web.size_bytes, store.size_bytes)


@REAL
def test_what_a_recipe_asks_for_and_cannot_have_is_said_plainly(tmp_path):
    objects = ObjectStore(tmp_path)
    for content, said in [
        ({"recipe": "debian", "packages": ["no-such-package"], "entrypoint": ["/usr/bin/x"]}, "no-such-package"),
        ({"recipe": "debian", "packages": ["redis-server"], "entrypoint": ["/usr/bin/x"]}, "/usr/bin/x"),
        (
            {
                "recipe": "debian",
                "packages": ["redis-server"],
                "entrypoint": ["/usr/bin/redis-server"],
                "keep": ["opt/*"],
            },
            "opt",
        ),
    ]:
        with pytest.raises(BuildRefused, match=said):
            build(parse_recipe(content), tmp_path, objects=objects, cache=CACHE, name=said)


@REAL
def test_a_module_that_is_no_python_is_told_when_it_is_built(tmp_path):
    (tmp_path / "good.py").write_text("x = 1\n")
    (tmp_path / "bad.py").write_text("def (\n")
    recipe = parse_recipe({"recipe": "python", "entrypoint": ["python3", "good.py"]})
    found = build(recipe, tmp_path, objects=ObjectStore(tmp_path / ".store"), cache=CACHE)
    assert "bad.py can't be compiled: it is no Python 3.11 (line 1: invalid syntax)" in found.findings
    assert not any("good.py" in finding for finding in found.findings)


@REAL
def test_python_in_its_image_has_locale_authorities_services_zones_and_no_shell(home):
    digest, images = (found := built("web", home))[0].digest, found[1]
    shown = in_container(images.make(digest), ["/usr/bin/python3", "-c", PROBE], home / "probe")
    answer = json.loads(shown)
    assert answer.pop("authorities") > 100
    assert answer.pop("shell") != 0
    assert answer == {
        "locale": "C.utf8",
        "https": 443,
        "zone": "Europe/Berlin",
        "user": [10001, "app"],
        "compiled": True,
    }


@REAL
def test_the_guestbook_serves_says_what_is_missing_and_finds_its_store_again(home):
    web, images = built("web", home)
    store, _ = built("store", home)
    web_port, store_port = free_port(), free_port()
    data = home / "data"
    data.mkdir()
    os.chown(data, 10001, 10001)
    config = images.config(store.digest)
    redis = [*config.entrypoint, *config.cmd, "--bind", "127.0.0.1", "--port", str(store_port)]
    start_web = ["/usr/bin/python3", "-m", "uvicorn", "guestbook:app", "--port", str(web_port)]
    url = f"http://127.0.0.1:{web_port}"
    environment = [f"STORE=127.0.0.1:{store_port}"]
    with container(images.make(web.digest), start_web, home / "web", environment):
        assert wait_for(lambda: get(f"{url}/healthz")[0] == 200, 10)
        assert get(f"{url}/version") == (200, "guestbook 1\n") or get(f"{url}/version")[1].startswith("guestbook")
        began = time.monotonic()
        assert get(f"{url}/entries") == (503, '{"error":"the store is missing"}')
        assert time.monotonic() - began < 5
        assert get(f"{url}/")[0] == 200
        for text in ("first", "second"):
            with container(images.make(store.digest), redis, home / "store", [], {"/data": data}):
                began = time.monotonic()
                assert wait_for(lambda: get(f"{url}/entries")[0] == 200, 5)
                assert post(f"{url}/entries", {"text": text}) == 201
            assert get(f"{url}/entries")[0] == 503
        with container(images.make(store.digest), redis, home / "store", [], {"/data": data}):
            assert wait_for(lambda: get(f"{url}/entries")[0] == 200, 5)
            assert json.loads(get(f"{url}/entries")[1]) == {"entries": ["second", "first"]}


@pytest.mark.parametrize(
    "content",
    [
        {"recipe": "docker"},
        {"recipe": "debian"},
        {"recipe": "debian", "packages": ["a b"], "entrypoint": ["/x"]},
        {"recipe": "debian", "packages": ["abc"], "entrypoint": ["x"]},
        {"recipe": "debian", "packages": ["abc"], "entrypoint": ["/../x"]},
        {"recipe": "python", "unknown": 1},
        {"recipe": "python", "requirements": "../../etc/passwd"},
        {"recipe": "python", "packages": "one"},
        [],
    ],
)
def test_a_recipe_with_a_mistake_is_refused(content):
    with pytest.raises(BadRecipe):
        parse_recipe(content)


def test_a_script_as_entry_point_is_answered_with_the_line_to_write(tmp_path):
    with pytest.raises(BadRecipe, match="uvicorn") as refused:
        recipe = parse_recipe({"recipe": "python", "entrypoint": ["uvicorn", "app:app"]})
        build(recipe, tmp_path, objects=ObjectStore(tmp_path), cache=tmp_path)
    assert "-m, uvicorn" in refused.value.fix


@REAL
def test_a_lock_whose_package_has_vanished_says_so_and_what_to_do(tmp_path):
    recipe = parse_recipe({"recipe": "debian", "packages": ["redis-server"], "entrypoint": ["/usr/bin/redis-server"]})
    build(recipe, tmp_path, objects=ObjectStore(tmp_path), cache=CACHE, name="store")
    lock = tmp_path / "skerry.lock"
    lock.write_text(re.sub(r'("path": "pool/.*/liblzf1_)[^"]*', r"\1gone.deb", lock.read_text()))
    lock.write_text(
        re.sub(r'("name": "liblzf1".*?"sha256": ")[0-9a-f]+', r"\g<1>" + "0" * 64, lock.read_text(), flags=re.DOTALL)
    )
    with pytest.raises(Gone) as refused:
        build(recipe, tmp_path, objects=ObjectStore(tmp_path), cache=CACHE, name="store")
    assert "skerry.lock" in refused.value.fix


def test_what_is_kept_of_builds_counts_for_the_code_that_made_it() -> None:
    """Also for the code that writes trees and layers, which lies beside the builder's."""
    names = {path.name for path in makers()}
    assert {"build.py", "closure.py", "manifest.py", "oci.py", "redis.toml"} <= names
