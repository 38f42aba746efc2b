"""What is said of a container that is tried here, which `run` and `check` share."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import click

from skerry.cli.image.options import IMAGE
from skerry.cli.image.sources import from_compose
from skerry.cli.options import Pair

if TYPE_CHECKING:
    from skerry.client.trial.wish import Wish


def of_a_trial(function: Any) -> Any:
    """Gives `image`, `file`, and all else that may be said as `wish`."""

    @functools.wraps(function)
    def wished(
        *args: Any,
        arguments: tuple[str, ...],
        environment: tuple[tuple[str, str], ...],
        ports: tuple[str, ...],
        folders: tuple[str, ...],
        network: str,
        **others: Any,
    ) -> Any:
        return function(*args, wish=_wish(arguments, environment, ports, folders, network), **others)

    options: list[Any] = [
        click.argument("image", type=IMAGE),
        click.argument("arguments", metavar="[-- ARGS]...", nargs=-1, type=click.UNPROCESSED),
        from_compose,
        click.option(
            "-p",
            "--publish",
            "ports",
            multiple=True,
            metavar="HOST:CONTAINER",
            help="A port of this machine, on loopback.",
        ),
        click.option(
            "-e", "--env", "environment", type=Pair(), multiple=True, metavar="K=V", help="Over the image's own."
        ),
        click.option(
            "-v",
            "--volume",
            "folders",
            multiple=True,
            metavar="DIR:/PATH",
            help="A folder of this machine; :ro at the end.",
        ),
        click.option(
            "--network",
            type=click.Choice(["own", "host"]),
            default="own",
            show_default=True,
            help="own: only its published ports, no way out; host: all that this machine reaches.",
        ),
    ]
    given: Any = wished
    for option in reversed(options):
        given = option(given)
    return given


def _wish(
    arguments: tuple[str, ...],
    environment: tuple[tuple[str, str], ...],
    ports: tuple[str, ...],
    folders: tuple[str, ...],
    network: str,
) -> Wish:
    from skerry.client.trial.wish import Wish, parse_folder, parse_port

    return Wish(
        arguments=arguments,
        environment=environment,
        ports=tuple(map(parse_port, ports)),
        folders=tuple(map(parse_folder, folders)),
        host_network=network == "host",
    )
