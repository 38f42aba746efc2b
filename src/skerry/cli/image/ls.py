"""`skerry image ls`: which images are here."""

from __future__ import annotations

from skerry.cli.image.options import store
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, age


@declare(name="ls", example="skerry image ls", codes=(0, 1), cloud=False)
def command(terminal: Terminal) -> None:
    """List the images of this machine, and what uses them.

    What has no name is what a newer build replaced; `skerry image gc` removes it in time.
    """
    from skerry.client.library.listing import listing

    rows = listing(store())
    shown = [row | {"image": row["digest"][7:19], "age": age(row["when_s"])} for row in rows]
    if terminal.as_json:
        terminal.answer(rows, "")
    else:
        empty = "no image yet: a deploy or `skerry image build` makes them"
        terminal.rows(shown, ("name", "image", "size_bytes", "age", "used_by"), empty=empty)
