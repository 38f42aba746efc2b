"""`skerry image import`: an image that others made."""

from __future__ import annotations

from pathlib import Path

import click

from skerry.cli.image.options import store
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, clean
from skerry.sizes import size


@declare(name="import", example="skerry image import web.tar --name shop.web", codes=(0, 1, 2), cloud=False)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", default="", metavar="NAME", help="Its name here; else only its digest is known.")
def command(terminal: Terminal, path: Path, name: str) -> None:
    """Take in the docker-archive or OCI layout at PATH: a folder, or a tar, plain or gzip.

    Owners, times, set-user-id bits and devices are dropped; what the lint finds is listed, and decides on the hosts.
    """
    images = store()
    imported = images.bring(path, name)
    show_imported(
        terminal, name, imported.digest, list(imported.findings), images.images.tree(imported.digest).size_bytes
    )


def show_imported(
    terminal: Terminal, name: str, digest: str, findings: list[str], size_bytes: int, pulled: str = ""
) -> None:
    value = {"image": name, "digest": digest, "size_bytes": size_bytes, "findings": findings}
    lines = [f"finding: {clean(finding)}" for finding in findings]
    lines.append(f"{digest}, {size(size_bytes)}" + (f", is called {name}" if name else ""))
    terminal.answer(value | ({"pulled": pulled} if pulled else {}), "\n".join(lines))
