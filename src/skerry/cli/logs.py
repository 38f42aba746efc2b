"""`skerry logs`: what replicas write, from all hosts, as one."""

from __future__ import annotations

import time
from typing import Any

import click

from skerry.cli import run, streams
from skerry.cli.options import Duration
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, clean


@declare(name="logs", example="skerry logs -f web\nskerry logs web/1 --since 10m")
@click.argument("subjects", nargs=-1)
@click.option("-f", "--follow", is_flag=True, help="Go on showing new lines, until you interrupt it.")
@click.option("--tail", type=click.IntRange(0, 100_000), default=100, show_default=True, help="How many past lines.")
@click.option(
    "--since",
    "since_s",
    type=Duration(),
    default=None,
    metavar="AGE",
    help="Only lines younger than that, such as 10m.",
)
def command(
    terminal: Terminal,
    subjects: tuple[str, ...],
    follow: bool,
    tail: int,
    since_s: float | None,
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Show what the replicas of SUBJECTS write.

    SUBJECTS are slots (web/1), services (web) or apps; none: all.
    """
    from skerry.client import views

    since = time.time() - since_s if since_s is not None else 0.0

    def text(row: dict[str, Any]) -> str:
        return f"{streams.clock(row.get('time'))} {clean(row.get('slot'))} {clean(row.get('text'))}"

    run.in_cloud(
        terminal,
        cloud,
        passphrase_file,
        lambda session: streams.show(
            terminal, views.logs(session, list(subjects), follow=follow, tail=tail, since=since), follow, text
        ),
    )
