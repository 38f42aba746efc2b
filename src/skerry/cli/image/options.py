"""What the verbs of `skerry image` share: the store, and an argument that completes to the names in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from skerry.cli import run

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from skerry.client.images import LocalImages


def store() -> LocalImages:
    from skerry.client.images import LocalImages

    return LocalImages(run.home().images)


class ImageName(click.ParamType[str]):
    """A name or digest of the local store, or a path."""

    name = "image"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Names, and whatever files there are. Reads one small file and makes no store: the shell waits."""
        import json

        from click.shell_completion import CompletionItem

        try:
            names = json.loads((run.home().images / "names.json").read_bytes())
        except (OSError, ValueError, RecursionError):
            names = {}
        found = [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]
        return found or [CompletionItem(incomplete, type="file")]


IMAGE = ImageName()
