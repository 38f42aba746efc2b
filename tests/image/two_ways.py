"""Builds what it is told, prints the digests: run by test_reproducible in two processes that differ in all that must not count.

Arguments: a folder to work in, the shared cache of downloads. Standard input: a list of {name, recipe, files: {path: text}}, JSON.
"""

import base64
import json
import os
import sys
import time
from pathlib import Path

from skerry.image.building.build import build
from skerry.image.building.recipe import parse_recipe
from skerry.store.objects import ObjectStore

SHARED = (
    "debs",
    "wheels",
    "modules",
    "index",
    "unpacked",
    "interpreters",
)  # what came from others, and is checked by hash


def main() -> None:
    folder, downloads = Path(sys.argv[1]), Path(sys.argv[2])
    cache = folder / "cache"
    cache.mkdir()
    for part in SHARED:
        (downloads / part).mkdir(exist_ok=True, parents=True)
        (cache / part).symlink_to(downloads / part)
    objects = ObjectStore(folder / "store")
    digests = {}
    for number, one in enumerate(json.load(sys.stdin)):
        project = folder / f"project-{number}"
        project.mkdir()
        for path, data in one["files"].items():
            (project / path).parent.mkdir(parents=True, exist_ok=True)
            (project / path).write_bytes(base64.b64decode(data))
            os.utime(project / path, (time.time() - 1e8 * number, float(os.environ["MTIME"])))
        built = build(parse_recipe(one["recipe"]), project, objects=objects, cache=cache)
        digests[one["name"]] = [
            built.digest,
            built.init.digest if built.init else "",
            (project / "skerry.lock").read_text(),
        ]
    json.dump(digests, sys.stdout)


os.umask(int(sys.argv[3], 8))
main()
