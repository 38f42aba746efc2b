"""`skerry init`: a new cloud, before it has any host."""

from __future__ import annotations

import os
from pathlib import Path

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.options import passphrase_file as passphrase_option
from skerry.cli.output import Terminal


@declare(name="init", example="skerry init\nskerry init shop --operator ada", codes=(0, 1, 2), cloud=False)
@click.argument("name", default="home")
@click.option("--operator", default="", metavar="NAME", help="Who you are to other operators; else your login name.")
@click.option(
    "--recovery-file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    metavar="FILE",
    help="Where to write it; else ./skerry-recovery-NAME.age.",
)
@passphrase_option
def command(
    terminal: Terminal, name: str, operator: str, recovery_file: Path | None, passphrase_file: str | None
) -> None:
    """Make a new cloud: keys, root of trust, recovery file.

    The recovery file has a passphrase of its own: $SKERRY_RECOVERY_PASSPHRASE, else one is made and shown once.
    """
    from skerry.client import recovery

    terminal.cloud(name)
    begun = recovery.init(
        run.home(),
        name,
        operator=operator or _login(),
        passphrase=run.new_passphrase(passphrase_file, f"the keys of {name}"),
        recovery_file=recovery_file or Path(f"skerry-recovery-{name}.age"),
        recovery_passphrase=os.environ.get("SKERRY_RECOVERY_PASSPHRASE", ""),
    )
    keys = begun.cloud.path / "keys"
    lines = [
        f"cloud {name} is made and selected; it has no host yet.",
        "",
        f"recovery file  {begun.recovery_file}",
        "               Put it where a fire here does not reach it: another house, a safe.",
    ]
    if begun.passphrase:
        lines += [
            f"its passphrase {begun.passphrase}",
            "               Write it on paper, apart from the file. It is not shown again.",
        ]
    lines += [
        f"root key       {keys / 'root.key'}",
        "               Only for changing operators. Move it to a medium that you keep offline, and delete it here.",
        f"operator key   {keys / 'operator.key'}",
        "               For every day; it stays.",
        "",
        "next: skerry host add root@ADDRESS",
    ]
    answer = {"name": name, "id": begun.id, "recovery_file": str(begun.recovery_file), "keys": str(keys)}
    if begun.passphrase:
        answer["recovery_passphrase"] = begun.passphrase
    terminal.answer(answer, "\n".join(lines))


def _login() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container without a passwd entry, say
        return "operator"
