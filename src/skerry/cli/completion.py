"""`skerry completion`: the script by which a shell completes verbs and options."""

import click

from skerry.cli.options import command as declare
from skerry.cli.output import Terminal


@declare(name="completion", example='eval "$(skerry completion bash)"', codes=(0, 2), cloud=False)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(terminal: Terminal, shell: str) -> None:
    """Print the completion script for a shell.

    Put it where your shell reads it, or evaluate it in the shell's start-up file.
    """
    from click.shell_completion import get_completion_class

    from skerry.cli.main import skerry

    made = get_completion_class(shell)
    assert made is not None
    # Not `.source()`: for bash that first starts a bash to ask its version, which a laptop may not have.
    script = made.source_template % made(skerry, {}, "skerry", "_SKERRY_COMPLETE").source_vars()
    terminal.answer({"shell": shell, "script": script}, script)
