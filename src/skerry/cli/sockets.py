"""`skerry sockets`: a container's sockets, from outside."""

from __future__ import annotations

from typing import Any

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, table

ROWS = 10_000
CLOSED = "time-wait"


@declare(name="sockets", example="skerry sockets web/1\nskerry sockets web/1 --listening", codes=(0, 1, 2, 3, 4))
@click.argument("slot")
@click.option("--listening", is_flag=True, help="Only those that wait for others.")
@click.option("--closed", "closed_too", is_flag=True, help="Also those that were closed a moment ago (time-wait).")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=ROWS, show_default=True, help="How many sockets.")
def command(
    terminal: Terminal,
    slot: str,
    listening: bool,
    closed_too: bool,
    limit: int,
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Show the sockets of SLOT and which process has them.

    Unseen: the container does not notice.

    IN and OUT are bytes that wait; of a listening one, connections that nobody accepted.
    """
    from skerry.client import looking
    from skerry.client.session import Session

    async def work(session: Session) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        return await looking.rows(session, await looking.find(session, slot), "sockets", limit=limit)

    rows, summary = run.in_cloud(terminal, cloud, passphrase_file, work)
    rows = [row for row in rows if not listening or row["state"] in ("listening", "bound")]
    closed = [] if closed_too or terminal.as_json else [row for row in rows if row["state"] == CLOSED]
    rows = [row for row in rows if row not in closed]
    shown = [
        {
            **row,
            "in": row["waiting_in"],
            "out": row["waiting_out"],
            "process": f"{row['process']}({row['pid']})" if row["pid"] else "",
        }
        for row in rows
    ]
    columns = ("kind", "state", "in", "out", "local", "remote", "process")
    text = table(shown, columns) if rows else "(no sockets)"
    if closed:
        text += f"\n({len(closed)} more are {CLOSED}, closed a moment ago: --closed shows them)"
    terminal.answer({"sockets": rows, "more": bool(summary.get("more"))}, text)
    if summary.get("more"):
        terminal.warn(f"there are more than these {summary.get('shown')}: --limit shows more")
