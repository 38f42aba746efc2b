"""`recipe: site`: the files of a folder, served by nginx. It is the shipped recipe `nginx` with a server made for such a site.

Every file of an image has time 0, so what nginx makes its ETags of (time and size) would give a new version of a file the tag
of the old one if both are of the same length, and browsers would keep the old. The tags are made here, of the content.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from skerry.image.building.pile import File, Pile, file_of, moved
from skerry.image.building.project import project_files
from skerry.image.building.recipe import Recipe, parse_recipe, refused
from skerry.image.building.recipes.kind import APP, SharedData, Sources, config_of
from skerry.image.building.sources.lock import Wants
from skerry.image.contract import BuildRefused
from skerry.image.oci import ImageConfig

if TYPE_CHECKING:
    from skerry.image.building.closure import Closure

ROOT = "srv"
SERVER = """
types {
    text/javascript mjs;
    application/manifest+json webmanifest;
}
map_hash_bucket_size %(bucket)d;
map_hash_max_size %(hashes)d;
map $uri $tag {
    volatile;
    default "";
    include /etc/nginx/tags;
}
map $http_if_none_match $asked {
    default $http_if_none_match;
    "" none;
    ~^W/(?<strong>.+)$ $strong;
}
# What bears a hash in its name never changes; all else is asked for again, which costs a 304.
map $uri $keeping {
    volatile;
    default "no-cache";
    "~[.-][0-9a-f]{8,64}\\.[a-z0-9]+$" "public, max-age=31536000, immutable";
}

server {
    listen 8080;
    root /srv;
    index index.html;
    charset utf-8;
    etag off;
    if_modified_since off;
    absolute_redirect off;
    gzip on;
    gzip_vary on;
    gzip_types text/css text/plain text/javascript text/xml application/javascript application/json application/xml
               application/manifest+json application/rss+xml application/atom+xml image/svg+xml;
    add_header ETag $tag;
    add_header Last-Modified "";
    add_header Cache-Control $keeping;
    add_header X-Content-Type-Options nosniff;
    error_page 404 /404.html;
    log_not_found off;

    location / {
        if ($asked = $tag) {
            return 304;
        }
    }
}
"""


class Site:
    fields = frozenset({"folder"})
    foreign = False
    starts_others = ()

    def check(self, recipe: Recipe) -> None:
        if recipe.folder.startswith("/") or ".." in recipe.folder.split("/"):
            raise refused(f"folder: {recipe.folder!r} leaves the project's folder")
        if recipe.entrypoint:
            raise refused("recipe site has no entrypoint: nginx serves it", "remove it, or use recipe nginx or caddy")

    def wants(self, recipe: Recipe, context: Path) -> Wants:
        return Wants((*_nginx().packages, *recipe.packages))

    def project(self, recipe: Recipe, context: Path, outputs: Sequence[File]) -> list[File]:
        files = moved(outputs, f"{APP}/{recipe.folder}", ROOT)
        source = context / recipe.folder
        if not source.resolve().is_relative_to(context.resolve()):
            raise BuildRefused(f"{source} can't be served", "it is a link out of the project")
        # What is built stands for the folder, which may hold an older result.
        files = files or (project_files(source, ROOT, recipe.exclude) if source.is_dir() else [])
        if not files:
            raise BuildRefused(
                f"{source} can't be served", "there is no file in it", "see `folder` in the recipe: what is served"
            )
        tags = _tags(files)
        sizes = {"bucket": max(64, -(-max(map(len, tags), default=0) // 64) * 64 + 64), "hashes": 2048 + 2 * len(tags)}
        texts = {
            **_nginx().texts,
            "/etc/nginx/conf.d/default.conf": SERVER % sizes,
            "/etc/nginx/tags": "".join(f"{line}\n" for line in tags),
        }
        return [*files, *(file_of(path[1:], text.encode(), "skerry") for path, text in texts.items())]

    def parts(self, recipe: Recipe, sources: Sources) -> Iterable[File]:
        return ()

    def whole(self, recipe: Recipe, sources: Sources) -> None:
        return None

    def close(self, closure: Closure, recipe: Recipe, elves: Sequence[File], sources: Sources) -> None:
        closure.program(_nginx().entrypoint[0])
        closure.glob("etc/nginx/mime.types")

    def shared_data(self, recipe: Recipe, elves: Sequence[File]) -> SharedData:
        return SharedData(bool(recipe.tls), bool(recipe.tz))

    def derive(self, recipe: Recipe, files: Sequence[File], pile: Pile, cache: Path) -> tuple[list[File], list[str]]:
        served = {file.path for file in files if file.path.startswith(ROOT + "/")}
        if not served or f"{ROOT}/index.html" in served:
            return [], []
        return [], [f"there is no index.html in {recipe.folder}: / is answered by 403"]

    def config(self, recipe: Recipe, sources: Sources) -> ImageConfig:
        nginx = _nginx()
        defaults = msgspec.structs.replace(
            recipe,
            command=recipe.command or nginx.command,
            expose=recipe.expose or nginx.expose,
            stop_signal=recipe.stop_signal or nginx.stop_signal,
        )
        return config_of(defaults, working_dir=f"/{ROOT}", entrypoint=nginx.entrypoint)


def _nginx() -> Recipe:
    return parse_recipe({"recipe": "nginx"})


def _tags(files: Iterable[File]) -> list[str]:
    """Lines of a map of nginx from a path to its tag. nginx's maps know no case, so names that differ in nothing else go
    without, as do those that a line can't hold."""
    fitting = [file for file in files if file.kind == "f" and file.path.isprintable() and len(file.path) < 1000]
    times = Counter(file.path.lower() for file in fitting)
    lines = []
    for file in fitting:
        if times[file.path.lower()] == 1:
            path = file.path.removeprefix(ROOT).replace("\\", "\\\\").replace('"', '\\"')
            lines.append(f'"{path}" "\\"{file.sha256[:32]}\\"";')
    return sorted(lines)


KIND = Site()
