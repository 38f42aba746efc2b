"""`skerry sh`: a shell outside of the container that one looks into."""

from __future__ import annotations

import click

from skerry.cli.debug import look_in, tools_option, write_option
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal

SHELL = ["sh", "-c", "cd /target && exec sh"]


@declare(name="sh", example="skerry sh web/0", codes=(0, 1, 2, 3, 4))
@click.argument("slot")
@tools_option
@write_option
def command(terminal: Terminal, slot: str, tools: str, write: bool, cloud: str, passphrase_file: str | None) -> int:
    """Sit at a shell beside a running container; its files are at /target.

    The shell is the tools image's: the container gets no process and no file from it, and needs no shell of its own.
    """
    return look_in(terminal, cloud, passphrase_file, slot, SHELL, tools=tools, with_input=True, tty=True, write=write)
