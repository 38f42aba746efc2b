"""A small cloud, its operator's folder with two images, and the API over both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from agent.unsynced import unsynced
from api.serving import Served
from sdk.conftest import beside, home

__all__ = ["beside", "home", "unsynced"]


@pytest.fixture(scope="module")
def served(home: Path) -> Iterator[Served]:
    with Served(home, heartbeat_s=0.1, upload_bytes=1 << 20) as made:
        yield made


@pytest.fixture
def operator(served: Served) -> Iterator[httpx.Client]:
    with served.client("ann", "operator") as client:
        yield client
