"""`skerry scale`: more or fewer replicas, or other bounds for those that follow the load."""

from __future__ import annotations

from typing import Any

import click

from skerry.cli import run
from skerry.cli.options import Duration
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal

MOST = 1000


@declare(
    name="scale",
    example="skerry scale guestbook.web 5\nskerry scale web=3\nskerry scale web --min 2 --max 8 --schedule 'weekdays 8-20: min 3'",
    codes=(0, 1, 2, 3, 4, 5),
)
@click.argument("service", metavar="[APP.]SERVICE[=REPLICAS]")
@click.argument("replicas", type=click.IntRange(0, MOST), required=False)
@click.option("--min", "least", type=click.IntRange(0, MOST), help="How few there may be, where it follows the load.")
@click.option("--max", "most", type=click.IntRange(1, MOST), help="How many there may be, where it follows the load.")
@click.option(
    "--schedule",
    "schedules",
    multiple=True,
    metavar="LINE",
    help="Other bounds at set times, as in a compose file, instead of those it has; none: no times any more.",
)
@click.option("--detach", is_flag=True, help="Do not wait until they are healthy.")
@click.option(
    "--timeout", "timeout_s", type=Duration(), default="120s", show_default=True, help="How long to wait for them."
)
def command(
    terminal: Terminal,
    service: str,
    replicas: int | None,
    least: int | None,
    most: int | None,
    schedules: tuple[str, ...],
    detach: bool,
    timeout_s: float,
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Change how many replicas a service has.

    SERVICE alone will do where only one app has it. Those that run are not restarted. A service that follows the load
    stays at REPLICAS until it gets other bounds. The next deploy of the compose file sets all to what the file says.
    """
    from skerry.client import apps

    name, number = _meant(service, replicas)
    if (number is None) == (least is None and most is None and not schedules):
        raise click.UsageError("say how many: REPLICAS, or --min, --max and --schedule")
    times = (() if schedules == ("none",) else schedules) if schedules else None
    result = run.in_cloud(
        terminal,
        cloud,
        passphrase_file,
        changes=True,
        work=lambda session: apps.scale(
            session,
            name,
            number,
            least=least,
            most=most,
            schedules=times,
            detach=detach,
            timeout_s=timeout_s,
            progress=terminal.say,
            signed=session.signed,
        ),
    )
    terminal.answer(result, _text(result))


def _meant(service: str, replicas: int | None) -> tuple[str, int | None]:
    """Of `web=3`, or `web` and `3`."""
    name, equals, said = service.partition("=")
    if not equals:
        return name, replicas
    if replicas is not None or not (said.isascii() and said.isdigit() and int(said) <= MOST):
        raise click.BadParameter(f"{service!r} is not SERVICE=REPLICAS, 0 to {MOST}")
    return name, int(said)


def _text(result: dict[str, Any]) -> str:
    change = result.get("bounds") or result
    text = f"{result['app']}.{result['service']}: {change['from']} -> {change['to']} replicas"
    return text + ("; its schedules come back with the next deploy of the file" if result.get("dropped") else "")
