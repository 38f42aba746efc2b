"""For clouds in one process, whose power doesn't fail: nothing waits for the disk, which on a busy machine takes most of the time."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def unsynced() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sync", lambda: None)
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, lambda file: None)
        yield


@pytest.fixture(name="unsynced", scope="module", autouse=True)
def synced() -> None:
    """For a module whose acts are ended at each step on the disk, where a sync is one of them."""
