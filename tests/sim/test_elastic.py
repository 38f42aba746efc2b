"""`skerry sim elastic`: the product's own rule on a piece of a real trace and on calm made-up ones; files that are no traces."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import pytest
from bench.elastic import NASA, plain_at
from bench.loads import ABRUPT, LOADS

from skerry.cli.main import run
from skerry.sim.elastic import trace
from skerry.sim.elastic.compare import terms_of
from skerry.sim.elastic.fleet import Terms, serve
from skerry.sim.elastic.kubernetes import kubernetes
from skerry.sim.elastic.policies import oracle, plain, skerry

DAYS = 2
POLICIES = {"skerry", "fixed_peak", "kubernetes", "oracle", "plain"}


def test_on_the_days_around_the_launch_it_pays_and_is_late_as_promised() -> None:
    whole = trace.read(NASA)
    terms = terms_of(whole)
    load = whole[10 * 1440 : 14 * 1440]
    own, best = serve(load, terms, skerry(load, terms)), serve(load, terms, oracle(load, terms))
    assert own.late_share <= 0.001
    assert own.paid_ratio <= 1.40 * best.paid_ratio
    assert own.paid_ratio <= 0.85 * kubernetes(load, terms).paid_ratio
    assert own.changes_per_day < 60


@pytest.mark.parametrize("name", [name for name in LOADS if name not in ABRUPT])
def test_on_calm_loads_it_pays_at_most_a_third_more_than_who_knows_what_comes(name: str) -> None:
    load = LOADS[name]()[: DAYS * 1440]
    terms = terms_of(load)
    own, best = serve(load, terms, skerry(load, terms)), serve(load, terms, oracle(load, terms))
    assert own.late_share <= 0.001
    assert own.paid_ratio <= 1.30 * best.paid_ratio
    assert own.paid_ratio <= 1.01 * plain_at(load, own.late_share)  # whole loads, in make bench-elastic: see there
    assert own.changes_per_day < 60


def test_a_machine_is_paid_from_asking_and_serves_once_it_has_started() -> None:
    load, terms = [10, 10, 30, 30, 30, 10], Terms(capacity=10.0, start=2)
    wanted = [1, 1, 1, 3, 3, 1]
    found = serve(load, terms, lambda minute, counts: wanted[minute])
    assert found.paid_ratio == 10 / 12
    assert found.late_share == 60 / 120
    assert round(found.changes_per_day * 6 / 1440) == 4


def test_who_knows_three_minutes_has_nothing_late_and_each_machine_just_in_time() -> None:
    load, terms = [10] * 5 + [30] * 3 + [10] * 4, Terms(capacity=10.0, start=2)
    found = serve(load, terms, oracle(load, terms))
    assert found.late_share == 0
    assert found.paid_ratio == (sum(load) // 10 + 2 * 2) / (sum(load) // 10)


def test_the_plain_rule_goes_up_at_once_and_down_after_its_window() -> None:
    terms = Terms(capacity=10.0)
    load = [8] * 5 + [24] + [8] * 40
    policy, counts = plain(load, terms, down=30), []
    for minute in range(len(load)):
        counts.append(policy(minute, counts))
    assert counts == [1] * 6 + [3] * 30 + [1] * 10


def test_kubernetes_keeps_a_steady_load_at_its_target_and_waits_ten_minutes_before_a_node_goes() -> None:
    terms = Terms(capacity=100.0)
    steady = kubernetes([300] * 600, terms)
    assert 1.2 < steady.paid_ratio < 1.5 and steady.late_share < 0.01
    for minutes, changes in ((14, 0), (100, 3)):
        falling = [300] * 300 + [50] * minutes
        assert round(kubernetes(falling, terms).changes_per_day * len(falling) / 1440) == changes


def written(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["time,hits", "0,1"], "line 1: this is no load trace"),
        (["minute,requests", "0,1", "1,-3"], "line 3: this is no load trace"),
        (["minute,requests", "0,1", "1,two"], "line 3"),
        (["minute,requests", "0,1", "1"], "line 3"),
        (["minute,requests", "0,1", "2,1"], "minute 2 stands where minute 1 should"),
        (["minute,requests", "0," + "9" * 15], "line 2"),
        (["minute,requests", "0,0", "1,0"], "there is no minute with a request"),
        (["minute,requests"], "there is no minute with a request"),
    ],
)
def test_what_is_no_trace_is_refused_with_its_line(
    lines: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sim", "elastic", written(tmp_path / "t.csv", *lines)]) == 2
    assert says in capsys.readouterr().err


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sim", "elastic", str(tmp_path / "none.csv"), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "bad-trace"
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "t.csv.gz").write_bytes(b"no gzip")
    assert run(["sim", "elastic", str(tmp_path / "t.csv")]) == 2
    assert run(["sim", "elastic", str(tmp_path / "t.csv.gz")]) == 2
    assert run(["sim", "elastic", written(tmp_path / "u.csv", "minute,requests", "0,1"), "--start", "90s"]) == 2


def test_one_object_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load = LOADS["daily"]()[:400]
    file = written(
        tmp_path / "t.csv", "minute,requests", *(f"{minute},{requests}" for minute, requests in enumerate(load))
    )
    assert run(["sim", "elastic", file, "--json", "--plot", str(tmp_path / "f.png"), "--start", "3m"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) >= POLICIES and found["machine_start_minutes"] == 3
    for name in POLICIES:
        assert set(found[name]) == {"paid_ratio", "late_share", "changes_per_day"}
        assert 0 <= found[name]["late_share"] <= 1 and found[name]["paid_ratio"] > 0
    picture = (tmp_path / "f.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", picture[16:24]) == (1080, 720)


def test_without_matplotlib_a_picture_is_refused_before_anything_is_reckoned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    file = written(tmp_path / "t.csv", "minute,requests", "0,1")
    assert run(["sim", "elastic", file, "--plot", str(tmp_path / "f.png"), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "no-plotting"
    assert not (tmp_path / "f.png").exists()
    assert run(["sim", "elastic", file, "--json"]) == 0
