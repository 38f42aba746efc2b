"""`skerry role`: who else may sign, and what."""

from __future__ import annotations

from pathlib import Path

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal

CHANGES = (0, 1, 2, 3, 4)


@click.group(name="role")
def command() -> None:
    """Say who else may sign: operators and CI."""


@declare(command, "add", example="skerry role add ci github --key github.pub --app guestbook", codes=CHANGES)
@click.argument("kind", type=click.Choice(["operator", "ci"]))
@click.argument("name")
@click.option(
    "--key",
    "key_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE",
    help="The public half, made by `skerry key new` where the key lives.",
)
@click.option(
    "--app", "apps", multiple=True, metavar="APP", help="For ci: an app whose images it may release; repeatable."
)
def add(
    terminal: Terminal,
    kind: str,
    name: str,
    key_file: Path,
    apps: tuple[str, ...],
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Let another key sign.

    `operator`: apps, releases and hosts. `ci`: the images of named apps, and nothing else.
    """
    from skerry.client import roles
    from skerry.client.identity import read_public

    public = read_public(key_file)
    result = run.in_cloud(
        terminal,
        cloud,
        passphrase_file,
        changes=True,
        work=lambda session: roles.add(session, kind, name, public.key, public.certificate, list(apps)),
    )
    terminal.answer(result, f"{name} may sign {', '.join(result.get('paths', []))}")


@declare(command, "ls", example="skerry role ls")
def ls(terminal: Terminal, cloud: str, passphrase_file: str | None) -> None:
    """List the roles: which keys may sign what."""
    from skerry.client import roles

    rows = run.in_cloud(terminal, cloud, passphrase_file, roles.ls)
    terminal.rows(rows, ("name", "threshold", "kinds", "paths", "keys"))


@declare(command, "rm", example="skerry role rm github", codes=CHANGES)
@click.argument("name")
def rm(terminal: Terminal, name: str, cloud: str, passphrase_file: str | None) -> None:
    """Take a role away; what it signed last and was good is signed again by you."""
    from skerry.client import roles

    result = run.in_cloud(terminal, cloud, passphrase_file, lambda session: roles.rm(session, name), changes=True)
    again = ", ".join(result.get("signed_again", [])) or "nothing"
    terminal.answer(result, f"{name} may sign nothing any more; signed again: {again}")
