"""`skerry machine reboot`, `resize`, `rebuild`. Parse, one call, show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.options import timeout
from skerry.cli.output import Terminal
from skerry.cli.provider_token import asked_for, token_file

CHANGES = (0, 1, 2, 3, 4, 5)
NOW = click.option("--now", is_flag=True, help="Also if it holds the last healthy replica of a service.")


@click.group(name="machine")
def command() -> None:
    """A part of `skerry machine`."""


def _act(
    terminal: Terminal,
    slot: str,
    what: Any,
    size: str,
    now: bool,
    timeout_s: float,
    file: Path | None,
    cloud: str,
    secret: str | None,
) -> None:
    from skerry.client import machine_acts

    result = run.in_cloud(
        terminal,
        cloud,
        secret,
        lambda session: machine_acts.act(
            session, slot, what, size, token=asked_for(file), now=now, timeout_s=timeout_s, progress=terminal.say
        ),
        changes=True,
    )
    terminal.answer(result, f"{slot} is back" + (f", as a {size}" if size else ""))


@declare(command, "reboot", example="skerry machine reboot burst/3", codes=CHANGES)
@click.argument("slot")
@NOW
@timeout("300s")
@token_file
def reboot(
    terminal: Terminal,
    slot: str,
    now: bool,
    timeout_s: float,
    token_file: Path | None,
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Have the provider reboot machine SLOT; other hosts run its replicas meanwhile."""
    _act(terminal, slot, "reboot", "", now, timeout_s, token_file, cloud, passphrase_file)


@declare(command, "resize", example="skerry machine resize burst/3 s-2vcpu-4gb", codes=CHANGES)
@click.argument("slot")
@click.argument("size")
@NOW
@timeout("600s")
@token_file
def resize(
    terminal: Terminal,
    slot: str,
    size: str,
    now: bool,
    timeout_s: float,
    token_file: Path | None,
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Make machine SLOT another SIZE, as its provider calls it: it is switched off and on; its disk stays."""
    _act(terminal, slot, "resize", size, now, timeout_s, token_file, cloud, passphrase_file)


@declare(command, "rebuild", example="skerry machine rebuild burst/3", codes=CHANGES)
@click.argument("slot")
@timeout("900s")
@token_file
def rebuild(
    terminal: Terminal,
    slot: str,
    timeout_s: float,
    token_file: Path | None,
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Drain machine SLOT, return it, and have another one in its place: new disk, new keys."""
    from skerry.client import machine_acts

    result = run.in_cloud(
        terminal,
        cloud,
        passphrase_file,
        lambda session: machine_acts.rebuild(
            session, slot, token=asked_for(token_file), timeout_s=timeout_s, progress=terminal.say
        ),
        changes=True,
    )
    terminal.answer(result, f"{slot} is another machine now")
