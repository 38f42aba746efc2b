"""The contract, kept by real containers of runc and conmon."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from runtime.bench import OciBench
from runtime.contract import RuntimeContract

pytestmark = pytest.mark.real


class TestRunc(RuntimeContract):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[OciBench]:
        bench = OciBench("runc")
        yield bench
        await bench.finish()
