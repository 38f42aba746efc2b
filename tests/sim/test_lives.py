"""Whole lives of random clouds: whatever happens, what design.md section 7 promises holds. `skerry sim run` plays them again.

A fixed range of seeds, cheap enough for every run; `make sim` lives thousands. Each plan in found/ once showed a fault.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from skerry.cli.sim import command
from skerry.core.rollout import MayMove
from skerry.sim.lives import told
from skerry.sim.lives.life import run
from skerry.sim.lives.many import run_many
from skerry.sim.lives.plan import Act, Plan, draw
from skerry.sim.lives.shrink import shrink

FOUND = sorted((Path(__file__).parent / "found").glob("*.json"))


@pytest.mark.parametrize("first", range(0, 60, 10))
def test_whatever_happens_what_must_hold_holds(first: int) -> None:
    figures = run_many(first, 10, jobs=1)
    assert figures.broken == 0, figures.again


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_a_plan_once_showed_stays_mended(path: Path) -> None:
    wrong, life = run(told.read(path))
    assert wrong == [], life.log


def test_a_seed_says_all() -> None:
    stories = [run(draw(3))[1].story() for _ in range(2)]
    assert stories[0] == stories[1]


# --- that lives can break: rules that are broken on purpose -------------------------------------------------------------------


def test_a_forged_document_that_is_believed_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from skerry.trust.accept import Trusted

    monkeypatch.setattr(Trusted, "permit", lambda self, record: None)
    plan = msgspec.structs.replace(draw(1, 3), captured=(("forges",),), acts=())
    wrong, _ = run(plan)
    assert any("which no operator signed" in what for what in wrong), wrong


def test_a_rollout_without_its_limit_is_seen_and_its_story_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    from skerry.core import turns

    monkeypatch.setattr(turns, "may_move", lambda lower, **more: MayMove(True, "at once"))
    plan = next(plan for seed in range(100) if _rolls(plan := draw(seed)))
    wrong, _ = run(plan)
    assert any("never were well in that version" in what for what in wrong), wrong
    story = shrink(plan, wrong, limit_s=20.0)
    assert story.wrong and len(story.plan.acts) <= 2, story.lines


def test_voters_that_break_their_promise_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from skerry.core.leases.voter import Voter

    begin = Voter.__init__
    monkeypatch.setattr(Voter, "__init__", lambda self, lease_s, rho: begin(self, 0.0, rho))
    wrong, _ = run(draw(82))
    assert any("runs more than once" in what for what in wrong), wrong


def _rolls(plan: Plan) -> bool:
    web = plan.services["web"]
    enough = web.replicas > 3 and web.update.parallelism == 1 and web.scale is None and plan.nodes == 3
    return enough and not plan.captured and "deploy" in [act.do for act in plan.acts]


# --- the command ----------------------------------------------------------------------------------------------------------------


def test_a_broken_plan_tells_its_figures_and_exits_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from skerry.cli.output import Terminal
    from skerry.sim.lives import ending

    monkeypatch.setattr(ending, "all_as_wanted", lambda life: ["nothing is as it should be"])
    file = tmp_path / "plan.json"
    file.write_bytes(msgspec.json.encode(msgspec.structs.replace(draw(1, 1), captured=())))
    ran = CliRunner().invoke(command, ["run", "--plan", str(file), "--json"], obj=Terminal(as_json=True))
    answer = json.loads(ran.stdout)
    assert ran.exit_code == 1
    assert (answer["seeds"], answer["broken"], answer["first_broken"]) == (1, 1, 1)
    assert answer["seconds"] > 0 and answer["wrong"] == ["nothing is as it should be"]


def test_plans_are_json_and_each_act_is_one_that_there_is() -> None:
    from skerry.sim.lives.acts import Acts

    seeds = random.Random(0).sample(range(10**6), 50)
    for plan in map(draw, seeds):
        assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan
        assert all(isinstance(act, Act) and hasattr(Acts, f"do_{act.do}") for act in plan.acts)
