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
from skerry.errors import Refusal

if TYPE_CHECKING:
    from skerry.client.home import CloudHome, Home
    from skerry.client.keys import Passphrase
    from skerry.client.session import Session
    from skerry.trust.identity import Signer

T = TypeVar("T")


def home() -> Home:
    from skerry.client.home import Home

    return Home.find(os.environ)


def passphrase(file: str | None) -> Passphrase:
    """Asks at a terminal only."""
    from skerry.client.keys import passphrase_from

    return passphrase_from(os.environ, Path(file) if file else None, _ask if sys.stdin.isatty() else None)


class NotConfirmed(Refusal):
    """The answer to "shall it be done?" was no, or there was nobody to answer."""

    code = "not-confirmed"


def confirm(question: str) -> None:
    """Raises NotConfirmed unless the answer is yes."""
    import click

    try:
        click.confirm(question, abort=True, err=True)
    except click.Abort:
        click.echo(err=True)  # after the question
        raise NotConfirmed("not confirmed: nothing was changed", "", "where nobody can answer, say --yes") from None


def _ask(what: str) -> str:
    import click

    return str(click.prompt(f"passphrase of {what}", hide_input=True, err=True))


def new_passphrase(file: str | None, what: str) -> str:
    """For keys that are being written; "" for none. Asked twice at a terminal; `SKERRY_PASSPHRASE=` says none, unasked."""
    if file is None and "SKERRY_PASSPHRASE" not in os.environ:
        if not sys.stdin.isatty():
            return ""
        import click

        return str(
            click.prompt(
                f"passphrase for {what} (empty: none)",
                default="",
                hide_input=True,
                show_default=False,
                confirmation_prompt=True,
                err=True,
            )
        )
    return passphrase(file)(what) if file or os.environ["SKERRY_PASSPHRASE"] else ""


def recovery_passphrase(variable: str, what: str) -> str:
    """Of a recovery file."""
    from skerry.client.keys import NoPassphrase

    if os.environ.get(variable):
        return os.environ[variable]
    if not sys.stdin.isatty():
        raise NoPassphrase(f"no passphrase for {what}", "there is no terminal to ask at", f"set ${variable}")
    return _ask(what)


def in_cloud(
    terminal: Terminal,
    cloud: str,
    passphrase_file: str | None,
    work: Callable[[Session], Awaitable[T]],
    *,
    changes: bool = False,
) -> T:
    """Run `work` with an open session. `changes`: name the cloud first, and hold off other changing commands until it is done, or
    has called `session.signed`: from then on it only waits, and who finds it waiting for what is bad may go back."""
    chosen = home().choose(cloud, os.environ)
    with contextlib.ExitStack() as held:
        if changes:
            terminal.cloud(chosen.name)
            held.enter_context(chosen.lock())
        return asyncio.run(_with_session(terminal, chosen, passphrase(passphrase_file), work, held))


def root_keys(session: Session, file: Path | None) -> list[Signer]:
    """The root keys in this file, else those on this machine. Raises KeyMissing where they were put away."""
    from skerry.client.identity import read_root, read_root_file
    from skerry.trust.identity import Signer

    keys = read_root_file(file, session.passphrase) if file else read_root(session.home, session.passphrase)
    return [Signer(seed) for seed in keys.seeds]


async def _with_session(
    terminal: Terminal,
    chosen: CloudHome,
    secret: Passphrase,
    work: Callable[[Session], Awaitable[T]],
    held: contextlib.ExitStack,
) -> T:
    """Whatever an operator came to do, what is past half its life is renewed by the way."""
    from skerry.client import signing
    from skerry.client.home import HomeBusy
    from skerry.client.session import Session

    async with Session(chosen, secret) as session:
        let_go = False

        def signed() -> None:
            nonlocal let_go
            let_go = True
            session.save()
            held.close()

        session.signed = signed
        result = await work(session)
        if signing.any_due(session):
            with contextlib.suppress(HomeBusy):  # another command changes it meanwhile, and renews
                if let_go:
                    held.enter_context(chosen.lock())
                await signing.quietly_renew(session, terminal.say)
        for line in signing.warnings(session):
            terminal.warn(line)
        return result
