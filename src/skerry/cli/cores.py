"""`skerry cores`: the core files that hosts keep, of what died and of what was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, age, clean, table
from skerry.errors import BadInput
from skerry.sizes import size

if TYPE_CHECKING:
    from skerry.client.session import Session

CODES = (0, 1, 2, 3, 4)


@click.group(name="cores")
def command() -> None:
    """List, fetch and remove the core files that hosts keep."""


@declare(command, "ls", example="skerry cores ls\nskerry cores ls web/0 --json", codes=CODES)
@click.argument("subject", required=False, default="")
def ls(terminal: Terminal, subject: str, cloud: str, passphrase_file: str | None) -> None:
    """List the core files that hosts keep: of processes that died of a signal, and those made with --keep.

    SUBJECT is a slot (web/1), a service or an app. Of each slot the last three are kept, for three days, on the host that ran it,
    within bounds. A service whose processes shall leave one says so in its compose file: `ulimits: {core: -1}`.
    """
    from skerry.client import cores

    async def work(session: Session) -> tuple[list[dict[str, Any]], list[str]]:
        return await cores.ls(session, subject)

    rows, told = run.in_cloud(terminal, cloud, passphrase_file, work)
    for line in told:
        terminal.say(line)
    shown = [{**row, "age": age(row["time"]), "of": of(row), "size": _size(row)} for row in rows]
    terminal.answer(rows, table(shown, ("slot", "node", "name", "age", "size", "of")) if rows else "(none)")


@declare(
    command, "get", example="skerry cores get web/0\nskerry cores get web/0:20260307T101500-1 -o web.core", codes=CODES
)
@click.argument("core", metavar="SLOT[:NAME]")
@click.option(
    "-o",
    "-w",
    "out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    metavar="FILE",
    help="Else SLOT-NAME.core.",
)
def get(terminal: Terminal, core: str, out: Path | None, cloud: str, passphrase_file: str | None) -> None:
    """Fetch a core file that a host keeps: NAME, else the newest of SLOT.

    Secrets are in it: the file is yours alone. All operators see the event.
    """
    from skerry.client import cores

    slot, _, name = core.partition(":")

    async def work(session: Session) -> tuple[dict[str, Any], Path, int]:
        row = (await cores.find(session, slot, name))[0]
        file = out or Path(f"{row['slot'].replace('/', '-')}-{row['name']}.core")
        return row, file, await cores.get(session, row, file)

    row, file, size_bytes = run.in_cloud(terminal, cloud, passphrase_file, work)
    value = {**row, "file": str(file), "size_bytes": size_bytes}
    terminal.answer(value, clean(f"{file}: {size(size_bytes)} of {row['slot']}, {of(row)}"))


@declare(command, "rm", example="skerry cores rm web/0:20260307T101500-1\nskerry cores rm web/0 --all", codes=CODES)
@click.argument("core", metavar="SLOT[:NAME]")
@click.option("--all", "every", is_flag=True, help="All that are kept of SLOT.")
def rm(terminal: Terminal, core: str, every: bool, cloud: str, passphrase_file: str | None) -> None:
    """Remove a core file that a host keeps. All operators see the event."""
    from skerry.client import cores

    slot, _, name = core.partition(":")
    if every == bool(name):
        raise BadInput(f"no core of {slot} was removed", "", "name one, SLOT:NAME, or say --all; see skerry cores ls")

    async def work(session: Session) -> tuple[str, list[str]]:
        rows = await cores.find(session, slot, name)
        return str(rows[0]["slot"]), await cores.rm(session, rows, name)

    of_slot, names = run.in_cloud(terminal, cloud, passphrase_file, work)
    terminal.answer(
        {"slot": of_slot, "names": names}, "\n".join(clean(f"removed {name} of {of_slot}") for name in names)
    )


def of(row: dict[str, Any]) -> str:
    """Of what it is."""
    if row["by"] != "crash":
        return f"made for {row['who']}"
    missed = f"; {row['missed']} more not kept" if row.get("missed") else ""
    return f"signal {row['signal']} of {row['comm'] or 'a process'}, pid {row['pid']}{missed}"


def _size(row: dict[str, Any]) -> str:
    whole = f", cut: {row['cut']}" if row["cut"] else ""
    return f"{size(int(row['size_bytes']))} ({size(int(row['kept_bytes']))} there{whole})"
