"""`skerry metrics` as a person runs it beside a small cloud: the table, JSON, Prometheus' text, and a host that is gone."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from agent.small import SmallCloud
from client.conftest import commands_beside
from skerry.cli.main import run
from skerry.cli.metrics import shown, sparkline

WITHIN_S = 20.0


def test_figures_are_shown_as_they_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path / "ann"))
    cloud = SmallCloud(tmp_path / "hosts", 2)
    with commands_beside(cloud, tmp_path, monkeypatch) as beside:

        def skerry(*args: str) -> tuple[int, str, str]:
            code = run(["metrics", *args])
            told = capsys.readouterr()
            return code, told.out, told.err

        end_s = time.monotonic() + WITHIN_S
        while (table := skerry("--name", "load1")[1]).count("load1") < 2:
            assert time.monotonic() < end_s, table
            time.sleep(0.1)
        assert table.splitlines()[0].split() == ["SUBJECT", "HOST", "NAME", "TREND", "LAST", "MIN", "MAX"]
        code, out, _ = skerry("vps-1", "--since", "60s", "--json")
        answer = json.loads(out)
        assert code == 0
        assert {series["host"] for series in answer["series"]} == {"vps-1"}
        assert "memory_total_bytes" in {series["name"] for series in answer["series"]}
        assert 'skerry_host_answers{host="vps-2"} 1.0' in skerry("--prometheus")[1]
        code, _, err = skerry("nobody")
        assert (code, "there are no figures of nobody" in err) == (2, True)
        assert skerry("--since", "yesterday")[0] == 2
        assert skerry("--otlp", "collector")[0] == 2

        beside.run(cloud.stop("vps-2"))
        code, out, err = skerry("--name", "load1", "--json")
        assert code == 0
        assert set(json.loads(out)["missing"]) == {"vps-2"}
        assert "vps-2 did not answer" in err
        assert 'skerry_host_answers{host="vps-2"} 0.0' in skerry("--prometheus")[1]
        beside.run(cloud.stop("vps-1"))
        assert skerry()[0] == 4


def test_bars_begin_at_nothing_and_leave_gaps_where_nothing_is_known() -> None:
    assert sparkline([0, 1, None, 2, 4], 5) == "▁▃ ▅█"
    assert sparkline([3.0] * 5, 5) == "█████"
    assert sparkline([0.0] * 3, 3) == "▁▁▁"
    assert sparkline([-2.0, 0.0, 2.0], 3) == "▁▅█"
    assert sparkline([None] * 4, 2) == "  "
    assert len(sparkline([1.0] * 900)) == 30


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "bytes", "-"),
        (64 << 20, "bytes", "64.0 MiB"),
        (1536.0, "bytes/s", "1.5 KiB/s"),
        (0.123, "share", "12.3%"),
        (0.0042, "seconds", "4.2 ms"),
        (1234.0, "count", "1234"),
    ],
)
def test_values_are_shown_with_their_unit(value: float | None, unit: str, text: str) -> None:
    assert shown(value, unit) == text
