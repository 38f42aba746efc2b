"""`skerry trace`: the system calls of a container as they happen, for a stated time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from skerry.cli import run
from skerry.cli.image.options import store
from skerry.cli.options import Duration
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, clean

if TYPE_CHECKING:
    from skerry.client.session import Session

process_option = click.option(
    "--process", type=click.IntRange(0, 1 << 22), default=0, metavar="PID", help="Look at this one of its processes."
)


@declare(
    name="trace",
    example="skerry trace web/0\nskerry trace web/0 -e openat,connect --limit 30s\nskerry trace web/0 --count",
    codes=(0, 1, 2, 3, 4),
)
@click.argument("slot")
@click.option("-e", "calls", default="", metavar="CALLS", help="Only these, such as openat,connect or %network.")
@click.option("--limit", "limit_s", type=Duration(), default="10s", show_default=True, help="How long.")
@click.option("--count", is_flag=True, help="One table at the end: how often each call, how long, how many failed.")
@process_option
def command(
    terminal: Terminal,
    slot: str,
    calls: str,
    limit_s: float,
    count: bool,
    process: int,
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Show the system calls of SLOT's processes as they happen, by strace from outside.

    The container feels it: while it is traced its calls are up to 80 times slower, and a request takes two to four times as long.
    With --json each line is one document.
    """
    from skerry.client.shortcuts import trace
    from skerry.client.shortcuts.running import Look

    names = [name for name in calls.split(",") if name]
    trace.argv_of(names, count=count)

    def show(line: str) -> None:
        call = trace.read_line(line)
        terminal.line({"pid": call.pid, "time": call.time, "text": call.text}, clean(line))

    async def work(session: Session) -> None:
        await session.sync(1)
        look = Look(session, store(), slot, terminal.say, process)
        end = await trace.trace(look, show, names, limit_s=limit_s, count=count)
        if end.why:
            terminal.say(end.why)

    run.in_cloud(terminal, cloud, passphrase_file, work)
