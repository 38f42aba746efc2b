"""The whole way from a compose file to a ComposeApp: read, check, translate. Only `load` touches files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from skerry.client.compose.plan import ComposeApp


def load(path: Path, *, environ: Mapping[str, str], env_file: Path | None = None, name: str = "") -> ComposeApp:
    """Read a compose file (or the folder that holds one) and all that it refers to.

    `environ` goes before `env_file` (default: `.env` beside the file); `name`: the app's name, else `name:`, else
    the folder's. Raises ComposeErrors with every mistake in it.
    """
    raise NotImplementedError


def parse(
    text: str,
    *,
    environ: Mapping[str, str],
    name: str = "",
    folder: Path = Path(),
    file: str = "compose file",
    read: Callable[[str], str | None] = lambda path: None,
) -> ComposeApp:
    """The pure part of `load`. `read`: content of a file named in the text (env_file), None if it isn't there.

    Gives a ComposeApp or raises ComposeErrors; never anything else, whatever the text is.
    """
    raise NotImplementedError
