"""The shipped recipes, each started for real: user 10001, no capabilities, read-only root, and it answers."""

import os
from pathlib import Path

import pytest

from image.running import image_running, wait_for
from skerry.image.building.build import build
from skerry.image.building.recipe import parse_recipe
from skerry.image.building.recipes import shipped_names
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
    own = {"recipe": "redis", "files": {"/etc/own.conf": "redis.conf"}, "command": ["--include", "/etc/own.conf"]}
    found, images = made(home, own, {"redis.conf": "maxmemory 16mb\nappendonly yes\n"})
    for more in (
        None,
        ["--appendonly", "yes", "--save", "", "--maxmemory", "16mb"],
    ):  # the recipe's command, a service's
        with image_running(images, found.digest, home / "redis", binds={"/data": data}, more=more) as redis:
            assert wait_for(lambda: redis.talk(6379, b"PING\r\n") == b"+PONG\r\n", 10), redis.said
            assert redis.talk(6379, b"CONFIG GET appendonly\r\n").endswith(b"\r\nyes\r\n")
            assert redis.talk(6379, b"CONFIG GET maxmemory\r\n").endswith(b"\r\n16777216\r\n")
            assert redis.talk(6379, b"CONFIG GET dir\r\n").endswith(b"\r\n/data\r\n")


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


SITE = {
    "public/index.html": "<!doctype html><title>ä</title>",
    "public/docs/index.html": "docs",
    "public/app.0123abcd.js": "let x = 1" * 200,
    "public/jquery-extended.js": "1",
    "public/m.mjs": "1",
    "public/site.webmanifest": "{}",
    "public/404.html": "not here",
    "public/.well-known/security.txt": "Contact: x",
    "public/.git/config": "secret",
    'public/odd "name\\$uri.txt': "odd",
    "public/" + "long-" * 40 + "name.txt": "long",
    "public/Case.txt": "one",
    "public/case.txt": "two",
}


def test_site_serves_a_folder_with_types_tags_of_the_content_and_a_page_for_what_is_missing(home):
    found, images = made(home, {"recipe": "site", "folder": "public"}, SITE)
    assert found.size_bytes < 10e6 and found.executables == (LOADER, "usr/sbin/nginx") and found.findings == (), found
    url = "http://127.0.0.1:8080"
    with image_running(images, found.digest, home / "site") as site:
        assert wait_for(lambda: site.get(f"{url}/")[0] == 200, 10), site.said
        site.check_rights()
        status, headers, body = site.get(f"{url}/")
        assert (body.decode(), headers["content-type"]) == (SITE["public/index.html"], "text/html; charset=utf-8")
        assert headers["cache-control"] == "no-cache" and "last-modified" not in headers
        old = headers["etag"]
        assert len(old) == 34
        assert (
            site.get(f"{url}/", If_None_Match=old)[0]
            == site.get(f"{url}/index.html", If_None_Match="W/" + old)[0]
            == 304
        )
        assert site.get(f"{url}/", If_None_Match='"another"')[0] == 200
        assert site.get(f"{url}/", If_Modified_Since="Thu, 01 Jan 2099 00:00:00 GMT")[0] == 200
        types = {
            "docs/": ("text/html; charset=utf-8", "no-cache"),
            "app.0123abcd.js": ("application/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
            "jquery-extended.js": ("application/javascript; charset=utf-8", "no-cache"),
            "m.mjs": ("text/javascript", "no-cache"),
            "site.webmanifest": ("application/manifest+json", "no-cache"),
            ".well-known/security.txt": ("text/plain; charset=utf-8", "no-cache"),
            "odd%20%22name%5C%24uri.txt": ("text/plain; charset=utf-8", "no-cache"),
            "long-" * 40 + "name.txt": ("text/plain; charset=utf-8", "no-cache"),
        }
        for path, (kind, keeping) in types.items():
            status, headers, _ = site.get(f"{url}/{path}")
            assert (status, headers["content-type"], headers["cache-control"]) == (200, kind, keeping), path
            assert site.get(f"{url}/{path}", If_None_Match=headers["etag"])[0] == 304, path
        assert (site.get(f"{url}/Case.txt")[2], site.get(f"{url}/case.txt")[2]) == (b"one", b"two")
        assert site.get(f"{url}/none")[0::2] == (404, b"not here") and site.get(f"{url}/.git/config")[0] == 404
        status, headers, _ = site.get(f"{url}/app.0123abcd.js", Accept_Encoding="gzip")
        assert headers["content-encoding"] == "gzip" and headers["vary"] == "Accept-Encoding"
        assert site.get(f"{url}/app.0123abcd.js", Accept_Encoding="gzip", If_None_Match=headers["etag"])[0] == 304
        assert site.get(f"{url}/docs")[2] == b"docs"  # by a redirect that names neither host nor port
        assert "[warn]" not in site.said and "[error]" not in site.said, site.said
    changed, images = made(
        home, {"recipe": "site", "folder": "public"}, {"public/index.html": "<!doctype html><title>ö</title>"}
    )
    with image_running(images, changed.digest, home / "site") as site:
        assert wait_for(lambda: site.get(f"{url}/", If_None_Match=old)[0] == 200, 10), "same size and time, another tag"


SERVER_C = r"""
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
int main(int count, char **words) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(8000)};
    int one = 1, door = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(door, (void *)&here, sizeof here) || listen(door, 16)) return 1;
    signal(SIGTERM, _exit); /* the first process of a container dies of no signal that it doesn't handle */
    tzset(); /* in /usr/share/zoneinfo */
    for (;;) {
        char asked[4096], page[400];
        int wire = accept(door, 0, 0);
        read(wire, asked, sizeof asked);
        FILE *bundle = fopen("/etc/ssl/certs/ca-certificates.crt", "r");
        sprintf(page, "HTTP/1.0 200 OK\r\n\r\n%s %s %d", words[1], tzname[0], bundle != 0);
        if (bundle) fclose(bundle);
        write(wire, page, strlen(page));
        close(wire);
    }
}
"""


@pytest.mark.parametrize("link", ["-static", "-no-pie"])
def test_static_runs_a_program_that_the_recipe_compiles(link, home):
    steps = {
        "packages": ["gcc", "libc6-dev"],
        "run": ["gcc", "-O2", link, "-o", "server", "server.c"],
        "outputs": ["server"],
    }
    content = {
        "recipe": "static",
        "entrypoint": ["server", "hello"],
        "build": steps,
        "environment": {"TZ": "Asia/Tokyo"},
    }
    found, images = made(home, content, {"server.c": SERVER_C})
    assert set(found.executables) == ({"app/server"} | (set() if link == "-static" else {LOADER})), found
    assert link != "-static" or found.size_bytes < 3e6, found
    with image_running(images, found.digest, home / "static") as server:
        assert wait_for(lambda: server.get("http://127.0.0.1:8000/")[2] == b"hello JST 1", 10), server.said
        server.check_rights()


def test_every_shipped_recipe_is_tried_here():
    tried = {name.removeprefix("test_").partition("_")[0] for name in globals() if name.startswith("test_")}
    assert set(shipped_names()) <= tried | {"postgres", "mariadb"}
