"""Projects, locks and recipes that are wrong: a folder with what no image can hold, a lock that somebody edited, an entry point
that is none. Told in words with what to do; the lock stays as it was, and no image gets a name.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from image.tiny import HASH, Tiny, mirror, tiny
from skerry.errors import SkerryError
from skerry.image.building.project import project_files


@pytest.fixture(scope="module", autouse=True)
def address() -> Iterator[None]:
    with mirror() as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKERRY_DEBIAN_MIRROR", address)
        patch.setattr("ssl.SSLContext.load_verify_locations", lambda *args, **options: None)
        yield


def is_refused(of: Tiny, code: str, said: str, **fields: object) -> SkerryError:
    before = {path.name: path.lstat().st_mtime_ns for path in of.project.iterdir()}
    with pytest.raises(SkerryError) as refused:
        of.build(**fields)
    error = refused.value
    assert (error.code, error.exit_code > 0) == (code, True), repr(error)
    assert said in f"{error.what}: {error.why}", repr(error)
    assert error.fix, repr(error)
    assert {path.name: path.lstat().st_mtime_ns for path in of.project.iterdir()} == before
    assert of.images.names == {} and of.rests() == []
    return error


# The recipe's entry point.


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("/usr/bin/gone", "no package of the recipe has it"),
        ("/usr/bin/folder", "no package of the recipe has it"),
        ("/usr/bin/script", "it is a script for /bin/sh"),
        ("/etc/app", "no package of the recipe has it"),
    ],
)
def test_an_entry_point_that_is_not_there_a_folder_or_a_script(tmp_path: Path, program: str, said: str) -> None:
    is_refused(tiny(tmp_path), "build-refused", said, entrypoint=[program])


# The project's folder.


def unreadable(path: Path) -> None:
    path.write_text("secret")
    path.chmod(0)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # a socket's path may not be long
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path.name)
    finally:
        os.chdir(before)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 42)


def link_out(path: Path) -> None:
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (fifo, "neither a file nor a link"),
        (a_socket, "neither a file nor a link"),
        (sparse, "more than 512 MiB"),
        (link_out, "link out of the project"),
    ],
)
def test_what_no_image_can_hold(tmp_path: Path, make: Callable[[Path], None], said: str) -> None:
    make(tmp_path / "odd")
    with pytest.raises(SkerryError) as refused:
        project_files(tmp_path, "app")
    assert str(tmp_path / "odd") in refused.value.what and said in refused.value.why
    assert ".dockerignore" in refused.value.fix
    (tmp_path / ".dockerignore").write_text("odd\n")
    assert project_files(tmp_path, "app") == [], "and that helps"


@pytest.mark.parametrize("name", [b"\xff.py", b"a\nb.py", b"tab\t.py"])
def test_a_name_that_is_no_text(tmp_path: Path, name: bytes) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"x")
    with pytest.raises(SkerryError, match="its name is no text") as refused:
        project_files(tmp_path, "app")
    str(refused.value).encode()  # it can be shown


@pytest.mark.real
@pytest.mark.parametrize("inside", [False, True])
def test_a_file_or_folder_that_may_not_be_read(inside: bool) -> None:
    """As somebody who isn't root, for whom there is no such thing."""
    top = Path(subprocess.run(["mktemp", "-d"], check=True, capture_output=True, text=True).stdout.strip())
    top.chmod(0o755)
    odd = top / "folder" if inside else top / "secret"
    if inside:
        odd.mkdir(0o700)
    else:
        unreadable(odd)
    os.seteuid(65534)
    try:
        with pytest.raises(SkerryError, match="can't be read: Permission denied") as refused:
            project_files(top, "app")
    finally:
        os.seteuid(0)
        subprocess.run(["rm", "-r", str(top)], check=True)
    assert str(odd) in refused.value.what and refused.value.fix


@pytest.mark.parametrize(
    ("named", "code", "said"),
    [
        ("../outside", "bad-recipe", "leaves the project"),
        ("/etc/passwd", "bad-recipe", "leaves the project"),
        ("link", "build-refused", "link out of the project"),
        ("odd", "build-refused", "no such file"),
        ("big", "build-refused", "more than 512 MiB"),
    ],
)
def test_a_file_that_the_recipe_names_and_no_image_can_hold(tmp_path: Path, named: str, code: str, said: str) -> None:
    of = tiny(tmp_path)
    fifo(of.project / "odd")
    link_out(of.project / "link")
    sparse(of.project / "big")
    with pytest.raises(SkerryError) as refused:
        of.build(files={"/etc/app": named})
    assert refused.value.code == code and said in refused.value.why
    assert of.images.names == {}


def test_a_folder_that_is_gone_or_a_file(tmp_path: Path) -> None:
    of = tiny(tmp_path)
    for wrong in (tmp_path / "gone", of.project / "conf"):
        with pytest.raises(SkerryError, match="not a folder"):
            of._replace(project=wrong).build()
    assert of.images.names == {}


# The lock.


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    def edit(text: str) -> str:
        whole = json.loads(text)
        change(whole["images"]["app"]["debs"][0])
        return json.dumps(whole)

    return edit


def setting(key: str, value: object) -> Callable[[str], str]:
    return edited(lambda deb: deb.__setitem__(key, value))


def wheel(**changed: object) -> Callable[[str], str]:
    def edit(text: str) -> str:
        whole = json.loads(text)
        good = {"name": "a", "version": "1", "sha256": HASH, "size": 1, "file": "a-1-py3-none-any.whl"}
        whole["images"]["app"]["wheels"] = [{**good, **changed}]
        return json.dumps(whole)

    return edit


EDITS: dict[str, tuple[Callable[[str], str], str]] = {
    "half of it": (lambda text: text[: len(text) // 2], "bad-lock"),
    "two of a merge": (lambda text: f"<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> other\n", "bad-lock"),
    "not text": (lambda text: "\0\ud800", "bad-lock"),
    "nested without end": (lambda text: '{"images":' + "[" * 100_000, "bad-lock"),
    "a later format": (lambda text: text.replace('"format": 1', '"format": 2'), "bad-lock"),
    "a list": (lambda text: "[]", "bad-lock"),
    "without a hash": (edited(lambda deb: deb.pop("sha256")), "bad-lock"),
    "a path for a hash": (setting("sha256", "../../../../etc/passwd"), "bad-lock"),
    "a hash in capitals": (setting("sha256", HASH.upper()), "bad-lock"),
    "a negative size": (setting("size", -1), "bad-lock"),
    "a size of 2^63": (setting("size", 1 << 63), "bad-lock"),
    "a size in words": (setting("size", "large"), "bad-lock"),
    "a path upwards": (setting("path", "pool/../../../other/x.deb"), "bad-lock"),
    "an address": (setting("path", "//elsewhere/x.deb"), "bad-lock"),
    "another archive": (setting("archive", "ubuntu"), "bad-lock"),
    "a name with an option": (wheel(name="a --index-url http://elsewhere"), "bad-lock"),
    "a version with a line": (wheel(version="1\n--extra-index-url http://elsewhere"), "bad-lock"),
    "a file upwards": (wheel(file="../../x.whl"), "bad-lock"),
    "another hash": (setting("sha256", "0" * 64), "download-refused"),
    "a size too small": (setting("size", 10), "download-refused"),
    "a size too large": (setting("size", 1 << 20), "download-refused"),
    "a package that has vanished": (setting("path", "pool/main/a/app/app_0_amd64.deb"), "download-gone"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_lock_that_was_edited(tmp_path: Path, name: str) -> None:
    edit, code = EDITS[name]
    of = tiny(tmp_path)
    lock = of.project / "skerry.lock"
    lock.write_bytes(edit(lock.read_text()).encode("utf-8", "surrogatepass"))
    error = is_refused(of, code, "")
    assert "lock" in f"{error.what} {error.why} {error.fix}"
    assert not list((of.home / "cache").rglob("*.deb")) if (of.home / "cache").exists() else True


def test_a_lock_that_is_a_folder(tmp_path: Path) -> None:
    of = tiny(tmp_path)
    (of.project / "skerry.lock").unlink()
    (of.project / "skerry.lock").mkdir()
    is_refused(of, "bad-lock", "not a file")
