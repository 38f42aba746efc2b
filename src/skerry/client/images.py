"""The operator's own image store, and what a compose file's images are in it: built by recipe, imported, or there already."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from skerry.client.compose.mistakes import ComposeErrors, Mistake
from skerry.client.compose.plan import ComposeApp, ImageRef, Recipe, ServicePlan
from skerry.client.keys import write_atomically
from skerry.core.intent import INIT, init_of
from skerry.errors import BadInput
from skerry.image.contract import BadImage, ImageNotFound
from skerry.image.kept import alone_in
from skerry.image.lint.findings import ImageRefused, check
from skerry.image.lint.own import verdicts_in
from skerry.image.lint.verdicts import Verdicts
from skerry.image.local import resolve_image
from skerry.image.origin import Origin, Origins
from skerry.image.trees import Collected, Images
from skerry.outside import UNREADABLE
from skerry.sizes import size
from skerry.store.objects import ObjectStore

if TYPE_CHECKING:
    from skerry.image.archive import Imported
    from skerry.image.building.build import Built
    from skerry.image.building.recipe import Recipe as BuildRecipe
    from skerry.image.building.stage.contract import Sandbox
    from skerry.image.building.stages import Progress as StageProgress

Progress = Callable[[str], None]
NAME = re.compile(r"(?!sha256:)[a-z0-9](?:[a-z0-9._/:-]{0,126}[a-z0-9])?")
SHORT_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{7,63})")


def sandbox() -> Sandbox:
    """How commands of a recipe's `build` part run on this machine: with the system calls that a container of a host has."""
    from skerry.image.building.stage.contract import Sandbox
    from skerry.runtime.seccomp import default_profile, seccomp_for

    return Sandbox(seccomp=seccomp_for(default_profile(), platform.machine(), ()))


class LocalImages:
    """Below `$SKERRY_HOME/images`: objects by hash, a cache of downloads, and names.json (name -> digest)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.objects = ObjectStore(directory, durable=False, alone=False)  # all of it can be built again
        self.images = Images(self.objects, directory / "trees", alone=False)
        self.origins = Origins(directory / "origins")
        self.trials = directory / "trials"
        self.tools = directory / "tools"  # a folder for each shipped tools image, with its lock
        self.cache = directory / "cache"
        self._verdicts = Verdicts(verdicts_in(self.cache), self.objects)
        self._names_file = directory / "names.json"
        self._uses_file = directory / "uses.json"

    @property
    def names(self) -> dict[str, str]:
        """Names that builds and imports left: "guestbook.web" -> digest."""
        return _read_map(self._names_file)

    @property
    def uses(self) -> dict[str, str]:
        """What deploys from this machine last brought to a cloud: "home/guestbook.web" -> digest."""
        return _read_map(self._uses_file)

    def tag(self, name: str, digest: str) -> None:
        """Give an image a name; another image that had it is left without. Raises BadInput."""
        check_name(name)
        with alone_in(self._directory):
            _write_map(self._names_file, {**self.names, name: digest})

    def untag(self, name: str) -> str:
        """Take a name away; gives the digest that it had. The image stays until it is collected. Raises ImageNotFound."""
        with alone_in(self._directory):
            names = self.names
            if name not in names:
                raise ImageNotFound(
                    f"{name!r} was not removed", "no image has that name", "`skerry image ls` shows the names"
                )
            digest = names.pop(name)
            _write_map(self._names_file, names)
        return digest

    def note_use(self, cloud: str, app: str, digests: Mapping[str, str]) -> None:
        """A deploy brought these (service -> digest) to a cloud: they are not collected here before the next one."""
        mine = f"{cloud}/{app}."
        with alone_in(self._directory):
            others = {use: digest for use, digest in self.uses.items() if not use.startswith(mine)}
            _write_map(self._uses_file, others | {mine + service: digest for service, digest in digests.items()})

    def find(self, ref: str, progress: Progress = lambda line: None) -> str:
        """The digest of the image that `ref` means: a name, a digest, the beginning of one, or the path of an archive, which
        is imported. Raises ImageNotFound, BadImage."""
        if ref not in self.names and (short := SHORT_DIGEST.fullmatch(ref)) and not Path(ref).exists():
            known = {*self.names.values(), *self.origins.digests()}
            found = sorted(digest for digest in known if digest[7:].startswith(short[1]))
            if len(found) == 1:
                ref = found[0]
            elif found:
                raise ImageNotFound(f"{ref!r} is not one image", f"{len(found)} digests begin so", "write more of it")
        return resolve_image(
            ref, objects=self.objects, names=self.names, base=Path(), progress=progress, imported=self._note_import
        )

    def bring(
        self, path: Path, name: str, how: Literal["imported", "pulled"] = "imported", source: str = ""
    ) -> Imported:
        """Import the archive or layout at `path`, under `name` if there is one. Raises ImageNotFound, BadImage."""
        from skerry.image.archive import import_archive

        if name:
            check_name(name)
        imported = import_archive(path, self.objects)
        self._note_import(path, imported, how, source)
        if name:
            self.tag(name, imported.digest)
        return imported

    def _note_import(
        self, path: Path, imported: Imported, how: Literal["imported", "pulled"] = "imported", source: str = ""
    ) -> None:
        """What an image of others tells about its parts. One of our own that comes back is known better already."""
        from skerry.image.packages import parts_in

        if (held := self.origins.get(imported.digest)) is not None and held.complete:
            return
        parts, unread = parts_in(self.images.tree(imported.digest), self.objects.read)
        findings = (*imported.findings, *unread)
        when_s = time.time()
        origin = Origin(how=how, when_s=when_s, source=source or str(path.absolute()), parts=parts, findings=findings)
        self.origins.put(imported.digest, origin)

    def collect(
        self, *, older_than_s: float, keep: Iterable[str] = (), drop: Iterable[str] = (), dry_run: bool = False
    ) -> Collected:
        """Remove what no named image and none of `keep` (digests) is made of, if it came longer ago than that. Images of `drop`
        are old, however young their trees are.

        Safe beside a build: what that puts counts as just come. `dry_run`: only say what would go.
        """
        kept, now_s = {*self.names.values(), *keep}, time.time()
        stale = [
            image
            for image in self.images.held()
            if image in drop or (image not in kept and self.images.age_s(image, now_s) > older_than_s)
        ]
        for image in stale if not dry_run else ():
            self.images.forget(image)
        return self.images.collect(came_before_s=now_s - older_than_s, keep=kept, besides=stale, dry_run=dry_run)

    def resolve_all(self, compose: ComposeApp, progress: Progress) -> dict[str, str]:
        """Service -> digest, built where there is a recipe. Raises ComposeErrors, what `resolve` and what `vet` raise."""
        digests = self.resolve_named(compose, progress)
        for name, plan in compose.services.items():
            if name not in digests:
                digests[name] = self.resolve(compose.name, name, plan, compose.folder, progress)
        digests |= self._inits(digests)
        self.vet(compose, digests)
        return digests

    def _inits(self, digests: Mapping[str, str]) -> dict[str, str]:
        """The init images of those that need one, by the keys that a release gives them. Raises BadImage, ImageNotFound."""
        inits: dict[str, str] = {}
        for service, digest in digests.items():
            config = self.images.config(digest)
            if config.init:
                fix = "name the service's image: this one is brought along by it"
                raise BadImage(
                    f"{service} can't run {digest[7:19]}", "it is an init image, which runs once before", fix
                )
            if not config.initialised_by:
                continue
            if self.images.missing(config.initialised_by):
                raise ImageNotFound(
                    f"the image of {service} can't be used alone",
                    f"the one that makes its data, {config.initialised_by[7:19]}, is not in the local store",
                    "build it here by its recipe",
                )
            inits[init_of(service)] = config.initialised_by
        return inits

    def vet(self, compose: ComposeApp, digests: Mapping[str, str]) -> None:
        """Judge images as every host will, so that it is learned before anything is signed. `digests`: as a release has them.

        Raises ImageRefused, ImageIncomplete."""
        refused: list[ImageRefused] = []
        for key, digest in digests.items():
            service = key.removesuffix(INIT)
            try:
                check(
                    self._verdicts.of(digest),
                    compose.services[service].service.allow,
                    what=f"the {'init ' if key != service else ''}image of {compose.name}.{service}",
                    init=key != service,
                )
            except ImageRefused as error:
                refused.append(error)
        if refused:
            what = refused[0].what if len(refused) == 1 else f"{len(refused)} images were refused"
            why = refused[0].why if len(refused) == 1 else "; ".join(str(error) for error in refused)
            raise ImageRefused(what, why, refused[0].fix)

    def resolve_named(self, compose: ComposeApp, progress: Progress) -> dict[str, str]:
        """Those that have to be here already. All that are missing are told at once, by their lines: ComposeErrors."""
        mistakes: list[Mistake] = []
        digests: dict[str, str] = {}
        for name, plan in compose.services.items():
            if isinstance(plan.image, Recipe):
                continue
            try:
                digests[name] = self.resolve(compose.name, name, plan, compose.folder, progress)
            except (ImageNotFound, BadImage) as error:
                line, column = plan.lines.get("image", (0, 0))
                mistakes.append(Mistake(line, column, f"services.{name}.image", str(error), error.fix))
        if mistakes:
            raise ComposeErrors(mistakes, compose.file)
        return digests

    def resolve(self, app: str, service: str, plan: ServicePlan, folder: Path, progress: Progress) -> str:
        """The digest of a service's image. Raises what building and importing raise: BuildRefused, ImageNotFound, BadImage."""
        name = f"{app}.{service}"
        if isinstance(plan.image, ImageRef):
            return resolve_image(
                plan.image.text,
                objects=self.objects,
                names=self.names,
                base=folder,
                progress=lambda line: progress(f"{name}: {line}"),
                imported=self._note_import,
            )
        assert isinstance(plan.image, Recipe)
        from skerry.image.building.recipe import parse_recipe

        content = dict(plan.image.content)
        context = folder / str(content.pop("context", "."))
        built = self.build(
            parse_recipe(content),
            context,
            section=service,
            allow=tuple(plan.service.allow),
            progress=in_words(name, progress),
        )
        before = self.names.get(name)
        self.name_build(name, built)
        for finding in built.findings if built.digest != before else ():  # told when it came to be
            progress(f"{name}: {finding}")
        progress(f"{name}: {built.digest[7:19]}, {size(built.size_bytes)}, {built.files} files")
        return built.digest

    def build(
        self,
        recipe: BuildRecipe,
        context: Path,
        *,
        section: str,
        allow: Collection[str] = (),
        progress: StageProgress,
    ) -> Built:
        """Build by a recipe. `section`: of the lock file; `allow`: kinds of lint findings. Raises what image.build raises."""
        from skerry.image.building.build import build  # a third of all that a deploy loads, and only recipes need it

        built = build(
            recipe,
            context,
            objects=self.objects,
            cache=self.cache,
            name=section,
            sandbox=sandbox(),
            allow=allow,
            progress=progress,
        )
        self._note_build(built, recipe, context, section)
        if built.init is not None and recipe.init is not None:
            self._note_build(built.init, recipe.init, context, init_of(section))
        return built

    def name_build(self, name: str, built: Built) -> None:
        """Call it so, and its init image after it."""
        self.tag(name, built.digest)
        if built.init is not None:
            self.tag(init_of(name), built.init.digest)

    def _note_build(self, built: Built, recipe: BuildRecipe, context: Path, section: str) -> None:
        from skerry.client.library.parts import parts_of_build

        if self.origins.get(built.digest) is None:
            origin = parts_of_build(self, built, recipe, context, section, time.time())
            self.origins.put(built.digest, origin)


def check_name(name: str) -> None:
    """Raises BadInput."""
    if not NAME.fullmatch(name):
        why = "names are of lower-case letters, digits, and . _ - / : in between, at most 128 characters"
        raise BadInput(f"{name[:140]!r} can't be an image's name", why, "choose another one")


def in_words(name: str, progress: Progress) -> StageProgress:
    """Of a build's stages only what takes a while, as lines."""
    return lambda stage: progress(f"{name}: {stage.detail}") if stage.state == "begun" and stage.detail else None


def _read_map(path: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        return {}
    except UNREADABLE as error:
        why = f"{path} is damaged: {error}"
        raise BadInput("the local image store can't be read", why, "remove that file: only names are in it") from error


def _write_map(path: Path, content: Mapping[str, str]) -> None:
    write_atomically(path, msgspec.json.format(msgspec.json.encode(dict(content), order="sorted")))
