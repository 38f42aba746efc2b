"""`skerry ps`: every replica."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, age, clean, table

if TYPE_CHECKING:
    from skerry.client.session import Session

COLUMNS = ("slot", "node", "state", "healthy", "version", "image", "age", "why")
WATCH_EVERY_S = 1.0


@declare(name="ps", example="skerry ps guestbook\nskerry ps --watch")
@click.argument("app", required=False)
@click.option("--watch", is_flag=True, help="Show it again every second, until you interrupt it.")
def command(terminal: Terminal, app: str | None, watch: bool, cloud: str, passphrase_file: str | None) -> None:
    """Show every replica: where, how, since when.

    APP limits it to one app.
    """

    if watch:
        run.in_cloud(terminal, cloud, passphrase_file, lambda session: _watch(terminal, session, app))
        return
    rows, scaled = run.in_cloud(terminal, cloud, passphrase_file, lambda session: _asked(terminal, session, app))
    terminal.answer(rows, _text(rows, app) + _scaled(scaled) + _rollouts(rows) + _crashed(rows))


async def _asked(
    terminal: Terminal, session: Session, app: str | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    from skerry.client import numbers, views

    rows = await views.ps(session, app)
    crashed = await views.crashed(session, rows, app or "")
    rows = [{**row, "crashed": crashed.get(row["slot"], "")} for row in rows]
    return rows, [] if terminal.as_json else await numbers.scalings(session, app or "")


def _scaled(rows: list[dict[str, Any]]) -> str:
    """Below the table: how many there are of what follows the load, which may be none at all."""
    lines = [
        f"{clean(row['app'])}.{clean(row['service'])}: {row['replicas']} of {row['min']} to {row['max']}, because {clean(row['why'])}"
        for row in rows
    ]
    return "\n\n" + "\n".join(lines) if lines else ""


def _rollouts(rows: list[dict[str, Any]]) -> str:
    """Below the table, once for all slots: why a version was turned back, and where a canary stands."""
    from skerry.client.waiting import trying

    verdicts = dict.fromkeys((row["app"], row.get("verdict")) for row in rows if row.get("failed"))
    lines = [f"{clean(app)}: {clean(verdict)}" for app, verdict in verdicts]
    lines += dict.fromkeys(f"{clean(row['app'])}: {clean(trying(row))}" for row in rows if row.get("canary"))
    return "\n\n" + "\n".join(lines) if lines else ""


def _crashed(rows: list[dict[str, Any]]) -> str:
    """Below the table: of whose last crash files and log are kept, and how to see them."""
    lines = [f"{clean(row['slot'])} crashed: {clean(row['crashed'])}" for row in rows if row["crashed"]]
    return "\n\n" + "\n".join(lines) if lines else ""


def _text(rows: list[dict[str, Any]], app: str | None) -> str:
    if not rows:
        return f"(nothing of {app}; skerry ps shows every app)" if app else "(nothing runs: skerry deploy compose.yaml)"
    short = [
        {
            **row,
            "image": str(row.get("image") or "")[7:19],
            "age": age(row.get("since")),
            "why": "; ".join(part for part in (row.get("why"), _allows(row)) if part),
        }
        for row in rows
    ]
    return table(short, COLUMNS)


def _allows(row: dict[str, Any]) -> str:
    return ", ".join(f"allows {kind}: {reason}" for kind, reason in (row.get("allows") or {}).items())


async def _watch(terminal: Terminal, session: Session, app: str | None) -> None:
    from skerry.client import views

    if terminal.as_json or not sys.stdout.isatty():  # nothing is drawn over in a pipe or a file
        while True:
            rows = await views.ps(session, app)
            terminal.line(rows, _text(rows, app) + _rollouts(rows) + "\n")
            await asyncio.sleep(WATCH_EVERY_S)
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(), auto_refresh=False) as live:
        while True:
            rows = await views.ps(session, app)
            live.update(Text(_text(rows, app) + _rollouts(rows)), refresh=True)
            await asyncio.sleep(WATCH_EVERY_S)
