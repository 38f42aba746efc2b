"""`skerry.Client`: what `skerry.AsyncClient` does, for programs without an event loop; streams are iterators.

Made from the parts of the asynchronous client by tests/sdk/test_synchronous.py; not to be changed by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from skerry.sdk import folder
from skerry.sdk.beside import Beside
from skerry.sdk.connection import Progress
from skerry.sdk.values import (
    Applied,
    Exported,
    Plan,
)


class Folder:
    """`client.folder`: docs/folder.md."""

    def __init__(self, its: folder.Folder, beside: Beside) -> None:
        self._its, self._beside = its, beside

    def plan(
        self,
        folder: str | Path,
        *,
        prune: bool = False,
        variables: Mapping[str, str] | None = None,
        progress: Progress = lambda line: None,
    ) -> Plan:
        """What `apply` would change. Images are built, nothing is signed. `prune`: what the folder's files don't have goes.

        `variables`: for ${NAME} in compose files, else the environment. Raises BadFolder with every mistake, CantBePlanned.
        """
        return self._beside.run(self._its.plan(folder, prune=prune, variables=variables, progress=progress))

    def apply(
        self,
        folder: str | Path,
        *,
        prune: bool = False,
        variables: Mapping[str, str] | None = None,
        ssh_config: Path | None = None,
        identity: Path | None = None,
        timeout_s: float = 300.0,
        progress: Progress = lambda line: None,
    ) -> Applied:
        """Make the cloud what the folder says, hosts first, apps last; again it changes nothing. Nobody is asked first.

        `timeout_s`: of each step. Providers are asked with $<PROVIDER>_TOKEN. What was done stays done when a step raises.
        """
        return self._beside.run(
            self._its.apply(
                folder,
                prune=prune,
                variables=variables,
                ssh_config=ssh_config,
                identity=identity,
                timeout_s=timeout_s,
                progress=progress,
            )
        )

    def export(self, folder: str | Path, *, secrets: bool = False) -> Exported:
        """Write what there is into a new folder. `secrets`: those of apps and receivers, too, in clear. Raises FolderNotEmpty."""
        return self._beside.run(self._its.export(folder, secrets=secrets))
