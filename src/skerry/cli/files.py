"""`skerry files`: what a container has changed since it started."""

from __future__ import annotations

from typing import Any

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.options import crashed
from skerry.cli.output import Terminal, table
from skerry.cli.streams import clock

ROWS = 10_000


@declare(name="files", example="skerry files web/1", codes=(0, 1, 2, 3, 4))
@click.argument("slot")
@crashed
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=ROWS, show_default=True, help="How many files.")
def command(terminal: Terminal, slot: str, limit: int, crashed: bool, cloud: str, passphrase_file: str | None) -> None:
    """Show what SLOT has changed since it started.

    Unseen: the container does not notice. All that lies in its memory file systems it has added; in its volumes, what is newer than
    its start, or was there then and is no more. Its image is read-only.
    """
    from skerry.client import looking
    from skerry.client.session import Session

    async def work(session: Session) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        return await looking.rows(
            session, await looking.find(session, slot, crashed=crashed), "files", limit=limit, crashed=crashed
        )

    rows, summary = run.in_cloud(terminal, cloud, passphrase_file, work)
    rows.sort(key=lambda row: str(row["name"]))
    places = list(summary.get("places", []))
    shown = [{**row, "modified": clock(row["modified"])} for row in rows]
    text = table(shown, ("change", "kind", "size_bytes", "modified", "name")) if rows else "(nothing)"
    text += "\n\n" + table(places, ("path", "kind", "used_bytes", "limit_bytes"))
    terminal.answer(
        {
            "files": rows,
            "places": places,
            "more": bool(summary.get("more")),
            "removed_unknown": bool(summary.get("removed_unknown")),
        },
        text,
    )
    if summary.get("removed_unknown"):
        terminal.warn(
            "what its volumes held at its start is not known (too much, or an earlier agent): what was removed is not shown"
        )
    if summary.get("more"):
        terminal.warn(f"there are more than these {len(rows)}: --limit shows more")
