"""`skerry image build`: which recipe is meant, and what a build of it tells."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.client.images import LocalImages, check_name
from skerry.errors import BadInput, Refusal
from skerry.image.building.recipe import BadRecipe, Recipe, parse_recipe, read_recipe

if TYPE_CHECKING:
    from skerry.image.building.build import Built
    from skerry.image.building.stages import Progress, Running, StagePlan

Probed = tuple[tuple[str, bool, str], ...]  # (what, as it should be, what was seen)
NO_STEPS = "nothing: the recipe has no steps"


class ProbeFailed(Refusal):
    """The image was built, and started here it does not keep what every image promises."""

    code = "probe-failed"

    def __init__(self, name: str, digest: str, broken: list[str]) -> None:
        why = "; ".join(broken)
        super().__init__(
            f"{name} was built and does not work", why, f"look into it: skerry image inspect {digest[7:19]}"
        )


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
    if name:
        check_name(name)
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
        fix = f"skerry image init {folder} writes one"
        if composed:
            fix = (
                f"the recipe may be in the compose file: skerry image build -f {folder / composed} SERVICE; else {fix}"
            )
        raise BadRecipe(f"{folder} can't be built", "it has no image.toml", fix)
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


def plan_of(images: LocalImages, source: Source) -> list[StagePlan]:
    """What a build would do, and what is there already. Nothing is changed."""
    from skerry.image.building.build import plan
    from skerry.image.building.stages import StagePlan

    plans = plan(source.recipe, source.context, objects=images.objects, cache=images.cache, name=source.section)
    digest = next(each.detail for each in plans if each.name == "pack")
    origin = images.origins.get(digest) if digest.startswith("sha256:") else None
    probed = origin is not None and origin.probe is not None and not _broken(origin.probe)
    if all(each.name != "build" for each in plans):
        plans.insert(1, StagePlan("build", True, NO_STEPS))
    return [
        *plans,
        StagePlan("probe", probed, "" if probed else "start it here and look"),
        StagePlan("sign", False, f"call it {source.name} here"),
    ]


def build_recipe(images: LocalImages, source: Source, progress: Progress) -> Built:
    """All but the probe, and its name. What `run` and `check` need."""
    built = _build(images, source, progress)
    images.name_build(source.name, built)
    return built


def _build(images: LocalImages, source: Source, progress: Progress) -> Built:
    return images.build(source.recipe, source.context, section=source.section, allow=source.allow, progress=progress)


def build_whole(images: LocalImages, source: Source, progress: Progress, signs: str) -> tuple[Built, Probed]:
    """All stages; gives what was built, and what the probe saw. `signs`: who will sign it, in words. Raises ProbeFailed beside what
    building raises: the image then has no name."""
    from skerry.image.building.stages import Stage, running

    seen: set[str] = set()

    def with_build(stage: Stage) -> None:
        if stage.name == "assemble" and "build" not in seen:
            progress(Stage("build", "cached", NO_STEPS))
        seen.update((stage.name, "build" if stage.name == "assemble" else stage.name))
        progress(stage)

    built = _build(images, source, with_build)
    with running("probe", progress) as stage:
        found = _probe(images, built, source, stage)
    if broken := _broken(found):
        raise ProbeFailed(source.name, built.digest, broken)
    with running("sign", progress) as stage:
        images.name_build(source.name, built)
        stage.detail = f"{source.name} is {built.digest[7:19]} in the store of this machine; {signs}"
    return built, found


def _probe(images: LocalImages, built: Built, source: Source, stage: Running) -> Probed:
    import msgspec

    from skerry.client.trial.container import NoTrial
    from skerry.client.trial.contract import probe

    origin = images.origins.get(built.digest)
    if origin is not None and origin.probe is not None and not _broken(origin.probe):
        stage.cached, stage.detail = True, _in_words(origin.probe)
        return origin.probe
    stage.say("starting it here")
    try:
        root = images.images.make(built.digest)
        config, tree = images.images.config(built.digest), images.images.tree(built.digest)
        seen = probe(
            root, tree, config, images.trials, folders=source.recipe.directories, alone=source.recipe.init is None
        )
    except NoTrial as error:
        stage.detail = f"left out: {error.why}"
        return ()
    found = tuple((each.what, each.kept, each.seen) for each in seen)
    if origin is not None:
        images.origins.put(built.digest, msgspec.structs.replace(origin, probe=found))
    stage.detail = _in_words(found)
    return found


def _broken(found: Probed) -> list[str]:
    """What is not as every image promises. What its program does alone decides nothing: it may want what isn't here."""
    return [seen for what, kept, seen in found if not kept and what != "program"]


def _in_words(found: Probed) -> str:
    return "; ".join(seen for what, kept, seen in found if what in ("user", "authorities", "program") or not kept)


def _plain(name: str) -> str:
    """A folder's name as an image's: "My App" -> "my-app"."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._") or "image"
