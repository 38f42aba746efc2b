"""`skerry apply`: the cloud becomes what a folder of files says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skerry.cli import run
from skerry.cli.host import ssh_options
from skerry.cli.options import Duration
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal
from skerry.cli.plan import as_json, folder_options, look, read, text

if TYPE_CHECKING:
    from skerry.client.session import Session


@declare(name="apply", example="skerry apply cloud/\nskerry apply cloud/ --prune --yes", codes=(0, 1, 2, 3, 4, 5))
@folder_options
@click.option("--yes", is_flag=True, help="Don't ask before something is removed.")
@click.option(
    "--timeout", "timeout_s", type=Duration(), default="300s", show_default=True, help="How long each step may take."
)
@ssh_options
def command(
    terminal: Terminal,
    folder: Path,
    prune: bool,
    yes: bool,
    timeout_s: float,
    ssh: dict[str, Any],
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Make the cloud what FOLDER says, hosts first, apps last; again it changes nothing.

    Nothing is removed without --prune, and nobody is asked but before that. After an interruption or an error the same
    command goes on. A pool's provider is asked with $<PROVIDER>_TOKEN.
    """
    from skerry.client.folder.apply import How, apply

    found, images = read(terminal, folder)

    def token(provider: str) -> str:
        return os.environ.get(f"{provider.upper().replace('-', '_')}_TOKEN", "").strip()

    how = How(images=images, token=token, ssh=ssh, timeout_s=timeout_s)

    async def work(session: Session) -> dict[str, Any]:
        made = await look(session, found, images, prune, terminal)
        for line in text(terminal, made, prune).splitlines():
            terminal.say(line)
        if made.counts["remove"] and not yes:
            run.confirm(f"remove {', '.join(step.path for step in made.steps if step.action == 'remove')}?")
        done = await apply(session, found, made, how, terminal.say)
        return as_json(made) | {"done": done}

    result = run.in_cloud(terminal, cloud, passphrase_file, work, changes=True)
    count = len(result["done"])
    terminal.answer(result, f"{count} step{'s' if count != 1 else ''} done" if count else "nothing to do")
