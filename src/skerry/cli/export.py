"""`skerry export`: what there is, as a folder of files for `skerry plan` and `skerry apply`."""

from __future__ import annotations

from pathlib import Path

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal


@declare(name="export", example="skerry export cloud/", codes=(0, 1, 2, 4))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--secrets", is_flag=True, help="Also environments of apps and addresses of receivers, in clear, into .env files."
)
def command(terminal: Terminal, folder: Path, secrets: bool, cloud: str, passphrase_file: str | None) -> None:
    """Write hosts, pools, roles, tools, alerts and apps into FOLDER, to begin with.

    What has been deployed is named by digest: to build it from now on, put its sources there. Nothing is overwritten.
    """
    from skerry.client.folder.export import export

    result = run.in_cloud(terminal, cloud, passphrase_file, lambda session: export(session, folder, secrets=secrets))
    for note in result["notes"]:
        terminal.warn(f"not said in the file: {note}")
    terminal.answer(result, f"{len(result['files'])} files in {folder}; now: skerry plan {folder}")
