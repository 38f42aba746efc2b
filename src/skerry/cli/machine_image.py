"""`skerry machine image`: what machines of one's own hypervisor begin with. Parse, one call, show."""

from __future__ import annotations

from pathlib import Path

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal


@declare(name="image", example="skerry machine image qemu+ssh://root@198.51.100.7/system", codes=(0, 1, 2), cloud=False)
@click.argument("endpoint")
@click.option("--name", default="debian-12", show_default=True, help="As pools call it: --image NAME.")
@click.option("--storage", default="default", show_default=True, help="libvirt's storage pool that shall have it.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    metavar="FOLDER",
    help="Where it is made and kept; else with the images of this machine.",
)
def command(terminal: Terminal, endpoint: str, name: str, storage: str, folder: Path | None) -> None:
    """Make a small Debian for machines here, once, and send it to the libvirt at ENDPOINT.

    It has cloud-init and no SSH server. Making it wants root and the network; sending it only libvirt's client.
    """
    from skerry.machines.baseimage import build
    from skerry.machines.libvirt import Libvirt

    provider = Libvirt("", endpoint, {"storage": storage})
    files = build(folder or run.home().images / "machines", name, progress=terminal.say)
    provider.volumes.put_image(name, files, terminal.say)
    terminal.answer(
        {"image": name, "endpoint": endpoint, "files": {part: str(f) for part, f in files.items()}}, f"{name} is there"
    )
