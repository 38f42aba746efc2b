"""`skerry role`: who else may sign, and what."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skerry.cli import run
from skerry.cli.options import Moment
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal
from skerry.errors import BadInput

if TYPE_CHECKING:
    from skerry.client.session import Session

CHANGES = (0, 1, 2, 3, 4)


@click.group(name="role")
def command() -> None:
    """Say who else may sign, and who may look in."""


ROOT_KEY = click.option(
    "--root-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    metavar="FILE",
    help="Where the root key is put away; else the one on this machine. Needed for operators.",
)


@declare(
    command,
    "add",
    example="skerry role add ci github --key github.pub --app guestbook\n"
    "skerry role add operator ben --key ben.pub --root-key /media/stick/root.key\n"
    "skerry role add debug eve --key eve.pub --app guestbook --until 8h\n"
    "skerry role add debug-host me --host vps-1 --until 1h",
    codes=CHANGES,
)
@click.argument("kind", type=click.Choice(["operator", "ci", "observe", "debug", "debug-host"]))
@click.argument("name")
@click.option(
    "--key",
    "key_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    metavar="FILE",
    help="The public half, made by `skerry key new` where the key lives. Without: your own, for a right to look in.",
)
@click.option(
    "--app",
    "apps",
    multiple=True,
    metavar="APP",
    help="For ci an app whose images it may release; for observe and debug one that it may look into ('*': all); repeatable.",
)
@click.option(
    "--host", "hosts", multiple=True, metavar="HOST", help="For observe and debug-host: a host ('*': all); repeatable."
)
@click.option(
    "--until",
    type=Moment(),
    default=0.0,
    metavar="WHEN",
    help="For observe, debug, debug-host: when the right ends, such as 8h or 2026-12-24T18:00Z.",
)
@ROOT_KEY
def add(
    terminal: Terminal,
    kind: str,
    name: str,
    key_file: Path | None,
    apps: tuple[str, ...],
    hosts: tuple[str, ...],
    until: float,
    root_key: Path | None,
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Let another key sign, or look in.

    `operator`: apps, releases, hosts, and with others the policy; needs the root key.
    `ci`: the images of named apps, and nothing else.
    `observe`: nothing to sign; logs, events and figures of named apps and hosts.
    `debug`: nothing to sign; tools from outside on the containers of named apps.
    `debug-host`: nothing to sign; tools on whole hosts. Operators have it by such a role only: without --key it is your own.
    """
    from skerry.client import roles
    from skerry.client.identity import read_public

    signs = kind in ("operator", "ci")
    public = read_public(key_file) if key_file is not None else None
    if signs and (hosts or until):
        raise BadInput(f"role {name} was not added", f"{kind} takes neither --host nor --until", "leave them out")

    async def work(session: Session) -> dict[str, Any]:
        if not signs:
            return await roles.add_right(session, kind, name, public, apps=apps, hosts=hosts, until=until)
        if public is None:
            raise BadInput(
                f"role {name} was not added", f"whose key that {kind} has was not said", "name it: --key FILE"
            )
        if kind == "ci":
            return await roles.add_ci(session, name, public, apps)
        return await roles.add_operator(session, name, public, run.root_keys(session, root_key))

    result = run.in_cloud(terminal, cloud, passphrase_file, work, changes=True)
    does = "sign" if signs else kind
    end = f" until {datetime.fromtimestamp(until, UTC).isoformat(timespec='seconds')}" if until else ""
    terminal.answer(result, f"{name} may {does} {', '.join(result.get('paths', []))}{end}")


@declare(command, "ls", example="skerry role ls")
def ls(terminal: Terminal, cloud: str, passphrase_file: str | None) -> None:
    """List the roles: which keys may sign what, and ask what beside that."""
    from skerry.client import roles

    rows = run.in_cloud(terminal, cloud, passphrase_file, roles.ls)
    terminal.rows(rows, ("name", "threshold", "holders", "asks", "paths"))


@declare(command, "threshold", example="skerry role threshold policy 2", codes=CHANGES)
@click.argument("name")
@click.argument("needed", type=click.IntRange(1, 64))
@ROOT_KEY
def threshold(
    terminal: Terminal, name: str, needed: int, root_key: Path | None, cloud: str, passphrase_file: str | None
) -> None:
    """Say how many of NAME's keys must sign together.

    NAME: `policy` (needs the root key), or a role such as `operators`.
    """
    from skerry.client import roles

    async def work(session: Session) -> dict[str, Any]:
        return await roles.threshold(
            session, name, needed, run.root_keys(session, root_key) if name == roles.POLICY else ()
        )

    result = run.in_cloud(terminal, cloud, passphrase_file, work, changes=True)
    terminal.answer(result, f"{name}: {needed} must sign")


@declare(command, "rm", example="skerry role rm github --turn-back", codes=CHANGES)
@click.argument("name")
@click.option("--turn-back", is_flag=True, help="Its last releases may be a thief's: go back to those before them.")
@ROOT_KEY
def rm(
    terminal: Terminal,
    name: str,
    turn_back: bool,
    root_key: Path | None,
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Take a role, or an operator, away; what it signed last and was good is signed again by you.

    Its key is barred for ever. Taking an operator away needs the root key.
    """
    from skerry.client import roles
    from skerry.client.keeping import renew_token

    async def work(session: Session) -> dict[str, Any]:
        await session.sync(1)
        root = session.trusted.root
        person = root is not None and name in {operator.name for operator in session.trusted.operators()}
        keys = run.root_keys(session, root_key) if person else ()
        return await roles.rm(session, name, keys, turn_back=turn_back)

    result = run.in_cloud(terminal, cloud, passphrase_file, work, changes=True)
    again = ", ".join(result.get("signed_again", [])) or "nothing"
    lines = [f"{name} may sign nothing any more; signed again: {again}"]
    if result.get("turned_back"):
        lines.append(f"turned back: {', '.join(result['turned_back'])}")
    if result.get("secrets_it_could_read"):
        lines.append(f"change the secrets that it could read: {', '.join(result['secrets_it_could_read'])}")
    if pools := result.get("tokens_it_could_read"):
        lines.append(f"{name} has read, of {', '.join(pools)}, {renew_token(pools[0])}")
    terminal.answer(result, "\n".join(lines))
