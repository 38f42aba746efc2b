"""`skerry image run`: an image tried on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from skerry.cli.image.options import store
from skerry.cli.image.sources import image_of
from skerry.cli.image.trials import of_a_trial
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal

if TYPE_CHECKING:
    from skerry.client.trial.wish import Wish


@declare(
    name="run",
    example="skerry image run . -p 8080:8000\nskerry image run guestbook.web -p 8080:8000 -e STORE=none -- --workers 2",
    codes=(0, 1, 2),
    cloud=False,
)
@of_a_trial
def command(terminal: Terminal, image: str, file: Path | None, wish: Wish) -> int:
    """Run IMAGE here as a host would, without a cloud: read-only, without rights, as its own user.

    IMAGE is a name, a digest, an archive, or a folder with a recipe, which is built first. ARGS take the place of the image's
    command. Ctrl-C or SIGTERM ends it with the image's stop signal; nothing of it stays. Ends with the program's exit code.
    """
    from skerry.client.trial.first import with_data
    from skerry.client.trial.rootless import enter
    from skerry.client.trial.run import run_image

    enter()
    images = store()
    digest = image_of(terminal, images, image, file)

    def started() -> None:
        for port in wish.ports:
            terminal.say(f"{port.address}:{port.host} leads to its port {port.inside}")
        terminal.say(f"{digest[7:19]} runs; Ctrl-C ends it")

    # With --json stdout is for the answer alone: what the program says goes to stderr.
    out = 2 if terminal.as_json else None
    root, config = images.images.make(digest), images.images.config(digest)
    with with_data(images.images, digest, wish, images.trials, out=out, say=terminal.say) as whole:
        code = run_image(root, config, whole, images.trials, out=out, started=started)
    if terminal.as_json:
        terminal.answer({"image": image, "digest": digest, "exit_code": code}, "")
    else:
        terminal.say(f"it ended with exit code {code}")
    return code
