"""`skerry image init`: a recipe for a folder, from what lies in it."""

from __future__ import annotations

from pathlib import Path

import click

from skerry.cli.options import command as declare
from skerry.cli.output import Terminal


@declare(name="init", example="skerry image init web\nskerry image init --print", codes=(0, 2), cloud=False)
@click.argument("directory", type=click.Path(path_type=Path), default=Path())
@click.option("--print", "only_print", is_flag=True, help="Show the recipe, write nothing.")
def command(terminal: Terminal, directory: Path, only_print: bool) -> None:
    """Look at DIRECTORY and write a recipe, image.toml, into it; without it, this folder.

    It asks nothing, says what it was not sure of, and never writes over a recipe that is there.
    """
    from skerry.errors import BadInput
    from skerry.image.building.suggest import suggest

    path = directory / "image.toml"
    if path.exists() and not only_print:
        raise BadInput(
            "no recipe was written", f"{path} is there already", "remove it, or see what would be written: --print"
        )
    found = suggest(directory)
    if only_print:
        text = found.recipe
    else:
        path.write_text(found.recipe, "utf-8")
        doubts = "".join(f"\n  look at this: {line}" for line in found.unsure)
        text = f"{path}: recipe {found.kind}{doubts}\n\na service of a compose file:\n\n{found.compose}".rstrip()
    answer = {
        "path": "" if only_print else str(path),
        "kind": found.kind,
        "recipe": found.recipe,
        "compose": found.compose,
    }
    terminal.answer(answer | {"sure": list(found.sure), "unsure": list(found.unsure)}, text.rstrip())
