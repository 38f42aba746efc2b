"""`skerry events`: what happened, from all hosts, each with its reason."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import click

from skerry.cli import run, streams
from skerry.cli.options import Duration
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, clean

if TYPE_CHECKING:
    from skerry.client.session import Session


@declare(name="events", example="skerry events -f\nskerry events web --since 2h --kind exited --kind unhealthy")
@click.argument("subjects", nargs=-1)
@click.option("-f", "--follow", is_flag=True, help="Go on showing new ones, until you interrupt it.")
@click.option("--tail", type=click.IntRange(0, 100_000), default=100, show_default=True, help="How many past ones.")
@click.option("--since", "since_s", type=Duration(), metavar="AGE", help="Only those younger than that, such as 10m.")
@click.option("--until", "until_s", type=Duration(), metavar="AGE", help="Only those older than that.")
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Only of this kind (docs/events.md); repeatable.")
@click.option("--grep", default="", metavar="TEXT", help="Only those that hold this text, in capitals or not.")
def command(
    terminal: Terminal,
    subjects: tuple[str, ...],
    follow: bool,
    tail: int,
    since_s: float | None,
    until_s: float | None,
    kinds: tuple[str, ...],
    grep: str,
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Show what happened in the cloud, and why.

    SUBJECTS (none: everything) are slots (web/1), services, apps or hosts.
    Each host keeps its own events; they are merged here by time.
    """
    from skerry.client import views

    now_s = time.time()

    def text(row: dict[str, Any]) -> str:
        what = " ".join(clean(row[key]) for key in ("kind", "subject") if row.get(key))
        why = clean(row.get("reason", row.get("text", "")))
        return f"{streams.clock(row.get('time'))} {clean(row.get('node'))}: {what}: {why}"

    def rows(session: Session) -> AsyncGenerator[dict[str, Any]]:
        return views.events(
            session, subjects, follow=follow, tail=tail, since=now_s - since_s if since_s is not None else 0.0,
            until=now_s - until_s if until_s is not None else 0.0, kinds=kinds, grep=grep,
        )  # fmt: skip

    run.in_cloud(terminal, cloud, passphrase_file, lambda session: streams.show(terminal, rows(session), follow, text))
