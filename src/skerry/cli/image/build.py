"""`skerry image build`: from a recipe to an image in the local store, stage by stage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skerry.cli import run
from skerry.cli.image.options import store
from skerry.cli.image.sources import from_compose
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, clean
from skerry.sizes import size

if TYPE_CHECKING:
    from skerry.image.building.stages import Stage


@declare(
    name="build",
    example="skerry image build .\nskerry image build --dry-run .\nskerry image build -f compose.yaml web",
    codes=(0, 1, 2),
    cloud=False,
)
@click.argument("subject", metavar="[DIR|SERVICE]", default="")
@from_compose
@click.option("--name", default="", help="The image's name here; else the folder's, or app.service.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, stage by stage; change nothing.")
def command(terminal: Terminal, subject: str, file: Path | None, name: str, dry_run: bool) -> None:
    """Build the image of a folder with an image.toml, or of a compose file's service.

    lock, build, assemble, closure, lint, pack, probe, sign: what was done before is taken from the cache. Without a lock file
    one is made: commit it.
    """
    from skerry.client.library.building import build_whole, find_recipe, plan_of
    from skerry.client.library.inspect import shells

    images = store()
    source = find_recipe(subject, file, name)
    if dry_run:
        rows = [
            {"stage": plan.name, "state": "cached" if plan.cached else "to do", "detail": plan.detail}
            for plan in plan_of(images, source)
        ]
        terminal.rows(rows, ("stage", "state", "detail"))
        return
    stages: list[dict[str, Any]] = []

    def show(stage: Stage) -> None:
        if stage.state == "begun":
            if stage.detail:
                terminal.say(f"{stage.name:<9} … {stage.detail}")
            return
        terminal.say(f"{stage.name:<9} {stage.state:<6} {stage.seconds:6.2f} s  {stage.detail}".rstrip())
        row = {"name": stage.name, "state": stage.state, "seconds": stage.seconds, "detail": stage.detail}
        stages.append(row)

    built, probed = build_whole(images, source, show, _who_signs())
    value = {
        "image": source.name,
        "digest": built.digest,
        "size_bytes": built.size_bytes,
        "files": built.files,
        "executables": list(built.executables),
        "shells": shells(images.images.tree(built.digest)),
        "suid": [],  # a tree has no such mode: no image of the store can hold one
        "findings": list(built.findings),
        "probe": [{"what": what, "kept": kept, "seen": seen} for what, kept, seen in probed],
        "lock": str(built.lock),
        "stages": stages,
    }
    lines = [f"finding: {clean(finding)}" for finding in built.findings]
    lines += [f"note: {clean(seen)}" for _, kept, seen in probed if not kept]
    lines.append(f"{source.name} is {built.digest}: {size(built.size_bytes)}, {built.files} files")
    terminal.answer(value, "\n".join(lines))


def _who_signs() -> str:
    home = run.home()
    cloud = home.selected()
    if cloud and home.cloud(cloud).has_key("operator"):
        return f"a deploy signs it for cloud {cloud}"
    return "a deploy signs it, and here is no cloud's key"
