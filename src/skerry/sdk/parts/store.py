"""`skerry.Client`: what `skerry.AsyncClient` does, for programs without an event loop; streams are iterators.

Made from the parts of the asynchronous client by tests/sdk/test_synchronous.py; not to be changed by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from skerry.core.intent import Operator
from skerry.sdk import store
from skerry.sdk.beside import Beside
from skerry.sdk.seen import (
    ToolsImage,
)
from skerry.sdk.values import (
    Image,
    Role,
    Volume,
)


class Images:
    """`client.images`: the local store. Deploys take images from here; hosts get them by deploys alone."""

    def __init__(self, its: store.Images, beside: Beside) -> None:
        self._its, self._beside = its, beside

    def ls(self) -> list[Image]:
        """By name, those without one last."""
        return self._beside.run(self._its.ls())

    def names(self) -> dict[str, str]:
        """Name -> digest."""
        return self._its.names()

    def add(self, archive: str | Path, name: str) -> Image:
        """Import a docker-archive or an OCI layout under a name. Raises BadImage, BadInput for the name."""
        return self._beside.run(self._its.add(archive, name))

    def rm(self, name: str) -> str:
        """Take the name away; gives its digest. The image goes once nothing uses it (`skerry image gc`). Raises ImageNotFound."""
        return self._beside.run(self._its.rm(name))


class Tools:
    """`client.tools`: images whose programs hosts run beside containers (docs/tools.md)."""

    def __init__(self, its: store.Tools, beside: Beside) -> None:
        self._its, self._beside = its, beside

    def ls(self) -> list[ToolsImage]:
        """Those that operators have signed, and those that Skerry brings along."""
        return self._beside.run(self._its.ls())

    def add(self, name: str, image: str, *, about: str = "") -> ToolsImage:
        """Let hosts run an image of the local store (a name, or a digest) as these tools. Raises ImageNotFound, BadInput."""
        return self._beside.run(self._its.add(name, image, about=about))

    def build(
        self, name: str, folder: str | Path | None = None, *, progress: Callable[[str], None] = lambda line: None
    ) -> ToolsImage:
        """Build those that Skerry brings along (base, python, perf, bpf), or by the image.toml in `folder`, and sign them."""
        return self._beside.run(self._its.build(name, folder, progress=progress))

    def rm(self, name: str) -> None:
        """No host runs them any more. Raises NoSuchTools."""
        return self._beside.run(self._its.rm(name))


class Volumes:
    """`client.volumes`."""

    def __init__(self, its: store.Volumes, beside: Beside) -> None:
        self._its, self._beside = its, beside

    def ls(self, *, warn: Callable[[str], None] = lambda line: None) -> list[Volume]:
        """Of all hosts that answer; `warn` hears of those that don't, as their volumes are missing. Raises Unreachable."""
        return self._beside.run(self._its.ls(warn=warn))

    def rm(self, node: str, app: str, volume: str) -> None:
        """Delete its data on that host, for good. Raises InUse, NoSuchSubject."""
        return self._beside.run(self._its.rm(node, app, volume))


class Roles:
    """`client.roles`. Operators are added and taken away with the root key at hand: `skerry role`."""

    def __init__(self, its: store.Roles, beside: Beside) -> None:
        self._its, self._beside = its, beside

    def ls(self) -> list[Role]:
        """Root, policy, then all roles of the policy."""
        return self._beside.run(self._its.ls())

    def add_ci(self, name: str, public: str | Path | Operator, apps: Sequence[str]) -> Role:
        """Let a key release the images of these apps, and nothing else. `public`: the file that `skerry key new` made."""
        return self._beside.run(self._its.add_ci(name, public, apps))

    def add_right(
        self,
        right: str,
        name: str,
        public: str | Path | Operator,
        *,
        apps: Sequence[str] = (),
        hosts: Sequence[str] = (),
        until_s: float = 0.0,
    ) -> Role:
        """Let a key ask `observe`, `debug` or `debug-host` about these apps or hosts ("*": all), until then (unix seconds, 0: for
        good). It signs nothing. Raises BadInput, RoleTaken.
        """
        return self._beside.run(self._its.add_right(right, name, public, apps=apps, hosts=hosts, until_s=until_s))

    def rm(self, name: str, *, turn_back: bool = False) -> tuple[str, ...]:
        """Take a role away: its keys are barred, what they signed is signed again; gives those paths.

        `turn_back`: of releases, not the last ones are taken for good but those before them. Raises NoSuchRole, LastOperator.
        """
        return self._beside.run(self._its.rm(name, turn_back=turn_back))
