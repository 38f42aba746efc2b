"""`skerry explain`: why something is as it is."""

from __future__ import annotations

from typing import Any

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, clean


@declare(name="explain", example="skerry explain web/0")
@click.argument("subject")
def command(terminal: Terminal, subject: str, cloud: str, passphrase_file: str | None) -> None:
    """Explain where SUBJECT stands and why.

    SUBJECT is a slot (web/0), a service, an app or a host.
    """
    from skerry.client import views

    result = run.in_cloud(terminal, cloud, passphrase_file, lambda session: views.explain(session, subject))
    terminal.answer(result, "\n".join(outline(result)))


def outline(value: Any, indent: int = 0) -> list[str]:
    """Nested answers as indented lines; a list of texts is a list of sentences."""
    pad = "  " * indent
    if isinstance(value, dict):
        lines = []
        for key, part in value.items():
            if isinstance(part, (dict, list)):
                if part:
                    lines += [f"{pad}{clean(key)}:", *outline(part, indent + 1)]
            elif part not in (None, ""):
                lines.append(f"{pad}{clean(key)}: {clean(part)}")
        return lines
    if isinstance(value, list):
        lines = []
        for part in value:
            inner = outline(part, indent + 1) if isinstance(part, (dict, list)) else [f"{pad}  {clean(part)}"]
            lines += [f"{pad}- {inner[0].lstrip()}", *inner[1:]] if inner else []
        return lines
    return [f"{pad}{clean(value)}"]
