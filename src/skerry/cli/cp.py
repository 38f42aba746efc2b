"""`skerry cp`: files out of a container, and into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from skerry.cli import run
from skerry.cli.options import Size, SlotPath, crashed
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, clean
from skerry.cli.streams import clock
from skerry.errors import BadInput
from skerry.sizes import size

NAMED = 20  # of what is written over


@declare(
    name="cp",
    example="skerry cp web/1:/tmp/dump ./dump\n"
    "skerry cp --write fixed.conf web/1:/tmp/app.conf\nskerry cp --write ./conf web/1:/data/",
    codes=(0, 1, 2, 3, 4),
)
@click.argument("source", metavar="SOURCE")
@click.argument("to", metavar="TO")
@click.option("--write", is_flag=True, help="Say that the container's files are to be changed.")
@click.option("--yes", is_flag=True, help="Do not ask, whatever is written over.")
@crashed
@click.option(
    "--limit", type=Size(), default="1g", show_default=True, help="The most that is copied; nothing is kept beyond."
)
def command(
    terminal: Terminal,
    source: str,
    to: str,
    write: bool,
    yes: bool,
    limit: int,
    crashed: bool,
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Copy SLOT:/PATH, a file or a folder, out of a container; or with --write into it.

    Unseen: the container notices only what is put there. All operators see the event.

    Into TO if that is a folder, else as TO. Links that lead out of what is copied, pipes, sockets and devices are left out, and
    told. What is put into a container belongs to its user; what is written over is named first, and you are asked.
    """
    from skerry.client import copying, looking
    from skerry.client.session import Session

    out_of, into = SlotPath.read(source), SlotPath.read(to)
    if (out_of is None) == (into is None):
        raise click.UsageError("one of the two is SLOT:/PATH, the other a path of this machine")
    if to == "-":
        raise BadInput("nothing was copied", "- is no file here", "skerry cat shows a file on standard output")
    if into is not None and not write:
        raise BadInput(
            f"{into.slot} was not changed", "a container's files are changed only with --write", "say --write"
        )

    async def fetch(session: Session) -> dict[str, Any]:
        assert out_of is not None
        place = await looking.find(session, out_of.slot, crashed=crashed)
        return await copying.fetch(session, place, out_of.path, Path(to), limit, terminal.progress, crashed=crashed)

    if into is None:
        told = run.in_cloud(terminal, cloud, passphrase_file, fetch)
        where = clean(told["to"])
    else:
        told = _put(terminal, Path(source), into, limit, yes, cloud, passphrase_file)
        where = f"{clean(told['slot'])}:{clean(told['to'])}"
    for row in told["skipped"]:
        terminal.warn(f"left out: {row['path']}: {row['why']}")
    if told["skipped_count"] > len(told["skipped"]):
        terminal.warn(f"left out: {told['skipped_count'] - len(told['skipped'])} more")
    files = "1 file" if told["files"] == 1 else f"{told['files']} files"
    terminal.answer(told, f"{files}, {size(told['size_bytes'])} to {where}")


def _put(
    terminal: Terminal, source: Path, into: SlotPath, limit: int, yes: bool, cloud: str, passphrase_file: str | None
) -> dict[str, Any]:
    """Once nothing is in the way, or that may be written over."""
    from skerry.client import copying, looking
    from skerry.client.session import Session

    sending = copying.Sending(source, limit)

    async def put(session: Session) -> dict[str, Any] | list[dict[str, Any]]:
        place = await looking.find(session, into.slot)
        there = await sending.would(
            session, place, into.path
        )  # with --yes, too: else half of it may be in the way of a file
        if there and not yes:
            return there
        return await sending.send(session, place, into.path, terminal.progress)

    told = run.in_cloud(terminal, cloud, passphrase_file, put)
    if isinstance(told, list):
        for row in told[:NAMED]:
            terminal.warn(
                f"would be written over: {row['name']} ({row['kind']}, {size(row['size_bytes'])}, of {clock(row['modified'])})"
            )
        if len(told) > NAMED:
            terminal.warn(f"would be written over: {len(told) - NAMED} more")
        run.confirm(f"write over {'it' if len(told) == 1 else f'these {len(told)}'} in {into.slot}?")
        yes = True
        told = run.in_cloud(terminal, cloud, passphrase_file, put)
    assert isinstance(told, dict)
    return told
