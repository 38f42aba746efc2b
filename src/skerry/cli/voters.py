"""`skerry host voters`: which hosts grant the leases of exclusive slots. Parse, one call, show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from skerry.cli import run
from skerry.cli.options import Duration
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, clean

if TYPE_CHECKING:
    from skerry.client.session import Session


@click.group(name="voters")
def command() -> None:
    """Show and choose the hosts that grant leases: more than half of them has to live for an exclusive slot to start."""


@declare(command, "ls", example="skerry host voters ls --json")
def ls(terminal: Terminal, cloud: str, passphrase_file: str | None) -> None:
    """List the voters, and whether they answer."""
    from skerry.client import voters

    rows = run.in_cloud(terminal, cloud, passphrase_file, voters.ls)
    terminal.rows(rows, ("name", "state", "votes", "leases"), empty="no voters: skerry host voters set HOST HOST HOST")


@declare(command, "set", example="skerry host voters set vps-1 vps-2 vps-3", codes=(0, 1, 2, 3, 4, 5))
@click.argument("names", nargs=-1)
@click.option("--none", "nobody", is_flag=True, help="Nobody votes any more.")
@click.option(
    "--old-majority-is-dead", "dead", is_flag=True, help="More than half of the old voters are gone for good."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--timeout",
    "timeout_s",
    type=Duration(),
    default="60s",
    show_default=True,
    help="How long the old voters may take.",
)
def set_(
    terminal: Terminal,
    names: tuple[str, ...],
    nobody: bool,
    dead: bool,
    yes: bool,
    timeout_s: float,
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Let the hosts NAMES grant leases: one, three or five fixed hosts, best in different places.

    Old and new voters vote together until more than half of the old know of it. Where these are gone for good, an operator has to
    say so: nobody can check it, and an exclusive slot that still runs beside them would run twice.
    """
    if bool(names) == nobody:
        raise click.UsageError("name the hosts, or say --none")
    from skerry.client import voters

    async def work(session: Session) -> dict[str, Any]:
        def sure(question: str) -> None:
            if not yes:
                run.confirm(clean(question))  # a host says how the others are

        return await voters.set_voters(
            session, names, old_majority_is_dead=dead, sure=sure, timeout_s=timeout_s, progress=terminal.say
        )

    result = run.in_cloud(terminal, cloud, passphrase_file, work, changes=True)
    told = ", ".join(result["voters"])
    if len(result["voters"]) == 1:
        terminal.warn("one voter: while it is away no exclusive slot is started or goes on for long")
    terminal.answer(
        result, f"{told} vote{'s' if len(result['voters']) == 1 else ''}" if told else "nobody votes any more"
    )
