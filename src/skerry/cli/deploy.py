"""`skerry deploy`: from a compose file to running replicas. The way from here on: docs/architecture.md."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.options import timeout
from skerry.cli.output import Terminal

if TYPE_CHECKING:
    from skerry.client.compose import ComposeApp


def compose_options(function: Any) -> Any:
    """What every command takes that reads a compose file."""
    function = click.argument("file", type=click.Path(path_type=Path), default=Path())(function)
    function = click.option("--name", default="", help="The app's name; else the file's `name:`, else the folder's.")(
        function
    )
    env = click.Path(exists=True, dir_okay=False, path_type=Path)
    return click.option("--env-file", type=env, default=None, metavar="FILE", help="Instead of .env beside FILE.")(
        function
    )


def read_compose(terminal: Terminal, file: Path, name: str, env_file: Path | None) -> ComposeApp:
    from skerry.client.compose import load

    compose = load(file, environ=os.environ, env_file=env_file, name=name)
    for warning in compose.warnings:
        terminal.warn(f"{compose.file}, {warning}")
    return compose


@declare(name="deploy", example="skerry deploy compose.yaml\nskerry deploy --dry-run", codes=(0, 1, 2, 3, 4, 5))
@compose_options
@click.option("--dry-run", is_flag=True, help="Check the file and its images; no cloud is needed, nothing is changed.")
@click.option("--detach", is_flag=True, help="Do not wait until it is healthy.")
@timeout("120s")
def command(
    terminal: Terminal,
    file: Path,
    name: str,
    env_file: Path | None,
    dry_run: bool,
    detach: bool,
    timeout_s: float,
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Build, sign and roll out a compose file.

    FILE is a compose file or a folder that holds one; without it, this folder. It waits until all runs; what
    `x-skerry: canary` holds a new version for comes on top of --timeout, and is shown step by step. A version that fails
    is turned back by the hosts themselves: then this ends with 1, and says why and to what. So it does when a newer
    release is signed meanwhile; from the moment when all is signed it holds off no other command.
    """
    compose = read_compose(terminal, file, name, env_file)
    if dry_run:
        show_plan(terminal, compose)
        return
    from skerry.client import deploy
    from skerry.client.images import LocalImages

    images = LocalImages(run.home().images)
    result = run.in_cloud(
        terminal,
        cloud,
        passphrase_file,
        changes=True,
        work=lambda session: deploy.deploy(
            session,
            compose,
            images=images,
            detach=detach,
            timeout_s=timeout_s,
            progress=terminal.say,
            signed=session.signed,
        ),
    )
    done = "is accepted" if detach else "runs"
    terminal.answer(result, f"{result['app']} {done} after {result['seconds']:.1f} s")


def to_be_built(recipe: Mapping[str, Any]) -> str:
    """By which recipe; and from which folder, where one other than the compose file's was named."""
    folder = recipe["context"]
    return f"to be built by recipe {recipe['recipe']}" + (f" from {folder}" if folder != "." else "")


def show_plan(terminal: Terminal, compose: ComposeApp) -> None:
    """The file is good; now the images: those without a recipe must be there already."""
    from skerry.client.compose.plan import Recipe
    from skerry.client.images import LocalImages

    images = LocalImages(run.home().images)
    here = images.resolve_named(compose, terminal.say)
    images.vet(compose, here)
    rows = []
    for name, plan in compose.services.items():
        service = plan.service
        built = to_be_built(plan.image.content) if isinstance(plan.image, Recipe) else ""
        rows.append(
            {
                "service": f"{compose.name}.{name}",
                "replicas": service.replicas,
                "image": built or here[name],
                "ports": [f"{port.published}:{port.target}/{port.protocol}" for port in service.ports],
                "memory_bytes": service.needs.reserve_memory_bytes,
                "volumes": [mount.volume for mount in service.volumes],
                "probe": f"{service.probe.kind}:{service.probe.port}" if service.probe else "",
            }
        )
    columns = ("service", "replicas", "ports", "memory_bytes", "volumes", "probe", "image")
    terminal.rows(rows, columns)
    terminal.say("the file is good; nothing was changed")
