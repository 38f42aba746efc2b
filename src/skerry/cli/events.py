"""`skerry events`: what happened, from all hosts, each with its reason."""

from __future__ import annotations

from typing import Any

import click

from skerry.cli import run, streams
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, clean


@declare(name="events", example="skerry events -f")
@click.option("-f", "--follow", is_flag=True, help="Go on showing new ones, until you interrupt it.")
@click.option("--tail", type=click.IntRange(0, 100_000), default=100, show_default=True, help="How many past ones.")
def command(terminal: Terminal, follow: bool, tail: int, cloud: str, passphrase_file: str | None) -> None:
    """Show what happened in the cloud, and why.

    Each host keeps its own events; they are merged here by time.
    """
    from skerry.client import views

    def text(row: dict[str, Any]) -> str:
        what = " ".join(clean(row[key]) for key in ("kind", "subject") if row.get(key))
        why = clean(row.get("reason", row.get("text", "")))
        return f"{streams.clock(row.get('time'))} {clean(row.get('node'))}: {what}: {why}"

    run.in_cloud(
        terminal,
        cloud,
        passphrase_file,
        lambda session: streams.show(terminal, views.events(session, follow=follow, tail=tail), follow, text),
    )
