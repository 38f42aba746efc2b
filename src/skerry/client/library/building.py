"""`skerry image build`: which recipe is meant, and what a build of it tells."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.client.images import LocalImages, Progress
from skerry.errors import BadInput
from skerry.image.recipe import BadRecipe, Recipe, parse_recipe, read_recipe

if TYPE_CHECKING:
    from skerry.image.build import Built


@dataclass(frozen=True)
class Source:
    """A recipe and its project's folder. `name`: the image's; `section`: of the lock file; `allow`: what its service allows."""

    recipe: Recipe
    context: Path
    name: str
    section: str
    allow: tuple[str, ...] = ()


def is_project(images: LocalImages, image: str) -> bool:
    """Whether it means a folder to build, not an image that is there already."""
    path = Path(image)
    return image not in images.names and path.is_dir() and not (path / "index.json").is_file()


def find_recipe(subject: str, file: Path | None, name: str = "") -> Source:
    """The recipe in the folder `subject`, in its image.toml; with `file`, a compose file, that of the service `subject`, which
    may be "" if there is but one. Raises BadInput, BadRecipe, ComposeErrors."""
    if file is not None:
        return _of_compose(file, subject, name)
    folder = Path(subject or ".")
    if not folder.is_dir():
        raise BadInput(f"{folder} can't be built", "there is no such folder", "name the folder that image.toml is in")
    recipe = read_recipe(folder)
    if recipe is None:
        composed = next(
            (f for f in ("compose.yaml", "compose.yml", "docker-compose.yml") if (folder / f).is_file()), ""
        )
        fix = f"the recipe may be in the compose file: skerry image build -f {folder / composed} SERVICE"
        raise BadRecipe(
            f"{folder} can't be built",
            "it has no image.toml",
            fix if composed else 'write one: [image] with recipe = "python" and an entrypoint; see docs/images.md',
        )
    plain = _plain(folder.absolute().name)
    return Source(recipe, folder, name or plain, plain)


def _of_compose(file: Path, service: str, name: str) -> Source:
    from skerry.client.compose import load
    from skerry.client.compose.plan import Recipe as InCompose

    compose = load(file, environ=os.environ, env_file=None, name="")
    recipes = {key: plan.image for key, plan in compose.services.items() if isinstance(plan.image, InCompose)}
    if service and service not in compose.services:
        raise BadInput(
            f"{service} can't be built", f"{file} has no such service", f"it has {', '.join(compose.services)}"
        )
    if not service and len(recipes) == 1:
        service = next(iter(recipes))
    if service not in recipes:
        why = f"{file} names no recipe for it" if service else f"{file} has {len(recipes)} recipes"
        raise BadInput(f"{service or file} can't be built", why, f"name one of {', '.join(recipes) or 'none'}")
    content = dict(recipes[service].content)
    context = compose.folder / str(content.pop("context", "."))
    allow = tuple(compose.services[service].service.allow)
    return Source(parse_recipe(content), context, name or f"{compose.name}.{service}", service, allow)


def build_recipe(images: LocalImages, source: Source, progress: Progress) -> Built:
    return images.build(
        source.recipe,
        source.context,
        name=source.name,
        section=source.section,
        allow=source.allow,
        progress=progress,
    )


def _plain(name: str) -> str:
    """A folder's name as an image's: "My App" -> "my-app"."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._") or "image"
