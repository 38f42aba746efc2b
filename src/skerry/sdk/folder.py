"""One folder of files that says what the cloud shall be, as programs see it. The work itself is client.folder's."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from skerry.client.folder import apply as carried
from skerry.client.folder import export as written
from skerry.client.folder import plan as planned
from skerry.client.folder.read import read_folder
from skerry.sdk.connection import Connection, Progress
from skerry.sdk.machines import token_of
from skerry.sdk.values import Applied, Exported, Plan


class Folder:
    """`client.folder`: docs/folder.md."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def plan(
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
        found = await asyncio.to_thread(read_folder, Path(folder), os.environ if variables is None else variables)
        connection = self._connection
        made = await planned.plan(connection.session, found, connection.images, prune=prune, progress=progress)
        return msgspec.convert(msgspec.to_builtins(made), Plan)

    async def apply(
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
        found = await asyncio.to_thread(read_folder, Path(folder), os.environ if variables is None else variables)
        images = self._connection.images
        ssh = {"ssh_config": ssh_config, "identity": identity}
        how = carried.How(images=images, token=lambda of: token_of(of, None), ssh=ssh, timeout_s=timeout_s)
        async with self._connection.changing("folder") as session:
            made = await planned.plan(session, found, images, prune=prune, progress=progress)
            done = await carried.apply(session, found, made, how, progress)
        return msgspec.convert({**msgspec.to_builtins(made), "done": done}, Applied)

    async def export(self, folder: str | Path, *, secrets: bool = False) -> Exported:
        """Write what there is into a new folder. `secrets`: those of apps and receivers, too, in clear. Raises FolderNotEmpty."""
        return msgspec.convert(await written.export(self._connection.session, Path(folder), secrets=secrets), Exported)
