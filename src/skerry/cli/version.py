"""`skerry version`."""

from skerry import __version__
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal


@declare(name="version", example="skerry version", codes=(0,), cloud=False)
def command(terminal: Terminal) -> None:
    """Show the version."""
    terminal.answer({"version": __version__}, f"skerry {__version__}")
