"""`skerry image`: the images on this machine. It needs no cloud. One file a verb; nothing is decided in them."""

from __future__ import annotations

import click

from skerry.cli.image import (
    audit,
    build,
    check,
    diff,
    export,
    gc,
    import_,
    init,
    inspect,
    ls,
    pull,
    rm,
    run,
    sbom,
    verify,
)


@click.group(name="image")
def command() -> None:
    """Build images, try them here, look into them, and hand them on."""


for _verb in (init, build, run, check, ls, inspect, diff, sbom, audit, verify, export, import_, pull, rm, gc):
    command.add_command(_verb.command)
