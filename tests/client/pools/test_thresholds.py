"""Where two operators must sign: a pool, and who keeps it, is a draft of all its parts until the second one has signed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.small import Aside
from client.pools.test_tokens import pool_of, readable, sealing_of
from client.test_pools import held, rent
from client.test_roles import Person, add_ben

pytestmark = pytest.mark.usefixtures("quick_age")
TOKEN = "dop_v1_first"


@pytest.fixture
def ben(
    small: Aside, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Person:
    """Also root keys alone don't make a policy any more."""
    made = add_ben(ann, lambda name: Person(tmp_path / name, monkeypatch, capsys))
    ann.run("role", "threshold", "policy", "2", code=3)
    assert made.run("sign", "root", "--yes")["accepted"]
    return made


def waits(answer: dict[str, Any]) -> None:
    assert answer["code"] == "threshold-not-met" and "1 of the 2 keys" in answer["why"], answer


def test_a_pool_its_keepers_and_its_end_wait_for_the_second_operator_and_then_work(
    add: Callable[..., Any], small: Aside, ann: Person, ben: Person, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    waits(add("--size", "s-1", "--keepers", "vps-1", "--token-file", str(tmp_path / "token"), code=3))
    assert held(small, "pool/burst") is None and ann.run("machine", "pool", "ls") == []
    (row,) = ben.run("sign")
    assert row["paths"] == ["policy", "pool/burst"]
    done = ben.run("sign", "pool/burst", "--yes")
    said = {(change["path"], change["field"]): change["new"] for change in done["changes"]}
    assert done["accepted"] and said["pool/burst", "max"] == 3 and "keeper-burst" in said.values()
    rent(small, tmp_path, 0, "vps-1")
    assert readable(sealing_of(ben), pool_of(small)) == {TOKEN}

    ann.run("machine", "pool", "set", "burst", "--max", "4")  # bounds are the operators' affair, each alone
    waits(ben.run("machine", "pool", "set", "burst", "--keepers", "vps-2", "--max", "5", code=3))
    assert (pool_of(small).max, set(pool_of(small).keepers)) == (4, {"node/vps-1"}), "all or nothing"
    (row,) = ann.run("sign")
    assert row["paths"] == ["policy", "node/burst/0", "pool/burst"], "what the old keeper signed is signed by operators"
    assert ann.run("sign", "policy", "--yes")["accepted"]
    assert (pool_of(small).max, set(pool_of(small).keepers)) == (5, {"node/vps-2"})
    keys = [small.cloud.files[name].seed("sealing") for name in ("vps-1", "vps-2")]
    assert [readable(key, pool_of(small)) for key in keys] == [set(), {TOKEN}]
    small.wait("its door", lambda: bool(small.cloud.agents["vps-2"].enrolling.port))
    rent(small, tmp_path, 1, "vps-2")


def test_where_operators_sign_by_two_a_bound_waits_too(
    add: Callable[..., Any], small: Aside, ann: Person, ben: Person
) -> None:
    add("--size", "s-1", "--keepers", "vps-1", code=3)
    assert ben.run("sign", "policy", "--yes")["accepted"]
    ann.run("role", "threshold", "operators", "2", code=3)
    assert ben.run("sign", "policy", "--yes")["accepted"]
    waits(ann.run("machine", "pool", "set", "burst", "--max", "9", "--spend", "70", code=3))
    assert ben.run("sign", "pool/burst", "--yes")["accepted"]
    assert (pool_of(small).max, pool_of(small).spend_usd_month) == (9, 70.0)
    waits(ann.run("machine", "pool", "rm", "burst", "--now", code=3))  # first: no machine any more
    assert ben.run("sign", "pool/burst", "--yes")["accepted"] and pool_of(small).max == 0
    waits(ann.run("machine", "pool", "rm", "burst", "--now", code=3))  # then: no pool
    assert ben.run("sign", "pool/burst", "--yes")["accepted"]
    assert ann.run("machine", "pool", "ls") == [] and held(small, "pool/burst").deleted
