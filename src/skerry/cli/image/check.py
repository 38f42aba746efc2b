"""`skerry image check`: does the image lack what its program asks for?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.cli.image.options import store
from skerry.cli.image.sources import image_of
from skerry.cli.image.trials import of_a_trial
from skerry.cli.options import Duration
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, table

if TYPE_CHECKING:
    from skerry.client.trial.wish import Wish


@declare(
    name="check",
    example="skerry image check . -p 8080:8000 --for 30s\nskerry image check guestbook.store -v ./data:/data",
    codes=(0, 1, 2),
    cloud=False,
)
@of_a_trial
@click.option("--for", "for_s", type=Duration(), default="5s", show_default=True, help="How long it is watched.")
def command(terminal: Terminal, image: str, file: Path | None, wish: Wish, for_s: float) -> int:
    """Run IMAGE under strace, with all that its packages hold, and name what the image itself lacks.

    Use it meanwhile (-p): what is never asked for is not seen. For each file it says the line of the recipe that keeps it. Ends
    with 1 if something is lacking.
    """
    from skerry.client.library.checking import check
    from skerry.client.trial.rootless import enter

    enter()
    images = store()
    found = check(images, image_of(terminal, images, image, file), wish, for_s=for_s, progress=terminal.say)
    if not found["missing"]:
        text = f"nothing is lacking: it asked for {found['asked']} paths"
        text += f", and ended with exit code {found['exit_code']}" if found["exit_code"] else ""
        terminal.answer(found, text)
        return 0
    terminal.answer(found, table(found["missing"], ("how", "package", "path", "write")))
    return 1
