"""`skerry scale`: more or fewer replicas."""

from __future__ import annotations

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal


@declare(name="scale", example="skerry scale guestbook.web 5", codes=(0, 1, 2, 3, 4, 5))
@click.argument("service", metavar="APP.SERVICE")
@click.argument("replicas", type=click.IntRange(0, 1000))
def command(terminal: Terminal, service: str, replicas: int, cloud: str, passphrase_file: str | None) -> None:
    """Change how many replicas a service has.

    The next deploy of the compose file sets it to what the file says.
    """
    app, dot, name = service.partition(".")
    if not (app and dot and name):
        raise click.UsageError(f"{service!r} is not APP.SERVICE, such as guestbook.web")
    from skerry.client import deploy

    result = run.in_cloud(
        terminal, cloud, passphrase_file, lambda session: deploy.scale(session, app, name, replicas), changes=True
    )
    terminal.answer(result, f"{service}: {result['from']} -> {result['to']} replicas")
