"""`skerry ls`: what lies in a container's file system."""

from __future__ import annotations

from typing import Any

import click

from skerry.cli import run
from skerry.cli.options import InSlot, SlotPath, crashed
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, clean, table
from skerry.cli.streams import clock

ROWS = 1000


@declare(name="ls", example="skerry ls web/1:/tmp\nskerry ls web/1:/data --limit 20000 --json", codes=(0, 1, 2, 3, 4))
@click.argument("place", metavar="SLOT[:/PATH]", type=InSlot("/"))
@crashed
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=ROWS, show_default=True, help="How many names.")
def command(
    terminal: Terminal, place: SlotPath, limit: int, crashed: bool, cloud: str, passphrase_file: str | None
) -> None:
    """Show what lies at SLOT:/PATH.

    Unseen: the container does not notice.

    Without a path: at its root. Links are followed within the container, never out of it.
    """
    from skerry.client import looking
    from skerry.client.session import Session

    async def work(session: Session) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        found = await looking.find(session, place.slot, crashed=crashed)
        return await looking.rows(session, found, "ls", path=place.path, limit=limit, crashed=crashed)

    rows, summary = run.in_cloud(terminal, cloud, passphrase_file, work)
    rows.sort(key=lambda row: str(row["name"]))
    shown = [
        {
            **row,
            "modified": clock(row.get("modified")),
            "name": clean(row["name"]) + (f" -> {clean(row['target'])}" if row.get("target") else ""),
        }
        for row in rows
    ]
    columns = ("kind", "mode", "uid", "gid", "size_bytes", "modified", "name")
    terminal.answer(
        {"entries": rows, "more": bool(summary.get("more"))}, table(shown, columns) if rows else "(an empty folder)"
    )
    if summary.get("more"):
        terminal.warn(f"there are more than these {len(rows)}: --limit shows more")
