"""`skerry core`: the memory of a container's process as a core file, made now or kept when it died."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skerry.cli import run
from skerry.cli.image.options import store
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, age, table
from skerry.cli.trace import process_option
from skerry.errors import BadInput
from skerry.sizes import size

if TYPE_CHECKING:
    from skerry.client.session import Session

CODES = (0, 1, 2, 3, 4)


class OrMake(click.Group):
    """`skerry core web/0` is `skerry core make web/0`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = [word for word in args if not word.startswith("-")]
        if words and words[0] not in self.commands:
            args = ["make", *args]
        return super().parse_args(ctx, args)


@click.group(name="core", cls=OrMake)
def command() -> None:
    """Write the memory of a process to a core file, for gdb; list and fetch those that hosts keep.

    \b
    Example: skerry core web/0
             skerry core ls

    SLOT alone means `skerry core make SLOT`.
    """


@declare(
    command, "make", example="skerry core web/0\nskerry core web/0 -o web.core\nskerry core web/0 --keep", codes=CODES
)
@click.argument("slot")
@click.option(
    "-o",
    "out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    metavar="FILE",
    help="Else SLOT-TIME.core.",
)
@click.option("--keep", is_flag=True, help="Leave it on the host, for three days: see `skerry core ls`.")
@process_option
def make(
    terminal: Terminal, slot: str, out: Path | None, keep: bool, process: int, cloud: str, passphrase_file: str | None
) -> None:
    """Write the memory of SLOT's first process to a core file here, for gdb.

    It stands still while gdb writes it: 0.2 s for 170 MB, and 256 MiB are the most. Secrets are in it: the file is yours alone.
    """
    from skerry.client.shortcuts import core
    from skerry.client.shortcuts.running import Look

    if keep and out is not None:
        raise click.UsageError("--keep leaves it on the host: no FILE is written here")
    file = out or Path(f"{slot.replace('/', '-')}-{time.strftime('%Y%m%dT%H%M%S')}.core")

    async def work(session: Session) -> core.Core:
        await session.sync(1)
        look = Look(session, store(), slot, terminal.say, process)
        return await (core.kept(look) if keep else core.core(look, file))

    made = run.in_cloud(terminal, cloud, passphrase_file, work)
    value: dict[str, Any] = {"slot": made.slot, "visibility": made.visibility}
    if keep:
        text = f"{made.name}: kept on {made.node} for three days\nskerry core get {made.slot}:{made.name}"
        terminal.answer({**value, "node": made.node, "name": made.name}, text)
        return
    value |= {"file": made.file, "size_bytes": made.size_bytes}
    terminal.answer(value, f"{made.file}: {size(made.size_bytes)} of {made.slot}")


@declare(command, "ls", example="skerry core ls\nskerry core ls web/0 --json", codes=CODES)
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
    command, "get", example="skerry core get web/0\nskerry core get web/0:20260307T101500-1 -o web.core", codes=CODES
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
    terminal.answer(value, f"{file}: {size(size_bytes)} of {row['slot']}, {of(row)}")


@declare(command, "rm", example="skerry core rm web/0:20260307T101500-1\nskerry core rm web/0 --all", codes=CODES)
@click.argument("core", metavar="SLOT[:NAME]")
@click.option("--all", "every", is_flag=True, help="All that are kept of SLOT.")
def rm(terminal: Terminal, core: str, every: bool, cloud: str, passphrase_file: str | None) -> None:
    """Remove a core file that a host keeps. All operators see the event."""
    from skerry.client import cores

    slot, _, name = core.partition(":")
    if every == bool(name):
        raise BadInput(f"no core of {slot} was removed", "", "name one, SLOT:NAME, or say --all; see skerry core ls")

    async def work(session: Session) -> tuple[str, list[str]]:
        rows = await cores.find(session, slot, name)
        return str(rows[0]["slot"]), await cores.rm(session, rows, name)

    of_slot, names = run.in_cloud(terminal, cloud, passphrase_file, work)
    terminal.answer({"slot": of_slot, "names": names}, "\n".join(f"removed {name} of {of_slot}" for name in names))


def of(row: dict[str, Any]) -> str:
    """Of what it is."""
    if row["by"] != "crash":
        return f"made for {row['who']}"
    missed = f"; {row['missed']} more not kept" if row.get("missed") else ""
    return f"signal {row['signal']} of {row['comm'] or 'a process'}, pid {row['pid']}{missed}"


def _size(row: dict[str, Any]) -> str:
    whole = f", cut: {row['cut']}" if row["cut"] else ""
    return f"{size(int(row['size_bytes']))} ({size(int(row['kept_bytes']))} there{whole})"
