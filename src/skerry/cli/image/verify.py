"""`skerry image verify`: is it still what its digest says?"""

from __future__ import annotations

import click

from skerry.cli.image.options import IMAGE, store
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal
from skerry.sizes import size


@declare(name="verify", example="skerry image verify guestbook.web", codes=(0, 1, 2), cloud=False)
@click.argument("image", type=IMAGE)
def command(terminal: Terminal, image: str) -> None:
    """Read every byte of IMAGE and compare it with its digest.

    What is damaged is named and put aside, so that the next build or import writes it anew.
    """
    from skerry.client.library.verify import verify

    images = store()
    found = verify(images, images.find(image))
    text = f"{found['digest']} is whole: {found['objects']} objects, {size(found['size_bytes'])}, and its layer"
    if found["root_tree_made_anew"]:
        terminal.warn("the tree that it ran on here had changed; the next run makes it anew")
    terminal.answer(found, text)
