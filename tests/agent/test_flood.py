"""A real container that writes as fast as it can: nothing grows without bound, and each line is kept or counted."""

from __future__ import annotations

import pytest
from bench.flood import flood

from skerry.runtime import logfiles

pytestmark = pytest.mark.real
LINES = 1_500_000


async def test_a_flood_is_bounded_and_what_is_left_out_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfiles, "STAYS_S", 0.0)  # nobody follows it
    figures = await flood(LINES)
    assert figures["dropped"] > 0, "it was faster than what is kept"
    assert figures["kept"] > 50_000
    assert abs(figures["kept"] + figures["dropped"] - LINES) < LINES * 0.02, figures
    assert figures["mb_per_s_of_text"] > 5, "the container isn't held up"
    assert figures["agent_cpu_share"] < 0.6, figures
    assert figures["disk_at_most_mb"] < 80, figures
