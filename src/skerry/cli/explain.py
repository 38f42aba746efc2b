"""`skerry explain`: why something is as it is."""

from __future__ import annotations

from typing import Any

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, clean

SHOWN_STEPS = 12


@declare(name="explain", example="skerry explain web/0\nskerry explain --scale web")
@click.argument("subject")
@click.option("--scale", is_flag=True, help="Why SUBJECT, a service or an app, has as many replicas as it has.")
def command(terminal: Terminal, subject: str, scale: bool, cloud: str, passphrase_file: str | None) -> None:
    """Explain where SUBJECT stands and why.

    SUBJECT is a slot (web/0), a service, an app or a host.
    """
    from skerry.client import views

    if scale:
        from skerry.client import numbers

        told = run.in_cloud(terminal, cloud, passphrase_file, lambda session: numbers.explain_scale(session, subject))
        terminal.answer(told, "\n".join(line for name, row in told.items() for line in of_scale(name, row)))
        return
    result = run.in_cloud(terminal, cloud, passphrase_file, lambda session: views.explain(session, subject))
    terminal.answer(result, "\n".join(outline(result)))


def of_scale(name: str, row: dict[str, Any]) -> list[str]:
    """One service: its number, what led to it, and what each host told last."""
    scale = row["scale"]
    targets = [
        f"{scale['cpu']:.0%} cpu" if scale.get("cpu") else "",
        f"{scale['connections']:g} connections" if scale.get("connections") else "",
        f"{scale['metric_target']:g} {clean(scale['metric'])}" if scale.get("metric") else "",
    ]
    when = f" (now: {'; '.join(row['in_force'])})" if row["in_force"] else ""
    lines = [
        f"{clean(name)}: {row['replicas']} replicas, within {row['min']} to {row['max']}{when}",
        f"  because {clean(row['why'])}",
        f"  aims at {' and '.join(filter(None, targets)) or 'nothing'} a replica; a step is {row['step_s']:g} s",
    ]
    if row["awake"]:
        lines.append(f"  a connection waits on {clean(', '.join(row['awake']))}")
    if row["median"] is None:
        lines.append(f"  no keeper that lives has a wish; the app says {row['initial']}")
    else:
        lines.append(f"  wishes, of which the median counts: {row['median']}")
    lines += [f"    {clean(wish['node'])}  {wish['replicas']}  {clean(wish['why'])}" for wish in row["wishes"]]
    lines.append("  figures, the newest step last:" if row["figures"] else "  no host has figures")
    for told in row["figures"]:
        lines.append(
            f"    {clean(told['node'])}{'' if told['counts'] else '  (not now: down, silent, or of another step)'}"
        )
        for what in ("cpu", "connections", "fresh", "replicas", "metric"):
            if any(told.get(what, ())):
                lines.append(f"      {what:<12} {' '.join(f'{figure:g}' for figure in told[what][-SHOWN_STEPS:])}")
    return lines


def outline(value: Any, indent: int = 0) -> list[str]:
    """Nested answers as indented lines; a list of texts is a list of sentences."""
    pad = "  " * indent
    if isinstance(value, dict):
        lines = []
        for key, part in value.items():
            if isinstance(part, (dict, list)):
                if part:
                    lines += [f"{pad}{clean(key)}:", *outline(part, indent + 1)]
            elif part not in (None, ""):
                lines.append(f"{pad}{clean(key)}: {clean(part)}")
        return lines
    if isinstance(value, list):
        lines = []
        for part in value:
            inner = outline(part, indent + 1) if isinstance(part, (dict, list)) else [f"{pad}  {clean(part)}"]
            lines += [f"{pad}- {inner[0].lstrip()}", *inner[1:]] if inner else []
        return lines
    return [f"{pad}{clean(value)}"]
