"""The operator's own image store, and what a compose file's images are in it: built by recipe, imported, or there already."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from skerry.client.compose.mistakes import ComposeErrors, Mistake
from skerry.client.compose.plan import ComposeApp, ImageRef, Recipe, ServicePlan
from skerry.client.keys import write_atomically
from skerry.errors import BadInput
from skerry.image.contract import BadImage, ImageNotFound
from skerry.image.export import export_layout, export_tar
from skerry.image.local import resolve_image
from skerry.image.trees import Collected, Images
from skerry.store.objects import ObjectStore

if TYPE_CHECKING:
    from skerry.image.stage.contract import Sandbox

Progress = Callable[[str], None]


def sandbox() -> Sandbox:
    """How commands of a recipe's `build` part run on this machine: with the system calls that a container of a host has."""
    from skerry.image.stage.contract import Sandbox
    from skerry.runtime.seccomp import default_profile, seccomp_for

    return Sandbox(seccomp=seccomp_for(default_profile(), platform.machine(), ()))


class LocalImages:
    """Below `$SKERRY_HOME/images`: objects by hash, a cache of downloads, and names.json (name -> digest)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.objects = ObjectStore(directory, durable=False)  # all of it can be built again
        self.images = Images(self.objects, directory / "trees")
        self._names_file = directory / "names.json"

    @property
    def names(self) -> dict[str, str]:
        """Names that builds left: "guestbook.web" -> digest."""
        try:
            return msgspec.json.decode(self._names_file.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}

    def export(self, ref: str, path: Path) -> str:
        """Write what `ref` names as an OCI layout: a folder, or one file (.tar). Gives the digest. Raises ImageNotFound."""
        if path.exists():
            raise BadInput("nothing was exported", f"{path} is there already", "name another path")
        digest = resolve_image(ref, objects=self.objects, names=self.names, base=Path())
        try:
            (export_tar if path.suffix == ".tar" else export_layout)(digest, self.objects, path)
        except OSError as error:
            raise BadInput("nothing was exported", f"{path}: {error.strerror}", "check the path") from None
        return digest

    def collect(self, *, older_than_s: float, keep: Iterable[str] = (), dry_run: bool = False) -> Collected:
        """Remove what no named image and none of `keep` (digests) is made of, if it came longer ago than that.

        Safe beside a build: what that puts counts as just come. `dry_run`: only say what would go.
        """
        kept, now_s = {*self.names.values(), *keep}, time.time()
        stale = [
            image
            for image in self.images.held()
            if image not in kept and self.images.age_s(image, now_s) > older_than_s
        ]
        for image in stale if not dry_run else ():
            self.images.forget(image)
        return self.images.collect(came_before_s=now_s - older_than_s, keep=kept, besides=stale, dry_run=dry_run)

    def resolve_all(self, compose: ComposeApp, progress: Progress) -> dict[str, str]:
        """Service -> digest, built where there is a recipe. Raises ComposeErrors, and what `resolve` raises."""
        digests = self.resolve_named(compose, progress)
        for name, plan in compose.services.items():
            if name not in digests:
                digests[name] = self.resolve(compose.name, name, plan, compose.folder, progress)
        return digests

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
            )
        assert isinstance(plan.image, Recipe)
        from skerry.image.build import build  # a third of all that a deploy loads, and only recipes need it
        from skerry.image.recipe import parse_recipe

        content = dict(plan.image.content)
        context = folder / str(content.pop("context", "."))
        built = build(
            parse_recipe(content),
            context,
            objects=self.objects,
            cache=self._directory / "cache",
            name=service,
            sandbox=sandbox(),
            progress=lambda stage: (
                progress(f"{name}: {stage.detail}") if stage.state == "begun" and stage.detail else None
            ),
        )
        for finding in built.findings:
            progress(f"{name}: {finding}")
        progress(f"{name}: {built.digest[7:19]}, {built.size_bytes / 1e6:.1f} MB, {built.files} files")
        write_atomically(self._names_file, msgspec.json.format(msgspec.json.encode({**self.names, name: built.digest})))
        return built.digest
