"""`skerry cat`: one file of a container."""

from __future__ import annotations

import sys

import click

from skerry.cli import run
from skerry.cli.options import InSlot, Size, SlotPath, crashed
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, clean


@declare(
    name="cat",
    example="skerry cat web/1:/tmp/app.log\nskerry cat web/1:/data/db.sqlite --limit 2g --json",
    codes=(0, 1, 2, 3, 4),
)
@click.argument("place", metavar="SLOT:/PATH", type=InSlot())
@crashed
@click.option(
    "--limit", type=Size(), default="64m", show_default=True, help="The most that is shown; a larger file is refused."
)
def command(
    terminal: Terminal, place: SlotPath, limit: int, crashed: bool, cloud: str, passphrase_file: str | None
) -> None:
    """Show the file SLOT:/PATH.

    Unseen: the container does not notice; all operators see the event.

    At a terminal control characters are shown, not sent; into a file or pipe go the very bytes.
    """
    from contextlib import aclosing

    from skerry.client import looking
    from skerry.client.session import Session

    at_terminal = sys.stdout.isatty() and not terminal.as_json
    kept = bytearray()

    async def work(session: Session) -> None:
        found = await looking.find(session, place.slot, crashed=crashed)
        async with (
            looking.opened(session, found, "cat", path=place.path, limit=limit, crashed=crashed) as answer,
            aclosing(answer.data()) as pieces,
        ):
            async for piece in pieces:
                if at_terminal or terminal.as_json:
                    kept.extend(piece)
                else:
                    sys.stdout.buffer.write(piece)

    run.in_cloud(terminal, cloud, passphrase_file, work)
    if terminal.as_json:
        terminal.answer(_document(place, bytes(kept)), "")
    elif at_terminal:
        lines = bytes(kept).decode("utf-8", "backslashreplace").split("\n")
        sys.stdout.write("\n".join(clean(line.replace("\t", "    ")) for line in lines))
    sys.stdout.flush()


def _document(place: SlotPath, content: bytes) -> dict[str, object]:
    """Text where it is text, else base64."""
    import base64

    told: dict[str, object] = {"slot": place.slot, "path": place.path, "size_bytes": len(content)}
    try:
        return told | {"text": content.decode()}
    except UnicodeDecodeError:
        return told | {"base64": base64.b64encode(content).decode()}
