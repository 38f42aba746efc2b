"""`skerry crashes`: what hosts keep of containers that crashed."""

from __future__ import annotations

from typing import Any

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, age, clean, table
from skerry.sizes import size

LINES = 20


NONE = "(no crash is kept; of each slot the last one is, for a day)"


@declare(name="crashes", example="skerry crashes\nskerry crashes web/1 --lines 200", codes=(0, 1, 2, 3, 4))
@click.argument("subject", required=False, default="")
@click.option("--lines", type=click.IntRange(0, 10_000), default=LINES, show_default=True, help="Of a slot's log.")
def command(terminal: Terminal, subject: str, lines: int, cloud: str, passphrase_file: str | None) -> None:
    """Show what is kept of containers that crashed: how they ended, their last lines, their files.

    SUBJECT is a slot (web/1), a service or an app. Of each slot the last crash is kept, for a day, on the host that ran it, within
    bounds; its files are shown by ls, cat, cp and files with --crashed.
    """
    from skerry.client import looking
    from skerry.client.session import Session

    async def work(session: Session) -> list[dict[str, Any]]:
        return await looking.crashes(session, subject)

    rows = run.in_cloud(terminal, cloud, passphrase_file, work)
    shown = [{**row, "age": age(row["time"]), "ended": ended(row), "files": _files(row)} for row in rows]
    text = (
        table(shown, ("slot", "node", "age", "again", "files", "ended"))
        if rows
        else "(no crash is kept; of each slot the last one is, for a day)"
    )
    if len({row["slot"] for row in rows}) == 1:
        last = [clean(line) for line in str(rows[0]["log"]).splitlines()[-lines:]] if lines else []
        there = [
            clean(f"a core is kept: skerry cores get {rows[0]['slot']}:{name}") for name in rows[0].get("cores", [])
        ]
        text = "\n".join([text, *there, "", *last])
    terminal.answer(rows, text)


def ended(row: dict[str, Any]) -> str:
    if row["oom"]:
        return "killed for memory"
    code = int(row["exit_code"])
    return f"signal {code - 128}" if code > 128 else f"exit code {code}"


def _files(row: dict[str, Any]) -> str:
    if row["unkept"]:
        return f"none: {row['unkept']}"
    left_out = f", {row['skipped_count']} left out" if row["skipped_count"] else ""
    return f"{row['files']} ({size(row['size_bytes'])}{left_out})"
