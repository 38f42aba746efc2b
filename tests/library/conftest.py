"""One store of images for all verbs: the guestbook's two, built once by the command itself, from a copy of their folder."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.unsynced import unsynced
from checkout import ROOT, share_downloads
from skerry.cli.main import run
from skerry.client.images import LocalImages

__all__ = ["unsynced"]
SKERRY = str(Path(sys.executable).with_name("skerry"))


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Home:
    """A home of its own, and the command line in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.images_dir = directory / "images"

    @property
    def images(self) -> LocalImages:
        return LocalImages(self.images_dir)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "SKERRY_HOME": str(self.directory), "NO_COLOR": "1"}

    def __call__(self, *words: str, code: int = 0) -> Done:
        """In this process; fails where the exit code is another."""
        out, err = io.StringIO(), io.StringIO()
        before = os.environ.get("SKERRY_HOME")
        os.environ["SKERRY_HOME"] = str(self.directory)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                ended = run(["image", *words])
        finally:
            os.environ.pop("SKERRY_HOME")
            if before is not None:
                os.environ["SKERRY_HOME"] = before
        done = Done(ended, out.getvalue(), err.getvalue())
        assert done.code == code, done
        return done


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guestbook's folder, to be changed by nobody but its builds."""
    folder = tmp_path_factory.mktemp("project") / "guestbook"
    shutil.copytree(ROOT / "examples" / "guestbook", folder)
    return folder


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Home:
    """guestbook.web and guestbook.store are in it. Tests leave these as they are."""
    made = Home(tmp_path_factory.mktemp("home"))
    share_downloads(made.images_dir)
    for service in ("store", "web"):
        made("build", "-f", str(project / "compose.yaml"), service)
    return made


@pytest.fixture
def other(tmp_path: Path) -> Home:
    """An empty one."""
    return Home(tmp_path / "other")


def damage(path: Path, data: bytes) -> None:
    """Other bytes at this path alone, not in what shares them."""
    path.unlink()
    path.write_bytes(data)


@pytest.fixture
def copied(home: Home, tmp_path: Path) -> Iterator[Home]:
    """The session's store again, by hard links, for tests that change it: what they damage they write anew (`damage`)."""
    directory = tmp_path / "copied"
    shutil.copytree(home.images_dir, directory / "images", symlinks=True, copy_function=os.link)
    yield Home(directory)
