"""`skerry procs`: a container's processes, from outside."""

from __future__ import annotations

import shlex
from typing import Any

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, age, table


@declare(name="procs", example="skerry procs web/1", codes=(0, 1, 2, 3, 4))
@click.argument("slot")
def command(terminal: Terminal, slot: str, cloud: str, passphrase_file: str | None) -> None:
    """Show the processes of SLOT.

    Unseen: the container does not notice.

    PID is the number inside; CPU is cores used over the last quarter of a second; WAITS IN is where in the kernel it sleeps.
    """
    from skerry.client import looking
    from skerry.client.session import Session

    async def work(session: Session) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        return await looking.rows(session, await looking.find(session, slot), "procs", limit=looking.ROWS_MAX)

    rows, summary = run.in_cloud(terminal, cloud, passphrase_file, work)
    rows.sort(key=lambda row: int(row["pid"]))
    shown = [
        {**row, "cpu": row["cpu_cores"], "age": age(row["started"]), "command": shlex.join(row["command"])}
        for row in rows
    ]
    columns = ("pid", "user", "state", "threads", "cpu", "memory_bytes", "age", "waits_in", "command")
    terminal.answer({"processes": rows, "more": bool(summary.get("more"))}, table(shown, columns))
    if summary.get("more"):
        terminal.warn(f"it has more processes than these {len(rows)}")
