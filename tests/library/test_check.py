"""`skerry image check`: real programs under strace; and strace's lines, as they are read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from library.conftest import Home
from skerry.client.trial.trace import Asked, parse_trace


@pytest.mark.real
def test_the_store_lacks_nothing(home: Home, tmp_path: Path) -> None:
    found = home("check", "guestbook.store", "-v", f"{folder(tmp_path)}:/data", "--for", "1s", "--json").json
    assert found["missing"] == []
    assert found["exit_code"] == 0
    assert found["asked"] > 20
    assert found["left_out_on_purpose"]
    assert not list((home.images_dir / "trials").iterdir())


@pytest.mark.real
def test_what_a_program_wants_and_the_image_lacks_is_named_with_the_line_that_keeps_it(
    home: Home, tmp_path: Path
) -> None:
    """A part of the standard library, a file of a package, and a shell; without them it would have ended at the first."""
    project = tmp_path / "wants"
    project.mkdir()
    (project / "image.toml").write_text('[image]\nrecipe = "python"\nentrypoint = ["python3", "wants.py"]\n')
    (project / "wants.py").write_text(
        "import sqlite3, subprocess\n"
        "open('/usr/share/doc/libc6/copyright').read()\n"
        "subprocess.run(['/usr/bin/dpkg', '--version'], stdout=subprocess.DEVNULL)\n"
    )
    found = home("check", str(project), "--for", "5s", "--json", code=1).json
    assert found["exit_code"] == 0
    told = {row["path"]: row["write"] for row in found["missing"]}
    assert told["usr/lib/python3.11/sqlite3/__init__.py"] == 'stdlib = ["sqlite3"]'
    assert told["usr/share/doc/libc6/copyright"] == 'keep = ["usr/share/doc/libc6/copyright"]'
    assert told["usr/bin/dpkg"] == 'programs = ["/usr/bin/dpkg"]'
    # What it says is enough: with these lines the program does without the packages.
    (project / "image.toml").write_text(
        '[image]\nrecipe = "python"\nentrypoint = ["python3", "wants.py"]\nstdlib = ["sqlite3"]\n'
        'keep = ["usr/share/doc/libc6/copyright"]\n'
    )
    (project / "wants.py").write_text("import sqlite3\nopen('/usr/share/doc/libc6/copyright').read()\n")
    assert home("run", str(project), "--json").json["exit_code"] == 0
    home("rm", "wants")


@pytest.mark.real
def test_an_image_of_others_is_refused_with_the_reason(home: Home, other: Home, tmp_path: Path) -> None:
    home("export", "guestbook.store", str(tmp_path / "store.tar"))
    refused = other("check", str(tmp_path / "store.tar"), "--json", code=1).json["error"]
    assert refused["code"] == "nothing-to-compare"


@pytest.mark.real
def test_without_strace_it_says_so(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None if name == "strace" else which(name, path=path))
    assert home("check", "guestbook.store", "--json", code=1).json["error"]["code"] == "no-strace"


def folder(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.mkdir()
    return made


LINES = r"""
7 openat(AT_FDCWD</>, "/etc/before", O_RDONLY) = 3</etc/before>
7 execve("/usr/bin/app", ["app", "/no/path"], 0x7ffe /* 3 vars */) = 0
7 access("/etc/missing", F_OK) = -1 ENOENT (No such file or directory)
7 openat(AT_FDCWD</srv>, "rel/../x", O_RDONLY) = 3</srv/x>
7 chdir("/tmp") = 0
7 openat(AT_FDCWD, "here", O_RDONLY) = 3
7 newfstatat(4</usr/lib>, "a\"b\303\251", {st_mode=S_IFREG}, 0) = 0
8 openat(AT_FDCWD</>, "/slow", O_RDONLY <unfinished ...>
7 readlink("/link", "target", 4095) = 6
8 <... openat resumed>) = 3</slow>
9 openat(AT_FDCWD</>, "/slow-missing", O_RDONLY <unfinished ...>
9 <... openat resumed>) = -1 ENOENT (No such file or directory)
7 execve("/bin/sh", ["sh"], 0x0 /* 0 vars */) = 0
7 --- SIGCHLD ---
"""


def test_straces_lines_give_the_paths_that_were_found_after_the_program_began() -> None:
    assert list(parse_trace(LINES.splitlines(), "/usr/bin/app", "/srv")) == [
        Asked("/usr/bin/app", "run"),
        Asked("/srv/x", "opened"),
        Asked("/tmp", "looked at"),
        Asked("/tmp/here", "opened"),
        Asked('/usr/lib/a"bé', "looked at"),
        Asked("/link", "looked at"),
        Asked("/slow", "opened"),
        Asked("/bin/sh", "run"),
    ]


@given(st.lists(st.text(max_size=60), max_size=10))
def test_any_lines_are_read(lines: list[str]) -> None:
    found = list(parse_trace(['7 execve("/a", [], 0) = 0', *(f'7 open("{line}' for line in lines), *lines], "/a", "/"))
    assert all(one.path.startswith("/") for one in found)
