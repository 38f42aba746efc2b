"""`skerry audit`: whether hosts' diaries are what they were."""

from __future__ import annotations

from typing import Any

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, clean, table


@click.group(name="audit")
def command() -> None:
    """Verify that hosts' diaries are what they were."""


@declare(command, "verify", example="skerry audit verify\nskerry audit verify vps-2 --json")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
def verify(terminal: Terminal, hosts: tuple[str, ...], cloud: str, passphrase_file: str | None) -> int:
    """Follow the chain of each HOST's events, and hold it against what the other hosts and this machine noted of it.

    Exit code 1: a chain is broken; the table says where.
    """
    from skerry.client import audit

    rows: list[dict[str, Any]] = run.in_cloud(
        terminal, cloud, passphrase_file, lambda session: audit.verify(session, hosts)
    )
    shown = [{**row, "chain": {True: "holds", False: "BROKEN", None: "unknown"}[row["ok"]]} for row in rows]
    text = table(shown, ("host", "chain", "entries", "why")).splitlines()
    for row in rows:
        text += [
            f"  {clean(row['host'])}: line {b['n'] or b['line']}: {clean(b['why'])}" for b in row.get("breaks", ())
        ]
    terminal.answer(rows, "\n".join(text))
    return 1 if any(row["ok"] is False for row in rows) else 0
