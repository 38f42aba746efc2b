"""`skerry image sbom`: a bill of materials."""

from __future__ import annotations

import click

from skerry.cli.image.options import IMAGE, store
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, as_json


@declare(name="sbom", example="skerry image sbom guestbook.web", codes=(0, 1, 2), cloud=False)
@click.argument("image", type=IMAGE)
def command(terminal: Terminal, image: str) -> None:
    """Print the bill of materials of IMAGE, as CycloneDX 1.5 JSON.

    Every package with version, hash, licence and its files. For an image that others made it lists what the image itself
    names, and says that this may not be all.
    """
    from skerry.client.library.parts import origin_of
    from skerry.image.sbom import sbom

    images = store()
    digest = images.find(image, terminal.say)
    name = image if image in images.names else next((n for n, d in sorted(images.names.items()) if d == digest), "")
    document = sbom(digest, name, origin_of(images, digest))
    terminal.answer(document, as_json(document, indent=2))
