"""A small cloud beside the test, and the folder of its operator, with one image in the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.small import Aside, SmallCloud, put_image
from agent.unsynced import unsynced
from skerry.client.images import LocalImages

__all__ = ["unsynced"]


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aside]:
    with Aside(SmallCloud(tmp_path_factory.mktemp("hosts"), 3)) as aside:
        yield aside


@pytest.fixture(scope="module")
def home(beside: Aside, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    beside.cloud.home(folder)
    images = LocalImages(folder / "images")
    for n in (1, 2):
        images.tag(f"hello:{n}", put_image(images.objects, {"usr/bin/app": b"program %d" % n}))
    return folder
