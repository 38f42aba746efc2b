"""What the screen says when it is asked why: an explanation as lines in tones. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skerry.cli.explain import outline
from skerry.cli.output import clean

Parts = list[tuple[str, str]]  # words and their tones, one line
ANSWERS = {"claims": "good", "declined": "watch", "barred": "bad", "down": "bad", "draining": "watch"}


def reasons(told: Mapping[str, Any]) -> list[Parts]:
    """Of slots: what is wanted, who holds it, and what each host makes of it; of anything else an outline."""
    lines: list[Parts] = []
    for name, row in told.items():
        if lines:
            lines.append([])
        lines += _slot(name, row) if "order" in row else [[(line, "")] for line in outline({name: row})]
    return lines


def _slot(name: str, row: Mapping[str, Any]) -> list[Parts]:
    holder = clean(row.get("holder"))
    held = [("  held by ", "dim"), (holder, "good")] if holder else [("  held by nobody", "watch")]
    wanted, image = clean(row.get("wanted") or "not any more"), clean(row.get("image"))[:19]
    lines: list[Parts] = [
        [(clean(name), "title"), *held],
        [("  wanted   ", "dim"), (wanted, ""), ("  image ", "dim"), (image, "")],
    ]
    if row.get("awaits"):
        lines.append([("  awaits   ", "dim"), (clean(row["awaits"]), "watch")])
    if row.get("because"):
        lines.append([("  because  ", "dim"), (clean(row["because"]), "")])
    for advice in row.get("advice") or ():
        if isinstance(advice, Mapping):
            command = clean(advice.get("command") or "")
            lines.append(
                [("  advice   ", "dim"), (clean(advice.get("what")), ""), (f"   {command}" if command else "", "dim")]
            )
    order = [answer for answer in row["order"] if isinstance(answer, Mapping)]
    width = max((len(clean(answer.get("node"))) for answer in order), default=0)
    wide = max((len(clean(answer.get("answer"))) for answer in order), default=0)
    for answer in order:
        said = clean(answer.get("answer"))
        rank = answer.get("rank")
        lines.append(
            [
                (f"  {f'rank {rank}' if isinstance(rank, int) and rank >= 0 else '':<9}", "dim"),
                (clean(answer.get("node")).ljust(width) + "  ", ""),
                (f"{said:<{wide}}  ", ANSWERS.get(said, "dim")),
                (clean(answer.get("why") or ""), ""),
            ]
        )
    return lines
