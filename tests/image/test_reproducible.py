"""Every recipe gives the same digest in two folders, at two times, with two umasks, in two locales and time zones."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from image.memory import elf_of, tar_of
from image.test_archive_recipe import docker_archive
from skerry.image.building.recipes import KINDS, shipped_names

ROOT = Path(__file__).parents[2]
CACHE = ROOT / "build" / "cache"
NODE = Path(__file__).parent / "node"
WAYS = {
    "one": {"umask": "022", "TZ": "UTC", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0", "MTIME": "1700000000"},
    "other": {
        "umask": "077",
        "TZ": "Asia/Tokyo",
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONHASHSEED": "7",
        "MTIME": "86400",
    },
}
GUESTBOOK = ROOT / "examples" / "guestbook" / "web"


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


PROJECTS = {
    "debian": ({"packages": ["redis-tools"], "entrypoint": ["/usr/bin/redis-cli"]}, {}),
    "python": ({"entrypoint": ["python3", "-m", "uvicorn", "guestbook:app"]}, _files(GUESTBOOK)),
    "node": ({"entrypoint": ["node", "server.mjs"]}, _files(NODE)),
    "static": ({"entrypoint": ["server"], "tls": True, "tz": True}, {"server": elf_of()}),
    "site": ({}, {"index.html": b"<p>", "sub/B.html": b"b", "sub/a.html": b"a"}),
    "archive": ({"path": "web.tar"}, {}),
    "dockerfile": None,  # what an engine makes can't be promised
}
NAMES = [name for name in (*KINDS, *shipped_names()) if PROJECTS.get(name, ()) is not None]


@pytest.fixture(scope="module")
def digests(tmp_path_factory):
    """way -> recipe -> what came out, all of it built by two processes."""
    archive = tmp_path_factory.mktemp("archive") / "web.tar"
    docker_archive(archive, tar_of(("srv/server", elf_of()), mode=0o755), Entrypoint=["/srv/server"])
    wanted = []
    for name in NAMES:
        recipe, files = PROJECTS.get(name, ({}, {}))
        files = {"web.tar": archive.read_bytes()} if name == "archive" else files
        coded = {path: base64.b64encode(data).decode() for path, data in files.items()}
        wanted.append({"name": name, "recipe": {"recipe": name, **recipe}, "files": coded})
    ways = {way: begin(tmp_path_factory.mktemp(way), dict(settings), wanted) for way, settings in WAYS.items()}
    return {way: end(process) for way, process in ways.items()}


def begin(folder: Path, settings: dict[str, str], wanted: list) -> subprocess.Popen:
    """Both ways at the same time, with the same downloads."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("two_ways.py")),
        str(folder),
        str(CACHE),
        settings.pop("umask"),
    ]
    (folder / "wanted").write_text(json.dumps(wanted))
    with (folder / "wanted").open() as given:
        return subprocess.Popen(
            command,
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | settings,
            cwd=folder,
        )


def end(process: subprocess.Popen) -> dict:
    try:
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, err
    return json.loads(out)


@pytest.mark.real
@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_gives_one_digest_in_two_places(name, digests):
    assert digests["one"][name] == digests["other"][name]
