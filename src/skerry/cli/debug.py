"""`skerry debug`: a tool from outside, in a container of its own beside the one that is looked into."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from skerry.cli import run
from skerry.cli.options import Duration
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal
from skerry.errors import BadInput

if TYPE_CHECKING:
    from skerry.client.session import Session


def tools_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--tools", default="base", show_default=True, metavar="NAME", help="The tools image: see `skerry tools ls`."
    )(function)


write_option = click.option("--write", is_flag=True, help="Let it change files: /target is read-only else.")


@declare(
    name="debug",
    example="skerry debug web/0 -- ls -l /target/tmp\n"
    "skerry debug web/0 -- strace -f -p {pid}\n"
    "skerry debug web/0 -it -- gdb -p {pid}\n"
    "skerry debug web/0 --join net -- curl -s localhost:8080/health\n"
    "skerry debug --host vps-1 -- ps",
    codes=(0, 1, 2, 3, 4),
)
@click.argument("words", nargs=-1, metavar="SLOT -- CMD...")
@tools_option
@click.option("-i", "with_input", is_flag=True, help="Hand this command's standard input to it.")
@click.option("-t", "tty", is_flag=True, help="Give it a terminal, this one; with -i.")
@write_option
@click.option(
    "--limit", "limit_s", type=Duration(), default=0.0, metavar="TIME", help="End it after that; a tracer after 10s."
)
@click.option(
    "--process", type=click.IntRange(0, 1 << 22), default=0, metavar="PID", help="Look at this one of its processes."
)
@click.option(
    "--join",
    type=click.Choice(["net"]),
    metavar="net",
    help="Run it in the container's network, not in an empty one.",
)
@click.option("--host", default="", metavar="NAME", help="Look at a whole host instead: needs the right debug-host.")
def command(
    terminal: Terminal,
    words: tuple[str, ...],
    tools: str,
    with_input: bool,
    tty: bool,
    write: bool,
    limit_s: float,
    process: int,
    join: str | None,
    host: str,
    cloud: str,
    passphrase_file: str | None,
) -> int:
    """Look into a running container, or a host, with a tool from outside.

    CMD, a program of a tools image, runs beside SLOT's container and can't be reached from it. It sees the container's processes and
    no others, and its files at /target; {pid} stands for its first process. It has no network unless it joins the container's: there
    it finds names and reaches others as the container does, and can't change or overhear anything. What the container may notice
    of it is said first. Exits as CMD does; 124 when its time is over, 127 when it could not be started.
    """
    slot, argv = ("", list(words)) if host else (words[0] if words else "", list(words[1:]))
    if not (slot or host) or not argv:
        raise BadInput("no tool was started", "no command is named", "such as: skerry debug web/0 -- ls -l /target")
    return look_in(
        terminal, cloud, passphrase_file, slot, argv,
        tools=tools, with_input=with_input or tty, tty=tty, write=write, limit_s=limit_s, process=process,
        join=join or "", host=host,
    )  # fmt: skip


def look_in(
    terminal: Terminal,
    cloud: str,
    passphrase_file: str | None,
    slot: str,
    argv: list[str],
    *,
    with_input: bool,
    **how: Any,
) -> int:
    """Run it and sit at it; gives its exit code."""
    from skerry.cli.sitting import Sitting

    sitting = Sitting(terminal, slot or how["host"], argv, with_input=with_input, **how)

    async def work(session: Session) -> int:
        await session.sync(1)
        return await sitting.run(session)

    return run.in_cloud(terminal, cloud, passphrase_file, work)
