"""`skerry sign`: one more signature on what one key alone may not sign."""

from __future__ import annotations

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal


@declare(name="sign", example="skerry sign policy", codes=(0, 1, 2, 3, 4))
@click.argument("path")
def command(terminal: Terminal, path: str, cloud: str, passphrase_file: str | None) -> None:
    """Sign a document that waits for more signatures.

    PATH names it: policy, root, app/NAME, release/NAME, node/NAME.
    """
    from skerry.client import deploy

    result = run.in_cloud(terminal, cloud, passphrase_file, lambda session: deploy.sign(session, path), changes=True)
    terminal.answer(result, f"{path} is signed")
