"""`skerry scale`: more or fewer replicas."""

from __future__ import annotations

import click

from skerry.cli import run
from skerry.cli.options import Duration
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal


@declare(name="scale", example="skerry scale guestbook.web 5", codes=(0, 1, 2, 3, 4, 5))
@click.argument("service", metavar="[APP.]SERVICE")
@click.argument("replicas", type=click.IntRange(0, 1000))
@click.option("--detach", is_flag=True, help="Do not wait until they are healthy.")
@click.option(
    "--timeout", "timeout_s", type=Duration(), default="120s", show_default=True, help="How long to wait for them."
)
def command(
    terminal: Terminal,
    service: str,
    replicas: int,
    detach: bool,
    timeout_s: float,
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Change how many replicas a service has.

    SERVICE alone will do where only one app has it. Those that run are not restarted. The next deploy of the compose file
    sets it to what the file says.
    """
    from skerry.client import apps

    result = run.in_cloud(
        terminal,
        cloud,
        passphrase_file,
        changes=True,
        work=lambda session: apps.scale(
            session, service, replicas, detach=detach, timeout_s=timeout_s, progress=terminal.say
        ),
    )
    terminal.answer(result, f"{result['app']}.{result['service']}: {result['from']} -> {result['to']} replicas")
