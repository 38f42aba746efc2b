"""From a recipe to an image in the local store, stage by stage. Operator's side; any operating system (bytecode needs Linux).

lock (`sources/locking`), build (`stage/`), assemble (what the packages and the project hold: `work`), closure (which of it
stays: `closure`, `rules`, the recipe's kind), lint, pack (`oci`). What a stage would find done is not done again; `plan` says
beforehand what that is.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import msgspec

from skerry.image.building.pile import File
from skerry.image.building.recipe import BuildSteps, Recipe
from skerry.image.building.recipes import wants_of
from skerry.image.building.recipes.kind import APP
from skerry.image.building.rules import apply_rules
from skerry.image.building.sources.lock import FILE_NAME, Lock
from skerry.image.building.stage.contract import UNCHANGED, Sandbox
from skerry.image.building.stages import Name, Progress, Running, StagePlan, running
from skerry.image.building.work import Base, Packed, Work, entries_of, keep_contents, whole_tree
from skerry.image.contract import BuildRefused, Objects
from skerry.image.kept import keep
from skerry.image.lint.own import check_image
from skerry.image.manifest import tree_of
from skerry.image.oci import assemble
from skerry.sizes import size


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """A built image. `size_bytes` of its files, `files` how many, `executables` their paths, `findings` sentences for the
    user, `lock` the path of the lock file that was read or written, `init` the image that runs once before a service of it."""

    digest: str
    size_bytes: int
    files: int
    executables: tuple[str, ...]
    findings: tuple[str, ...]
    lock: Path
    init: Built | None = None


def build(
    recipe: Recipe,
    context_dir: Path,
    *,
    objects: Objects,
    cache: Path,
    name: str = "image",
    mirror: str = "",
    sandbox: Sandbox = Sandbox(),  # noqa: B008  a frozen value
    allow: Collection[str] = (),
    progress: Progress = lambda stage: None,
) -> Built:
    """Build an image.

    `context_dir`: the project's folder; `skerry.lock` is read from and written to it, in a section called `name` (the
    service's). `cache`: downloads and results by content; may be removed at any time. `mirror`: of Debian, "" for this
    machine's. `sandbox`: how commands of the recipe's `build` part run. `allow`: kinds of lint findings that don't refuse it. A
    recipe's `init` is built first, with a section of its own. Raises BuildRefused, ImageRefused, DownloadRefused,
    DownloadFailed, BadRecipe, BadLock, and what the build stage raises.
    """
    _check_folder(context_dir)
    if recipe.recipe == "dockerfile":
        recipe, context_dir = _from_dockerfile(recipe, context_dir, cache, progress)
    init = None
    if recipe.init is not None:
        init = _build(
            recipe.init, context_dir, objects, cache, f"{name}.init", mirror, sandbox, allow, progress, as_init=True
        )
    by = init.digest if init is not None else ""
    built = _build(recipe, context_dir, objects, cache, name, mirror, sandbox, allow, progress, initialised_by=by)
    return msgspec.structs.replace(built, init=init)


def _build(
    recipe: Recipe, context_dir: Path, objects: Objects, cache: Path, name: str, mirror: str, sandbox: Sandbox,
    allow: Collection[str], progress: Progress, *, as_init: bool = False, initialised_by: str = "",
) -> Built:  # fmt: skip
    """One image."""
    cache = cache.absolute()  # pip and npm run elsewhere
    cache.mkdir(parents=True, exist_ok=True)
    with running("lock", progress) as stage:
        locked = _lock(recipe, context_dir, cache, name, mirror, sandbox, stage)
    outputs: list[File] = []
    if recipe.build is not None and recipe.build.run:
        with running("build", progress) as stage:
            outputs = _build_outputs(recipe.build, context_dir, cache, name, mirror, sandbox, stage)
    work = Work(recipe, context_dir, locked, outputs, cache, as_init=as_init, initialised_by=initialised_by)
    with running("assemble", progress) as stage:
        packed = work.kept_image(objects)
        base = None if packed else work.kept_base(objects.has)
        stage.cached = bool(packed or base)
        if not stage.cached:
            stage.detail = f"{sum(1 for _ in work.pile.paths())} files to choose from"
    is_kept = packed is not None
    if packed:
        for name_ in _AFTER[:-1]:
            with running(name_, progress) as stage:
                stage.cached, stage.detail = True, packed.digest[7:19] if name_ == "pack" else ""
    else:
        packed = _finish(work, base, objects, progress)
    with running("lint", progress) as stage:  # also of an image that is kept: what is allowed may be another
        stage.cached = is_kept
        said = check_image(packed.digest, objects, cache, name, work.project, allow, tools=recipe.tools)
    return Built(
        digest=packed.digest,
        size_bytes=packed.size_bytes,
        files=packed.files,
        executables=packed.executables,
        findings=(*packed.findings, *said),
        lock=context_dir / FILE_NAME,
    )


def plan(recipe: Recipe, context_dir: Path, *, objects: Objects, cache: Path, name: str = "image") -> list[StagePlan]:
    """What `build` would do, stage by stage, and what is there already. Nothing is written, fetched or run."""
    from skerry.image.building.sources.locking import lock_state

    _check_folder(context_dir)
    if recipe.recipe == "dockerfile":
        what = f"build {recipe.file or 'Dockerfile'} by buildah or docker, with network"
        return [StagePlan("build", False, what), *(StagePlan(stage, False, _UNKNOWN[stage]) for stage in _AFTER)]
    wants = wants_of(recipe, context_dir)
    locked, lacking = lock_state(wants, context_dir / FILE_NAME, name, cache)
    if locked is None:
        wishes = [*wants.packages, *(line.split(" --hash")[0] for line in wants.requirements.split("\n"))]
        plans = [StagePlan("lock", False, f"choose versions of {', '.join(filter(None, wishes)) or 'nothing'}")]
    else:
        plans = [StagePlan("lock", not lacking, f"fetch {lacking}" if lacking else f"as {FILE_NAME} says")]
    if recipe.build is not None and recipe.build.sdists:
        from skerry.image.building.sources.from_source import lacking as to_build

        names = to_build(locked.sdists, locked.wheels, cache) if locked else list(recipe.build.sdists)
        what = f"build from source, without network: {', '.join(names)}" if names else "what comes from source is built"
        plans.append(StagePlan("build", not names, what))
    outputs: list[File] | None = []
    if recipe.build is not None and recipe.build.run:
        from skerry.image.building.stage.project import kept_outputs

        outputs = kept_outputs(recipe.build, context_dir, APP, cache=cache, name=name)
        commands = "; ".join(" ".join(command) for command in recipe.build.run)
        plans.append(StagePlan("build", outputs is not None, f"run without network: {commands}"))
    if locked is None or outputs is None:
        return [*plans, *(StagePlan(stage, False, _UNKNOWN[stage]) for stage in ("assemble", *_AFTER))]
    init = ""
    if recipe.init is not None:
        first = _kept(recipe.init, context_dir, objects, cache, f"{name}.init")
        init = first.digest if first is not None else "not made yet"
    work = Work(recipe, context_dir, locked, outputs, cache, initialised_by=init)
    packed = work.kept_image(objects)
    kept = packed is not None or work.kept_base(objects.has) is not None
    return [
        *plans,
        StagePlan("assemble", kept, "" if kept else f"read {locked.counted()}"),
        StagePlan("closure", kept, "" if kept else _UNKNOWN["closure"]),
        StagePlan("pack", packed is not None, packed.digest if packed else f"{len(work.project)} files of the project"),
        StagePlan("lint", packed is not None, "" if packed else _UNKNOWN["lint"]),
    ]


def _kept(init: Recipe, context_dir: Path, objects: Objects, cache: Path, name: str) -> Packed | None:
    """An init image, if all of it was made before."""
    from skerry.image.building.sources.locking import lock_state

    locked, lacking = lock_state(wants_of(init, context_dir), context_dir / FILE_NAME, name, cache)
    if locked is None or lacking:
        return None
    return Work(init, context_dir, locked, (), cache, as_init=True).kept_image(objects)


_AFTER: tuple[Name, ...] = ("closure", "pack", "lint")
_UNKNOWN: dict[Name, str] = {
    "assemble": "read packages and project",
    "closure": "choose files",
    "pack": "make the image",
    "lint": "check what may run",
}


def _from_dockerfile(recipe: Recipe, context_dir: Path, cache: Path, progress: Progress) -> tuple[Recipe, Path]:
    """The recipe of the archive that buildah or docker makes, and its folder: all stages go on from there."""
    from skerry.image.building.recipes.dockerfile import resolve, wish_of
    from skerry.image.building.stage.dockerfile import build_dockerfile

    with running("build", progress) as stage:
        made = build_dockerfile(wish_of(recipe), context_dir, cache, stage.say)
        stage.detail = f"{made.image[7:19]} by {made.engine}"
    return resolve(recipe, made)


def _check_folder(context_dir: Path) -> None:
    if not context_dir.is_dir():
        raise BuildRefused(f"{context_dir} can't be built", "it is not a folder")


def _lock(
    recipe: Recipe, context_dir: Path, cache: Path, name: str, mirror: str, sandbox: Sandbox, stage: Running
) -> Lock:
    from skerry.image.building.sources.locking import lock

    wants = wants_of(recipe, context_dir)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        stage.say(line)

    builder = None
    if recipe.build is not None and recipe.build.sdists:
        from skerry.image.building.stage import project

        builder = project.builder(
            recipe.build, context_dir, cache=cache, name=name, mirror=mirror, sandbox=sandbox, progress=say
        )
    locked = lock(
        wants,
        file=context_dir / FILE_NAME,
        name=name,
        context=context_dir,
        cache=cache,
        mirror=mirror,
        builder=builder,
        progress=say,
    )
    stage.cached, stage.detail = not said, locked.counted()
    return locked


def _build_outputs(
    steps: BuildSteps, context_dir: Path, cache: Path, name: str, mirror: str, sandbox: Sandbox, stage: Running
) -> list[File]:
    """What the build stage makes, at its place in the image."""
    from skerry.image.building.stage.project import build_outputs

    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        stage.say(line)

    made = build_outputs(steps, context_dir, APP, cache=cache, name=name, mirror=mirror, sandbox=sandbox, progress=say)
    stage.cached = said[-1:] == [UNCHANGED]
    stage.detail = f"{len(made)} files, {size(sum(file.size for file in made))}"
    return made


def _finish(work: Work, base: Base | None, objects: Objects, progress: Progress) -> Packed:
    """The stages from closure on, for an image that isn't kept."""
    with running("closure", progress) as stage:
        stage.cached = base is not None
        base = base or _base(work, objects, stage)
        made, findings = work.kind.derive(work.recipe, work.project, work.pile, work.cache)
        files = [*work.project, *made]
    with running("pack", progress) as stage:
        tree = whole_tree(base, files, work.config.working_dir)
        keep_contents(files, objects)
        declared = () if work.kind.foreign and not work.recipe.slim else base.executables
        config = msgspec.structs.replace(work.config, executables=declared)
        image = assemble(tree, config, objects.read)
        packed = Packed(
            digest=image.digest,
            documents=tuple(objects.put(data) for data in (image.manifest, image.config, tree.encode())),
            size_bytes=tree.size_bytes,
            files=sum(1 for _ in tree.files()),
            executables=base.executables,
            findings=tuple(dict.fromkeys([*base.findings, *findings])),
        )
        keep(work.packed_file, packed)
        stage.detail = f"{packed.digest[7:19]}, {size(packed.size_bytes)}, {packed.files} files"
    return packed


def _base(work: Work, objects: Objects, stage: Running) -> Base:
    """All of the image but the project's files."""
    from skerry.image.building.closure import Closure

    stage.say("choosing files")
    recipe = work.recipe
    if whole := work.kind.whole(recipe, work.sources):
        return _keep_base(work, whole.files, whole.executables, whole.findings, objects, stage)
    closure = Closure(work.pile)
    work.kind.close(closure, recipe, work.elves, work.sources)
    for program in recipe.programs:
        closure.program(program)
    for path, names in recipe.names.items():
        closure.called(closure.program(path), names)
    closure.glob(*recipe.keep)
    data = work.kind.shared_data(recipe, work.elves)
    if not work.kind.foreign:
        apply_rules(closure, recipe.user, tls=data.tls, tz=data.tz)
    for path in recipe.directories:
        closure.directory(path.strip("/"))
    closure.report(without=work.kind.starts_others)
    files = list(closure.kept.values())
    made, findings = work.kind.derive(recipe, files, work.pile, work.cache)
    return _keep_base(work, [*files, *made], closure.executables, (*closure.findings, *findings), objects, stage)


def _keep_base(
    work: Work,
    files: list[File],
    executables: Collection[str],
    findings: tuple[str, ...],
    objects: Objects,
    stage: Running,
) -> Base:
    keep_contents(files, objects)
    tree = tree_of(entries_of(files, executables).values())
    base = Base(tree.encode(), tuple(sorted(executables)), findings)
    keep(work.base_file, base)
    stage.detail = f"{len(files)} files"
    return base
