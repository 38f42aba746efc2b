"""`skerry image rm`: a name less."""

from __future__ import annotations

import click

from skerry.cli.image.options import IMAGE, store
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal


@declare(name="rm", example="skerry image rm guestbook.web", codes=(0, 1, 2), cloud=False)
@click.argument("names", nargs=-1, required=True, type=IMAGE)
def command(terminal: Terminal, names: tuple[str, ...]) -> None:
    """Take NAMES away from their images. Hosts are not touched.

    The bytes go with the next `skerry image gc`, unless another name or a deploy needs them.
    """
    images = store()
    removed = [{"name": name, "digest": images.untag(name)} for name in names]
    terminal.answer(removed, "\n".join(f"{row['name']} is no name any more; it was {row['digest']}" for row in removed))
