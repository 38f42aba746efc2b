"""From a recipe to an image in the local store. Operator's side; any operating system (bytecode needs Linux).

The way: lock and fetch (`sources/locking`), what the packages hold (`sources/unpack`, `sources/wheels`), which of it stays
(`closure`, `rules`), the project's own files (`project`), bytecode, lint, pack (`oci`). All but the project's files is one
*base*, which is kept in the cache by the hash of what it was made of: after an edit only the project is looked at again.
"""

from __future__ import annotations

import functools
import hashlib
import subprocess
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

import msgspec

from skerry.image.bytecode import Source, bytecode_path, can_run, compile_modules
from skerry.image.closure import Closure
from skerry.image.contract import BuildRefused, Objects
from skerry.image.elf import is_elf
from skerry.image.lint.own import check_image, check_project
from skerry.image.manifest import Entry, Tree, parse_tree, tree_of
from skerry.image.oci import ImageConfig, assemble
from skerry.image.pile import File, Pile, file_of
from skerry.image.project import project_files
from skerry.image.recipe import BadRecipe, Recipe
from skerry.image.rules import apply_rules, python
from skerry.image.sources.debian import deb_path
from skerry.image.sources.fetch import write_whole
from skerry.image.sources.lock import FILE_NAME, Lock
from skerry.image.sources.locking import lock
from skerry.image.sources.unpack import unpack_deb
from skerry.image.sources.wheels import requirements_of, unpack_wheel

APP = "app"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PYTHON_WORDS = ("python", "python3", f"python{python.VERSION}")

Progress = Callable[[str], None]


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """A built image. `size_bytes` of its files, `files` how many, `executables` their paths, `findings` sentences for the
    user, `lock` the path of the lock file that was read or written."""

    digest: str
    size_bytes: int
    files: int
    executables: tuple[str, ...]
    findings: tuple[str, ...]
    lock: Path


class _Base(msgspec.Struct, frozen=True):
    """What is kept of a base: its tree manifest, executables, findings."""

    tree: bytes
    executables: tuple[str, ...]
    findings: tuple[str, ...]


def build(
    recipe: Recipe,
    context_dir: Path,
    *,
    objects: Objects,
    cache: Path,
    name: str = "image",
    mirror: str = "",
    allow: Collection[str] = (),
    progress: Progress = lambda line: None,
) -> Built:
    """Build an image: lock, assemble, closure, lint, pack.

    `context_dir`: the project's folder; `skerry.lock` is read from and written to it, in a section called `name` (the
    service's). `cache`: downloads and results by content; may be removed at any time. `mirror`: of Debian, "" for this
    machine's. `allow`: kinds of lint findings that don't refuse it. `progress` gets a line for each step. Raises BuildRefused,
    ImageRefused, DownloadRefused, DownloadFailed, BadRecipe, BadLock.
    """
    if not context_dir.is_dir():
        raise BuildRefused(f"{context_dir} can't be built", "it is not a folder")
    cache.mkdir(parents=True, exist_ok=True)
    is_python = recipe.recipe == "python"
    if is_python:
        _check_python(recipe)
    wishes = (*recipe.packages, *(python.PACKAGES if is_python else ()))
    needs = requirements_of(context_dir, recipe.requirements) if is_python else ""
    lock_file = context_dir / FILE_NAME
    locked = lock(
        wishes, needs, file=lock_file, name=name, context=context_dir, cache=cache, mirror=mirror, progress=progress
    )
    project = project_files(context_dir, APP, recipe.exclude) if is_python else []
    base = _base(
        recipe,
        locked,
        [file for file in project if file.kind == "f" and is_elf(file.load()[:4])],
        objects,
        cache,
        progress,
    )
    entries = {entry.path: entry for entry in parse_tree(base.tree).entries}
    said = list(base.findings)
    if is_python and recipe.bytecode and can_run():
        compiled = _bytecode(project, _pile(locked, cache), cache)
        said += _uncompiled(project, compiled)
        project += compiled
    _place(project, entries, objects, ())
    tree = tree_of(entries.values())
    check_project(project, allow)
    config = msgspec.structs.replace(_config(recipe), executables=base.executables)
    digest = _pack(tree, config, objects, cache)
    said += check_image(digest, objects, cache, name, allow)
    return Built(
        digest=digest,
        size_bytes=tree.size_bytes,
        files=sum(1 for _ in tree.files()),
        executables=base.executables,
        findings=tuple(said),
        lock=lock_file,
    )


def _base(
    recipe: Recipe, locked: Lock, elves: Sequence[File], objects: Objects, cache: Path, progress: Progress
) -> _Base:
    """All of the image but the project's files, from the cache if it was made of the same before."""
    relevant = msgspec.structs.replace(
        recipe, command=(), environment={}, working_dir="", expose=(), stop_signal="", exclude=()
    )
    made_of = [msgspec.json.encode((locked, relevant), order="sorted"), _code().encode(), b"%d" % can_run()]
    made_of += [f"{file.path} {file.sha256}".encode() for file in elves]
    kept = cache / "bases" / hashlib.sha256(b"\n".join(made_of)).hexdigest()
    if kept.is_file():
        base = msgspec.msgpack.decode(kept.read_bytes(), type=_Base)
        if all(objects.has(hash) for hash in parse_tree(base.tree).objects()):
            return base
    progress("choosing files")
    pile = _pile(locked, cache)
    pile.add(elves)
    closure = Closure(pile)
    if recipe.recipe == "python":
        python.apply(closure, recipe.stdlib)
        closure.take([path for path in pile.paths() if path.startswith(python.SITE + "/")])
        closure.take([file.path for file in elves])
    for program in (*(recipe.entrypoint[:1] if recipe.recipe == "debian" else ()), *recipe.programs):
        closure.program(program)
    for pattern in recipe.keep:
        closure.glob(pattern)
    apply_rules(closure, recipe.user)
    for path in recipe.directories:
        closure.directory(path.strip("/"))
    closure.report(without=[python.PROGRAM[1:]])
    files = list(closure.kept.values())
    if recipe.recipe == "python" and recipe.bytecode:
        if can_run():
            progress("compiling modules")
            files += _bytecode(files, pile, cache)
        else:
            closure.findings.append(
                "no bytecode: the image's Python can't run on this machine, so each start takes longer"
            )
    entries: dict[str, Entry] = {}
    _place(files, entries, objects, closure.executables)
    base = _Base(tree_of(entries.values()).encode(), tuple(sorted(closure.executables)), tuple(closure.findings))
    write_whole(kept, msgspec.msgpack.encode(base))
    return base


def _pile(locked: Lock, cache: Path) -> Pile:
    pile = Pile()
    for deb in locked.debs:
        pile.add(unpack_deb(deb_path(deb, cache), cache, f"{deb.name} {deb.version}"))
    for wheel in locked.wheels:
        pile.add(unpack_wheel(wheel, cache, python.SITE))
    return pile


def _bytecode(files: Iterable[File], pile: Pile, cache: Path) -> list[File]:
    modules = [file for file in files if file.kind == "f" and file.path.endswith(".py")]
    try:
        compiled = compile_modules([Source(file.path, file.sha256, file.load()) for file in modules], pile, cache)
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildRefused(
            "the modules can't be compiled", str(error), "write `bytecode: false` in the recipe"
        ) from error
    return [file_of(bytecode_path(path), data, "compiled") for path, data in compiled.items()]


def _uncompiled(project: Iterable[File], compiled: Iterable[File]) -> list[str]:
    """The project's own modules that Python can't read: better said now than by a container that ends at once."""
    done = {file.path for file in compiled}
    wrong = [f.path for f in project if f.kind == "f" and f.path.endswith(".py") and bytecode_path(f.path) not in done]
    return [f"{path.removeprefix(APP + '/')} can't be compiled: it is no Python 3.11" for path in wrong]


def _place(files: Iterable[File], entries: dict[str, Entry], objects: Objects, executables: Iterable[str]) -> None:
    """Put files into the store and into `entries`; the only place where modes are made."""
    runnable = frozenset(executables)
    for file in files:
        if file.kind == "d":
            entries[file.path] = Entry(file.path, "d", 0o1777 if file.path in ("tmp", "run") else 0o755)
        elif file.kind == "l":
            entries[file.path] = Entry(file.path, "l", 0o777, link=file.link)
        else:
            if not objects.has(file.sha256):
                objects.put(file.load())
            mode = 0o755 if file.path in runnable else 0o644
            entries[file.path] = Entry(file.path, "f", mode, sha256=file.sha256, size=file.size)


def _pack(tree: Tree, config: ImageConfig, objects: Objects, cache: Path) -> str:
    """Put the image's documents into the store and give its digest; the layer itself is never kept."""
    same = hashlib.sha256(b"\n".join([tree.encode(), msgspec.json.encode(config), _code().encode()])).hexdigest()
    kept = cache / "packed" / same
    if kept.is_file():
        digest, *documents = kept.read_text().split()
        if all(objects.has(hash) for hash in documents):
            return digest
    image = assemble(tree, config, objects.read)
    documents = [objects.put(data) for data in (tree.encode(), image.config, image.manifest)]
    write_whole(kept, " ".join([image.digest, *documents]).encode())
    return image.digest


def _config(recipe: Recipe) -> ImageConfig:
    environment = {"PATH": PATH, "LANG": "C.UTF-8"}
    if recipe.recipe == "python":
        environment |= {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return ImageConfig(
        entrypoint=recipe.entrypoint,
        cmd=recipe.command,
        env=tuple((environment | recipe.environment).items()),
        user=recipe.user,
        working_dir=recipe.working_dir or (f"/{APP}" if recipe.recipe == "python" else "/"),
        exposed=tuple(port if "/" in port else f"{port}/tcp" for port in recipe.expose),
        stop_signal=recipe.stop_signal,
    )


def _check_python(recipe: Recipe) -> None:
    first = (recipe.entrypoint or recipe.command)[:1]
    allowed = {*PYTHON_WORDS, *(f"/usr/bin/{word}" for word in PYTHON_WORDS), *recipe.programs}
    if first and first[0] not in allowed:
        raise BadRecipe(
            "the image recipe was refused",
            f"{first[0]!r} is a script that wheels bring, or no program of the image: there is no shell to find it",
            f"write it as a module: [python3, -m, {first[0].rpartition('/')[2]}, …]",
        )


@functools.cache
def _code() -> str:
    """A hash of this room's source: results of another version of Skerry are not taken from the cache."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
