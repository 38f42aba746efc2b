"""`skerry cloud`: which clouds this machine knows, and which one is meant by default."""

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal


@click.group(name="cloud")
def command() -> None:
    """List the clouds known here, select one."""


@declare(command, "ls", example="skerry cloud ls", codes=(0, 1), cloud=False)
def ls(terminal: Terminal) -> None:
    """List the clouds that this machine has keys or roots of."""
    home = run.home()
    selected = home.selected()
    rows = []
    for name in home.clouds():
        cloud = home.cloud(name)
        content = cloud.read()
        keys = [kind for kind in ("operator", "root") if cloud.has_key(kind)]
        rows.append(
            {"name": name, "selected": name == selected, "id": content.id, "operator": content.operator, "keys": keys}
        )
    terminal.rows(rows, ("name", "selected", "operator", "keys", "id"), empty="no cloud yet: skerry init NAME")


@declare(command, "use", example="skerry cloud use shop", codes=(0, 2), cloud=False)
@click.argument("name")
def use(terminal: Terminal, name: str) -> None:
    """Select the cloud that commands are for unless they say otherwise."""
    run.home().select(name)
    terminal.cloud(name)
    terminal.answer({"selected": name}, f"{name} is selected")
