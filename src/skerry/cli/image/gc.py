"""`skerry image gc`: room on this machine's disk."""

from __future__ import annotations

import click

from skerry.cli.image.options import store
from skerry.cli.options import Duration
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal
from skerry.sizes import size


@declare(name="gc", example="skerry image gc --dry-run\nskerry image gc --older-than 24h", codes=(0, 1, 2), cloud=False)
@click.option(
    "--older-than",
    "older_than_s",
    type=Duration(),
    default="168h",
    show_default=True,
    metavar="AGE",
    help="Leave what is younger.",
)
@click.option("--downloads", is_flag=True, help="Also packages that no build has used for that long.")
@click.option("--dry-run", is_flag=True, help="Show what would go; remove nothing.")
def command(terminal: Terminal, older_than_s: float, downloads: bool, dry_run: bool) -> None:
    """Remove images that no name and no deploy from here refers to.

    Hosts collect on their own; nothing there is touched.
    """
    from skerry.client.library.collect import collect

    found = collect(store(), older_than_s=older_than_s, downloads=downloads, dry_run=dry_run)
    for digest in found["damaged"]:
        terminal.warn(f"{digest} is damaged, so what it needs is unknown: no object was removed")
    would = "would go" if dry_run else "are gone"
    lines = [f"{digest} {'would go' if dry_run else 'is gone'}" for digest in found["images"]]
    lines.append(f"{found['objects']} objects, {size(found['size_bytes'])}, {would}; {found['kept']} images stay")
    if downloads:
        lines.append(f"{size(found['downloads_bytes'])} of downloads {would}")
    terminal.answer(found, "\n".join(lines))
