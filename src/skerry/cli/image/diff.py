"""`skerry image diff`: from one image to the next."""

from __future__ import annotations

from typing import Any

import click

from skerry.cli.image.options import IMAGE, store
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, clean, table
from skerry.sizes import size

SHOWN = 40


@declare(name="diff", example="skerry image diff sha256:4e7b90c1 guestbook.web", codes=(0, 1, 2), cloud=False)
@click.argument("old", type=IMAGE)
@click.argument("new", type=IMAGE)
def command(terminal: Terminal, old: str, new: str) -> None:
    """Show what changes from OLD to NEW: packages, files, and how many bytes would travel.

    Both are names, digests (their beginning is enough) or archives.
    """
    from skerry.client.library.compare import compare

    images = store()
    found = compare(images, images.find(old), images.find(new))
    terminal.answer(found, _text(found))


def _text(found: dict[str, Any]) -> str:
    if not (found["files"] or found["config"]):
        return "the same files and config"
    parts = []
    if found["config"]:
        parts.append(table(found["config"], ("field", "old", "new")))
    if found["packages"]:
        parts.append(table(found["packages"], ("kind", "name", "old", "new")))
    elif found["packages"] is None:
        parts.append("(which packages changed is not known: one of them came without its origin)")
    if found["files"]:
        rows = found["files"][:SHOWN]
        more = len(found["files"]) - len(rows)
        parts.append(
            table(rows, ("what", "old_bytes", "new_bytes", "path"))
            + (f"\nand {more} files more: --json" if more else "")
        )
    travels = found["travels"]
    parts.append(f"{size(travels['bytes'])} would travel to a host that has the old one ({clean(travels['how'])})")
    return "\n\n".join(parts)
