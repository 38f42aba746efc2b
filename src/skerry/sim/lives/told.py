"""What `skerry sim run` says of lives: figures as JSON, and for people the story of what broke."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from skerry.errors import BadFormat
from skerry.outside import UNREADABLE
from skerry.sim.lives.life import run
from skerry.sim.lives.many import Broken, run_many
from skerry.sim.lives.plan import Plan, draw
from skerry.sim.lives.shrink import Story, shrink


def of_many(
    first: int, seeds: int, *, nodes: int, jobs: int, tell: Callable[[str], object]
) -> tuple[dict[str, Any], str]:
    """The answer, and the same in words. The first broken seed is shrunk."""

    def hear(broken: Broken) -> None:
        tell(f"seed {broken.seed} is broken: {broken.wrong[0]}")

    figures = run_many(first, seeds, nodes=nodes, jobs=jobs, tell=hear)
    answer: dict[str, Any] = msgspec.to_builtins(figures)
    lines = [f"{seeds} seeds, {figures.broken} broken, {figures.seconds:.1f} s"]
    if figures.again:
        worst = figures.again[0]
        story = shrink(draw(worst.seed, nodes), list(worst.wrong))
        answer["story"] = _story(story)
        lines += [*_words(story), *(f"again: {broken.again}" for broken in figures.again)]
    return answer, "\n".join(lines)


def of_one(path: Path | None, seed: int, nodes: int, *, story: bool) -> tuple[dict[str, Any], str]:
    """A plan from a file (raises BadFormat), or a seed, lived once as it is."""
    plan = read(path) if path is not None else draw(seed, nodes)
    begin_s = time.monotonic()
    wrong, life = run(plan)
    lines = [*(life.story() if story else life.log), *(f"BROKEN {what}" for what in wrong)]
    answer = {
        "seeds": 1, "broken": int(bool(wrong)), "first_broken": plan.seed if wrong else None,
        "seconds": round(time.monotonic() - begin_s, 2), "wrong": wrong, "story": lines,
    }  # fmt: skip
    return answer, "\n".join([*lines, "" if wrong else "all that must hold held"])


def read(path: Path) -> Plan:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Plan)
    except UNREADABLE as error:
        raise BadFormat(
            f"{path} was not read", str(error), "a plan is what skerry sim run --json shows of a story"
        ) from None


def _story(story: Story) -> dict[str, Any]:
    return {"plan": msgspec.to_builtins(story.plan), "lines": story.lines, "wrong": story.wrong}


def _words(story: Story) -> list[str]:
    plan = story.plan
    return [
        "", f"It takes no more than this ({plan.nodes} hosts, seed {plan.seed}):", *story.lines,
        *(f"BROKEN {what}" for what in story.wrong), "", "The plan, for a file and skerry sim run --plan FILE --story:",
        msgspec.json.encode(plan).decode(), "",
    ]  # fmt: skip
