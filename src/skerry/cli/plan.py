"""`skerry plan`: what a folder of files would change in the cloud."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, clean
from skerry.errors import SkerryError

if TYPE_CHECKING:
    from skerry.client.folder.plan import Plan
    from skerry.client.folder.read import Folder
    from skerry.client.images import LocalImages
    from skerry.client.session import Session

SIGNS = {"add": ("+", "green"), "change": ("~", "yellow"), "remove": ("-", "red")}
SHOWN = 20  # fields of one step


def folder_options(function: Any) -> Any:
    function = click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path())(function)
    return click.option(
        "--prune", is_flag=True, help="Remove what the folder's files don't have: of the kinds it has files for."
    )(function)


@declare(
    name="plan", example="skerry plan cloud/\nskerry plan cloud/ --prune --detailed-exitcode", codes=(0, 1, 2, 3, 4)
)
@folder_options
@click.option(
    "--detailed-exitcode",
    is_flag=True,
    help="As Terraform's: 0 nothing to do, 2 there are changes; what else ends with 2 ends with 1.",
)
def command(
    terminal: Terminal, folder: Path, prune: bool, detailed_exitcode: bool, cloud: str, passphrase_file: str | None
) -> int:
    """Show what `skerry apply` would change: hosts, pools, roles, tools, alerts and apps of FOLDER.

    FOLDER holds hosts.yaml, pools.yaml, roles.yaml, tools.yaml, receivers.yaml, rules.yaml and apps/NAME/compose.yaml, each if
    wanted. Images are built as a deploy does; nothing is signed.
    """
    try:
        found, images = read(terminal, folder)
        made = run.in_cloud(
            terminal, cloud, passphrase_file, lambda session: look(session, found, images, prune, terminal)
        )
    except SkerryError as error:
        if detailed_exitcode and error.exit_code == 2:
            error.exit_code = 1  # type: ignore[misc]
        raise
    terminal.answer(as_json(made), text(terminal, made, prune))
    return 2 if detailed_exitcode and made.steps else 0


def read(terminal: Terminal, folder: Path) -> tuple[Folder, LocalImages]:
    from skerry.client.folder.read import read_folder
    from skerry.client.images import LocalImages

    found = read_folder(folder, os.environ)
    for warning in found.warnings:
        terminal.warn(warning)
    return found, LocalImages(run.home().images)


async def look(session: Session, found: Folder, images: LocalImages, prune: bool, terminal: Terminal) -> Plan:
    from skerry.client.folder.plan import plan

    return await plan(session, found, images, prune=prune, progress=terminal.say)


def as_json(plan: Plan) -> dict[str, Any]:
    import msgspec

    answer: dict[str, Any] = msgspec.to_builtins(plan)
    return answer | plan.counts


def text(terminal: Terminal, plan: Plan, prune: bool) -> str:
    lines = []
    for step in plan.steps:
        sign, _ = SIGNS[step.action]
        lines.append(f"{sign} {clean(step.path)}")
        for field in step.fields[:SHOWN]:
            lines.append(f"    {clean(field.field)}: {clean(field.old)} -> {clean(field.new)}")
        if len(step.fields) > SHOWN:
            lines.append(f"    and {len(step.fields) - SHOWN} more")
    counts = plan.counts
    if plan.steps:
        lines.append(f"{counts['add']} to add, {counts['change']} to change, {counts['remove']} to remove")
    else:
        lines.append("nothing to do: the cloud is as the folder says")
    if plan.unmanaged and not prune:
        lines.append(
            f"not in the folder, and left alone (--prune removes them): {', '.join(map(clean, plan.unmanaged))}"
        )
    return "\n".join(lines)
