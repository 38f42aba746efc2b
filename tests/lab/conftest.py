"""One lab for all tests of a module; each test leaves its hosts on and healed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from checkout import lab_name
from skerry.lab import Lab


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("the lab needs root on Linux")
    lab = Lab(lab_name("t-" + request.module.__name__.rpartition("test_")[2].replace("_", "-")))
    lab.down()
    lab.up(3)
    try:
        yield lab
    finally:
        lab.down()
    assert lab.leftovers() == []
