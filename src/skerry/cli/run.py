"""From a command to the cloud and back: which home, which cloud, whose key, one event loop. Nothing is decided here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from skerry.cli.output import Terminal

if TYPE_CHECKING:
    from skerry.client.home import CloudHome, Home
    from skerry.client.keys import Passphrase
    from skerry.client.session import Session

T = TypeVar("T")


def home() -> Home:
    from skerry.client.home import Home

    return Home.find(os.environ)


def passphrase(file: str | None) -> Passphrase:
    """Asks at a terminal only."""
    from skerry.client.keys import passphrase_from

    return passphrase_from(os.environ, Path(file) if file else None, _ask if sys.stdin.isatty() else None)


def _ask(what: str) -> str:
    import click

    return str(click.prompt(f"passphrase of {what}", hide_input=True, err=True))


def in_cloud(
    terminal: Terminal,
    cloud: str,
    passphrase_file: str | None,
    work: Callable[[Session], Awaitable[T]],
    *,
    changes: bool = False,
) -> T:
    """Run `work` with an open session. `changes`: name the cloud first, and hold off other changing commands."""
    chosen = home().choose(cloud, os.environ)
    if changes:
        terminal.cloud(chosen.name)
    with chosen.lock() if changes else contextlib.nullcontext():
        return asyncio.run(_with_session(chosen, passphrase(passphrase_file), work))


async def _with_session(chosen: CloudHome, secret: Passphrase, work: Callable[[Session], Awaitable[T]]) -> T:
    from skerry.client.session import Session

    async with Session(chosen, secret) as session:
        return await work(session)
