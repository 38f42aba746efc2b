"""`skerry tools`: the images that hosts run beside a container that somebody looks into."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skerry.cli import run
from skerry.cli.image.options import IMAGE, store
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, table
from skerry.sizes import size

if TYPE_CHECKING:
    from skerry.client.session import Session

CHANGES = (0, 1, 2, 3, 4)


@click.group(name="tools")
def command() -> None:
    """Make, list and remove images with tools for looking into containers."""


@declare(command, "ls", example="skerry tools ls")
def ls(terminal: Terminal, cloud: str, passphrase_file: str | None) -> None:
    """List the tools images: what each is made of, how large it is, on which hosts it lies now."""
    from skerry.client import kits

    async def work(session: Session) -> list[dict[str, Any]]:
        await session.sync(1)
        return await kits.ls(session)

    rows = run.in_cloud(terminal, cloud, passphrase_file, work)
    shown = [{**row, "image": str(row["image"])[7:19]} for row in rows]
    terminal.answer(rows, table(shown, ("name", "image", "size_bytes", "hosts", "about")))


@declare(
    command,
    "build",
    example="skerry tools build base\nskerry tools build mine --from ./debug-kit\nskerry tools build python --refresh",
    codes=CHANGES,
)
@click.argument("name")
@click.option(
    "--from",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=None,
    metavar="DIR",
    help="Your own recipe: a folder with an image.toml. Else one that Skerry brings along.",
)
@click.option("--refresh", is_flag=True, help="Take the newest versions, not those that were locked before.")
def build(
    terminal: Terminal, name: str, folder: Path | None, refresh: bool, cloud: str, passphrase_file: str | None
) -> None:
    """Build the tools NAME here and sign them, so that hosts may run them beside containers.

    base, python, perf and bpf are brought along and are built by themselves when they are first used.
    """
    from skerry.client import delivery

    images = store()

    async def work(session: Session) -> dict[str, Any]:
        await session.sync()
        tools = await delivery.make(session, images, name, terminal.say, folder=folder, refresh=refresh)
        return {"name": name, "image": tools.image, "size_bytes": tools.size_bytes, "about": tools.about}

    result = run.in_cloud(terminal, cloud, passphrase_file, work, changes=True)
    terminal.answer(result, f"tools {name}: {result['image'][7:19]}, {size(result['size_bytes'])}")


@declare(command, "add", example="skerry tools add mine registry.example/debug-kit", codes=CHANGES)
@click.argument("name")
@click.argument("image", type=IMAGE)
def add(terminal: Terminal, name: str, image: str, cloud: str, passphrase_file: str | None) -> None:
    """Let hosts run the programs of IMAGE beside containers, as tools NAME.

    IMAGE: a name or digest of the local store (`skerry image ls`), or an archive. It may hold shells and debuggers: as tools it
    is never run as an app.
    """
    from skerry.client import kits

    images = store()
    digest = images.find(image, terminal.say)

    async def work(session: Session) -> dict[str, Any]:
        await session.sync()
        return await kits.add(session, images, name, digest, f"image {image}"[: kits.ABOUT_MAX])

    result = run.in_cloud(terminal, cloud, passphrase_file, work, changes=True)
    terminal.answer(result, f"tools {name}: {digest[7:19]}, {size(result['size_bytes'])}")


@declare(command, "rm", example="skerry tools rm mine", codes=CHANGES)
@click.argument("name")
def rm(terminal: Terminal, name: str, cloud: str, passphrase_file: str | None) -> None:
    """Take the tools NAME away: no host runs them any more. Their image goes from the hosts by itself."""
    from skerry.client import kits

    async def work(session: Session) -> None:
        await session.sync()
        await kits.rm(session, name)

    run.in_cloud(terminal, cloud, passphrase_file, work, changes=True)
    terminal.answer({"name": name, "removed": True}, f"tools {name} are removed")
