"""The soak in figures, and as a table that a person reads."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from soak.clients import Count

if TYPE_CHECKING:
    from soak.soak import Soak


def figures(soak: Soak, took_s: float, left: list[str]) -> dict[str, Any]:
    total = Count()
    for count in soak.counts.values():
        total.add(count)
    base, last = soak.leaks.base, soak.leaks.last
    return {
        "seed": soak.seed,
        "hosts": soak.hosts,
        "minutes": round(took_s / 60, 1),
        "rounds": soak.rounds,
        "acts": len(soak.acts.done),
        "deploys_accepted": len(soak.acts.accepted_deploys),
        "faults_that_could_not_be_made": soak.acts.undone,
        "changes_refused_or_unreachable": soak.acts.refused,
        "entries_written": soak.entries,
        "requests": asdict(total),
        "to_peace_s_median": round(statistics.median(soak.quiet_s), 1) if soak.quiet_s else None,
        "to_peace_s_most": round(max(soak.quiet_s), 1) if soak.quiet_s else None,
        "by_kind": {k: {"times": soak.times[k], **asdict(c)} for k, c in sorted(soak.counts.items())},
        "leaks": {
            kind: {
                "at_first": max((figures[kind] for figures in base.values()), default=0),
                "at_last": max((figures[kind] for figures in last.values()), default=0),
                "most": soak.leaks.worst[kind],
            }
            for kind in soak.leaks.worst
            if kind != "pid"
        },
        "wrong": soak.wrong,
        "leftovers": left,
    }


def show(console: Console, figures: dict[str, Any]) -> None:
    acts = Table(title="Requests, put down to what had just happened", title_justify="left", box=None, padding=(0, 2))
    for column in ("what", "times", "requests", "retried", "both dead", "unanswered", "store away"):
        acts.add_column(column, justify="left" if column == "what" else "right")
    for kind, row in figures["by_kind"].items():
        acts.add_row(
            kind, *(str(row[c]) for c in ("times", "requests", "retried", "both_dead", "unanswered", "store_away"))
        )
    leaks = Table(title="On one host, the highest", title_justify="left", box=None, padding=(0, 2))
    for column in ("what", "at first", "at last", "most"):
        leaks.add_column(column, justify="left" if column == "what" else "right")
    for kind, row in figures["leaks"].items():
        leaks.add_row(kind, str(row["at_first"]), str(row["at_last"]), str(row["most"]))
    console.print(acts)
    console.print(leaks)
    console.print(
        f"seed {figures['seed']}: {figures['minutes']} minutes, {figures['rounds']} rounds, {figures['acts']} acts, "
        f"{figures['deploys_accepted']} deploys accepted, {figures['entries_written']} entries written; back to peace after "
        f"{figures['to_peace_s_median']} s (median), {figures['to_peace_s_most']} s (most)"
    )
    for wrong in figures["wrong"]:
        console.print(f"[red]wrong[/]: {wrong}", markup=True)
    if not figures["wrong"]:
        console.print("[green]nothing was lost, doubled or leaked; nothing is left behind[/]")
