"""`skerry ui`: parse, serve, until it is interrupted."""

from __future__ import annotations

import os

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal


@declare(name="ui", example="skerry ui --port 7090", codes=(0, 1, 2))
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="PORT", help="Of 127.0.0.1; else any that is free."
)
@click.option("--no-open", is_flag=True, help="Print the link, and start no browser.")
def command(terminal: Terminal, port: int, no_open: bool, cloud: str, passphrase_file: str | None) -> None:
    """Show the cloud in a browser, served from this machine to this machine alone.

    The link is good once, and all ends with this command. Through ssh: ssh -L PORT:127.0.0.1:PORT, and the same --port here.
    """
    from skerry.sdk import AsyncClient
    from skerry.ui.serve import serve

    home = run.home()
    chosen = home.choose(cloud, os.environ)
    client = AsyncClient(chosen.name, home=home.path, passphrase=run.passphrase(passphrase_file))
    terminal.cloud(chosen.name)

    def ready(link: str) -> None:
        terminal.answer({"cloud": chosen.name, "url": link}, f"{link}\nCtrl-C ends it.")

    serve(client, port, ready=ready, opened=not no_open)
