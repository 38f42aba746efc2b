"""`skerry image pull`: an image from an ordinary registry."""

from __future__ import annotations

import click

from skerry.cli.image.import_ import show_imported
from skerry.cli.image.options import store
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal


@declare(
    name="pull",
    example="skerry image pull registry.example/shop/web:3.1 --name shop.web",
    codes=(0, 1, 2),
    cloud=False,
)
@click.argument("reference")
@click.option("--name", default="", metavar="NAME", help="Its name here; else only its digest is known.")
@click.option("--plain-http", is_flag=True, help="The registry has no TLS.")
def command(terminal: Terminal, reference: str, name: str, plain_http: bool) -> None:
    """Take in an image from a registry, by digest: HOST/NAME@sha256:… or HOST/NAME:TAG.

    Only this machine talks to the registry, through skopeo; hosts get the image from here and from each other. What a tag
    stands for today is said as a digest.
    """
    from skerry.client.library.pull import pull

    images = store()
    found = pull(images, reference, name, plain_http=plain_http, progress=terminal.say)
    size_bytes = images.images.tree(found["digest"]).size_bytes
    show_imported(terminal, name, found["digest"], found["findings"], size_bytes, found["pulled"])
