"""`skerry cp`: files out of a container, and one into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from skerry.cli import run
from skerry.cli.options import Size, SlotPath, crashed
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, clean
from skerry.sizes import size


@declare(
    name="cp",
    example="skerry cp web/1:/tmp/dump ./dump\nskerry cp --write fixed.conf web/1:/tmp/app.conf",
    codes=(0, 1, 2, 3, 4),
)
@click.argument("source", metavar="SOURCE")
@click.argument("to", metavar="TO")
@click.option("--write", is_flag=True, help="Say that the container's files are to be changed.")
@crashed
@click.option(
    "--limit", type=Size(), default="1g", show_default=True, help="The most that is copied; nothing is kept beyond."
)
def command(
    terminal: Terminal,
    source: str,
    to: str,
    write: bool,
    limit: int,
    crashed: bool,
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Copy SLOT:/PATH, a file or a folder, out of a container; or a file into it.

    Unseen: the container notices only a file that is put there. All operators see the event.

    Links that lead out of what is copied, pipes, sockets and devices are left out, and told.
    """
    from skerry.client import copying, looking
    from skerry.client.session import Session

    out_of, into = SlotPath.read(source), SlotPath.read(to)
    if (out_of is None) == (into is None):
        raise click.UsageError("one of the two is SLOT:/PATH, the other a path of this machine")
    if into is not None and not write:
        raise click.UsageError("a container's files are changed only with --write")

    async def work(session: Session) -> dict[str, Any]:
        if out_of is not None:
            place = await looking.find(session, out_of.slot, crashed=crashed)
            return await copying.fetch(session, place, out_of.path, Path(to), limit, terminal.progress, crashed=crashed)
        assert into is not None
        place = await looking.find(session, into.slot)
        return await copying.send(session, place, Path(source), into.path, limit, terminal.progress)

    told = run.in_cloud(terminal, cloud, passphrase_file, work)
    if into is not None:
        terminal.answer(told, f"{size(told['size_bytes'])} to {clean(told['slot'])}:{clean(told['path'])}")
        return
    for row in told["skipped"]:
        terminal.warn(f"left out: {row['path']}: {row['why']}")
    if told["skipped_count"] > len(told["skipped"]):
        terminal.warn(f"left out: {told['skipped_count'] - len(told['skipped'])} more")
    terminal.answer(told, f"{told['files']} files, {size(told['size_bytes'])} to {clean(told['to'])}")
