"""The shipped recipes, each started for real: user 10001, no capabilities, read-only root, and it answers."""

import os
from pathlib import Path

import pytest

from image.running import image_running, wait_for
from skerry.image.build import build
from skerry.image.recipe import parse_recipe
from skerry.image.recipes import shipped_names
from skerry.image.trees import Images
from skerry.store.objects import ObjectStore

pytestmark = pytest.mark.real
CACHE = Path(__file__).parents[2] / "build" / "cache"
LOADER = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("shipped")


def made(home: Path, content: dict, files: dict[str, str] | None = None):
    """The image of a recipe with these files beside it: what `build` says, and the store."""
    project = home / f"project-{content['recipe']}"
    for path, text in (files or {}).items():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(text)
    project.mkdir(exist_ok=True)
    objects = ObjectStore(home)
    found = build(parse_recipe(content), project, objects=objects, cache=CACHE)
    return found, Images(objects, home / "trees")


def own_folder(home: Path, name: str) -> Path:
    folder = home / name
    folder.mkdir()
    os.chown(folder, 10001, 10001)
    return folder


def test_redis_answers_keeps_its_data_and_takes_more_options(home):
    found, images = made(home, {"recipe": "redis"})
    assert found.size_bytes < 18e6 and found.executables == ("usr/bin/redis-check-rdb", LOADER), found
    data = own_folder(home, "data")
    with image_running(images, found.digest, home / "redis", binds={"/data": data}) as redis:
        assert wait_for(lambda: redis.talk(6379, b"PING\r\n") == b"+PONG\r\n", 10), redis.said
        assert redis.talk(6379, b"SET a 1\r\n") == b"+OK\r\n" and redis.talk(6379, b"SAVE\r\n") == b"+OK\r\n"
        redis.check_rights()
    options = ["--appendonly", "yes", "--save", ""]
    with image_running(images, found.digest, home / "redis", binds={"/data": data}, more=options) as redis:
        assert wait_for(lambda: redis.talk(6379, b"PING\r\n") == b"+PONG\r\n", 10), redis.said
        assert redis.talk(6379, b"CONFIG GET appendonly\r\n").endswith(b"\r\nyes\r\n")


def test_memcached_answers(home):
    found, images = made(home, {"recipe": "memcached"})
    assert found.size_bytes < 18e6 and found.executables == ("usr/bin/memcached", LOADER), found
    with image_running(images, found.digest, home / "memcached", more=["-m", "16"]) as memcached:
        assert wait_for(lambda: memcached.talk(11211, b"version\r\n").startswith(b"VERSION 1."), 10), memcached.said
        assert b"limit_maxbytes 16777216" in memcached.talk(11211, b"stats\r\n")
        memcached.check_rights()


def test_nginx_answers_logs_to_its_output_and_takes_the_projects_server(home):
    found, images = made(home, {"recipe": "nginx"})
    assert found.size_bytes < 10e6 and found.executables == (LOADER, "usr/sbin/nginx"), found
    with image_running(images, found.digest, home / "nginx") as nginx:
        assert wait_for(lambda: nginx.get("http://127.0.0.1:8080/")[0] == 200, 10), nginx.said
        assert nginx.get("http://127.0.0.1:8080/")[1]["content-type"] == "text/html"
        assert nginx.get("http://127.0.0.1:8080/none")[0] == 404
        assert wait_for(lambda: '"GET /none HTTP/1.1" 404' in nginx.said, 5)  # written after the answer went out
        nginx.check_rights()
    own = {"recipe": "nginx", "files": {"/etc/nginx/conf.d/default.conf": "site.conf"}}
    server = "server { listen 9000; location / { default_type text/plain; return 200 mine; } }"
    found, images = made(home, own, {"site.conf": server})
    with image_running(images, found.digest, home / "nginx") as nginx:
        assert wait_for(lambda: nginx.get("http://127.0.0.1:9000/")[2] == b"mine", 10), nginx.said
        assert "[alert]" not in nginx.said and "[emerg]" not in nginx.said


def test_caddy_serves_a_folder_without_a_word_of_complaint(home):
    content = {"recipe": "caddy", "files": {"/srv": "public"}}
    found, images = made(home, content, {"public/index.html": "<p>hello", "public/a.css": "p {}"})
    assert found.executables == ("usr/bin/caddy", LOADER), found
    with image_running(images, found.digest, home / "caddy") as caddy:
        assert wait_for(lambda: caddy.get("http://127.0.0.1:8080/")[2] == b"<p>hello", 10), caddy.said
        assert caddy.get("http://127.0.0.1:8080/a.css")[1]["content-type"].startswith("text/css")
        assert '"level":"error"' not in caddy.said
        caddy.check_rights()


def test_every_shipped_recipe_is_tried_here():
    tried = {name.removeprefix("test_").partition("_")[0] for name in globals() if name.startswith("test_")}
    assert set(shipped_names()) <= tried | {"postgres", "mariadb"}
