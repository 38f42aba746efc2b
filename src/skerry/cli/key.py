"""`skerry key`: keys for others, and this machine's keys on their way to another one."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.options import passphrase_file as passphrase_option
from skerry.cli.output import Terminal

NEW_FILE = click.Path(dir_okay=False, path_type=Path)
OLD_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
RECOVERY = "SKERRY_RECOVERY_PASSPHRASE"


@click.group(name="key")
def command() -> None:
    """Carry keys to another machine, or recover them."""


@declare(command, "new", example="skerry key new github --out github.key", codes=(0, 1, 2), cloud=False)
@click.argument("name")
@click.option(
    "--out", type=NEW_FILE, default=None, metavar="FILE", help="The secret half; else ./NAME.key. Beside it: FILE.pub."
)
@passphrase_option
def new(terminal: Terminal, name: str, out: Path | None, passphrase_file: str | None) -> None:
    """Make a key for a CI system or another operator, where it will be used.

    Its public half is what `skerry role add` takes.
    """
    from skerry.client.identity import write_key_pair
    from skerry.errors import BadInput

    secret = out or Path(f"{name}.key")
    public = secret.with_name(secret.name + ".pub")
    if secret.exists() or public.exists():
        raise BadInput("no key was made", f"{secret} or {public} is there already", "name another --out")
    half = write_key_pair(secret, public, name, run.new_passphrase(passphrase_file, f"the key {name}"))
    answer = {"name": name, "key": half.key, "secret_file": str(secret), "public_file": str(public)}
    terminal.answer(
        answer, f"secret half {secret}\npublic half {public}: give this one to an operator (skerry role add)"
    )


@declare(command, "export", example="skerry key export --out home.age", codes=(0, 1, 2))
@click.option("--out", type=NEW_FILE, default=None, metavar="FILE", help="Else ./skerry-recovery-CLOUD.age.")
@click.option("--no-root", is_flag=True, help="Leave the root key out: for your second machine, not for the safe.")
@click.option(
    "--public", is_flag=True, help="No keys at all: what a CI system or another operator needs to know the cloud."
)
@click.option("--remove-root", is_flag=True, help="Once it is written, delete the root key on this machine.")
def export(
    terminal: Terminal,
    out: Path | None,
    no_root: bool,
    public: bool,
    remove_root: bool,
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Write the keys and all that is known of the cloud into one encrypted file.

    It is a newer recovery file: it knows the hosts, too. With --public it is neither secret nor encrypted.
    """
    if remove_root and (no_root or public):
        raise click.UsageError("--remove-root needs the root key in the file")
    from skerry.client import recovery

    chosen = run.home().choose(cloud, os.environ)
    path = out or Path(f"skerry-{'cloud' if public else 'recovery'}-{chosen.name}.{'json' if public else 'age'}")
    if public:
        recovery.export_public(chosen, path)
        terminal.answer({"file": str(path)}, f"{path}: take it in with `skerry key import {path} --key FILE`")
        return
    done = recovery.export(
        chosen, run.passphrase(passphrase_file), path, os.environ.get(RECOVERY, ""), root=not no_root
    )
    if remove_root:
        chosen.remove_key("root")
    answer = {"file": str(path)} | ({"recovery_passphrase": done.passphrase} if done.passphrase else {})
    shown = (
        f"\nits passphrase {done.passphrase}\n  Keep it apart from the file. It is not shown again."
        if done.passphrase
        else ""
    )
    terminal.answer(answer, f"written {path}{shown}")


@declare(command, "rotate", example="skerry key rotate --recovery-file skerry-recovery-new.age", codes=(0, 1, 2, 3, 4))
@click.option(
    "--recovery-file",
    type=NEW_FILE,
    required=True,
    metavar="FILE",
    help="A new one is written: the old one holds the old key.",
)
@click.option(
    "--root-key", type=OLD_FILE, default=None, metavar="FILE", help="Where the root key is put away; else here."
)
def rotate(
    terminal: Terminal, recovery_file: Path, root_key: Path | None, cloud: str, passphrase_file: str | None
) -> None:
    """Replace your operator key by a new one, when a copy of it is lost or stolen.

    On another machine, first take the cloud in: `skerry key import`. The old key signs nothing any more.
    """
    from skerry.client import recovery, roles
    from skerry.client.identity import write_operator
    from skerry.client.keeping import renew_token
    from skerry.client.rotate import let_in
    from skerry.errors import BadInput

    if recovery_file.exists():
        raise BadInput("no key was replaced", f"{recovery_file} is there already", "name another --recovery-file")
    chosen = run.home().choose(cloud, os.environ)
    kept_as = run.new_passphrase(passphrase_file, "the new key")
    keys, old = run.in_cloud(
        terminal,
        chosen.name,
        passphrase_file,
        lambda session: let_in(session, run.root_keys(session, root_key)),
        changes=True,
    )
    write_operator(chosen, keys, kept_as)
    done = recovery.export(
        chosen, run.passphrase(passphrase_file), recovery_file, os.environ.get(RECOVERY, ""), root=True
    )
    result = run.in_cloud(
        terminal,
        chosen.name,
        passphrase_file,
        lambda session: roles.rm(session, old, run.root_keys(session, root_key)),
        changes=True,
    )
    answer = {"operator": keys.name, "taken_away": old, "file": str(recovery_file)} | {
        key: result[key] for key in ("signed_again", "secrets_it_could_read", "tokens_it_could_read")
    }
    lines = [f"you are {keys.name} now; {old} signs nothing any more", f"recovery file {recovery_file}: put it away"]
    if done.passphrase:
        answer["recovery_passphrase"] = done.passphrase
        lines.append(f"its passphrase {done.passphrase}: apart from the file; it is not shown again")
    if readable := result["secrets_it_could_read"]:
        lines.append(f"change what these apps keep secret, if somebody else has the old key: {', '.join(readable)}")
    if pools := result["tokens_it_could_read"]:
        lines.append(f"the old key has read, of {', '.join(pools)}, {renew_token(pools[0])}")
    terminal.answer(answer, "\n".join(lines))


@declare(
    command,
    "import",
    example="skerry key import skerry-recovery-home.age --host 198.51.100.7",
    codes=(0, 1, 2, 3, 4),
    cloud=False,
)
@click.argument("file", type=OLD_FILE)
@click.option("--name", default="", help="What the cloud is called on this machine; else its own name.")
@click.option(
    "--host", "hosts", multiple=True, metavar="ADDRESS", help="A host of the cloud, if the file knows none; repeatable."
)
@click.option(
    "--key",
    "key_file",
    type=OLD_FILE,
    default=None,
    metavar="FILE",
    help="Your own key, for a file made with --public.",
)
@passphrase_option
def import_(
    terminal: Terminal,
    file: Path,
    name: str,
    hosts: tuple[str, ...],
    key_file: Path | None,
    passphrase_file: str | None,
) -> None:
    """Set a cloud up on this machine, from its recovery file or from `key export`.

    The file's passphrase: $SKERRY_RECOVERY_PASSPHRASE, else you are asked.
    """
    from skerry.client import recovery
    from skerry.client.meet import meet

    secret = run.passphrase(passphrase_file)
    if key_file is not None:
        cloud, addresses = recovery.join_public(run.home(), file, key_file, secret, name=name)
    else:
        opened = run.recovery_passphrase(RECOVERY, f"{file}")
        fresh = run.new_passphrase(passphrase_file, "the keys on this machine")
        cloud, found = recovery.recover(run.home(), file, opened, name=name, passphrase=fresh)
        addresses = list(found.addresses)
        if fresh:
            secret = lambda what: fresh  # noqa: E731 - it was asked for a moment ago
    terminal.cloud(cloud.name)
    try:
        met = asyncio.run(meet(cloud, secret, [*hosts, *addresses])) if hosts or addresses else ""
    except BaseException:
        run.home().forget(cloud.name)  # so that the same command can be tried again
        raise
    if not met:
        terminal.warn("no host is known yet; give one: skerry key import FILE --host ADDRESS")
    answer = {"name": cloud.name, "id": cloud.read().id, "met": met}
    terminal.answer(answer, f"cloud {cloud.name} is here and selected" + (f"; {met} answered" if met else ""))
