"""`skerry.Client`: what `skerry.AsyncClient` does, for programs without an event loop; streams are iterators.

Made from the parts of the asynchronous client by tests/sdk/test_synchronous.py; not to be changed by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from skerry.sdk import apps
from skerry.sdk.apps import Compose
from skerry.sdk.beside import Beside
from skerry.sdk.connection import Progress
from skerry.sdk.values import (
    App,
    Change,
    Deployed,
    Removed,
    Replica,
    RolledBack,
    Scaled,
)


class Apps:
    """`client.apps`."""

    def __init__(self, its: apps.Apps, beside: Beside) -> None:
        self._its, self._beside = its, beside

    def ls(self) -> list[App]:
        """All apps that are not removed, by name."""
        return self._beside.run(self._its.ls())

    def get(self, name: str) -> App:
        """One app. Raises NoSuchApp."""
        return self._beside.run(self._its.get(name))

    def replicas(self, name: str = "") -> list[Replica]:
        """Every replica of the app; of all apps without a name."""
        return self._beside.run(self._its.replicas(name))

    def deploy(
        self,
        compose: Compose,
        *,
        name: str = "",
        variables: Mapping[str, str] | None = None,
        prev: str | None = None,
        detach: bool = False,
        timeout_s: float = 120.0,
        progress: Progress = lambda line: None,
    ) -> Deployed:
        """Bring an app to what a compose file says, and wait until it is healthy.

        `compose`: the file, the folder that holds it, or what stands in it as a mapping. `name`: else the file's, else the
        folder's. `variables`: for ${NAME} in it, else the environment and .env. `prev`: the app's etag that this rests on.
        `progress` gets a line for each step. Raises ComposeErrors with every mistake, ImageRefused, RolloutFailed, NotInTime,
        ChangedMeanwhile.
        """
        return self._beside.run(
            self._its.deploy(
                compose,
                name=name,
                variables=variables,
                prev=prev,
                detach=detach,
                timeout_s=timeout_s,
                progress=progress,
            )
        )

    def diff(
        self,
        compose: Compose,
        *,
        name: str = "",
        variables: Mapping[str, str] | None = None,
        progress: Progress = lambda line: None,
    ) -> list[Change]:
        """What a deploy would change, field by field; nothing if it would change nothing. Images are built, nothing is signed."""
        return self._beside.run(self._its.diff(compose, name=name, variables=variables, progress=progress))

    def rollback(
        self, name: str, *, prev: str | None = None, timeout_s: float = 120.0, progress: Progress = lambda line: None
    ) -> RolledBack:
        """Go back to the release before. Raises NothingBefore, NoSuchApp, NotInTime, ChangedMeanwhile."""
        return self._beside.run(self._its.rollback(name, prev=prev, timeout_s=timeout_s, progress=progress))

    def scale(
        self,
        service: str,
        replicas: int | None = None,
        *,
        min: int | None = None,
        max: int | None = None,
        schedules: Sequence[str] | None = None,
        prev: str | None = None,
        detach: bool = False,
        timeout_s: float = 120.0,
        progress: Progress = lambda line: None,
    ) -> Scaled:
        """Set how many replicas APP.SERVICE has (SERVICE alone where only one app has it), or between how many it follows the load.

        `schedules`: other bounds at set times, "weekdays 8-20 Europe/Berlin: min 3", instead of those that it has; () for none.
        Nothing is restarted. Raises NoSuchApp, NotScaled, BadBounds, NotInTime, ChangedMeanwhile.
        """
        return self._beside.run(
            self._its.scale(
                service,
                replicas,
                min=min,
                max=max,
                schedules=schedules,
                prev=prev,
                detach=detach,
                timeout_s=timeout_s,
                progress=progress,
            )
        )

    def rm(
        self, name: str, *, prev: str | None = None, timeout_s: float = 60.0, progress: Progress = lambda line: None
    ) -> Removed:
        """Stop all of an app and remove its intent; its volumes stay. Raises NoSuchApp, NotInTime, ChangedMeanwhile."""
        return self._beside.run(self._its.rm(name, prev=prev, timeout_s=timeout_s, progress=progress))

    def wait_healthy(
        self, name: str, *, timeout_s: float = 120.0, progress: Progress = lambda line: None
    ) -> list[Replica]:
        """Wait until each replica runs what is wanted now and is healthy, or, a job, is done. Raises RolloutFailed, NotInTime."""
        return self._beside.run(self._its.wait_healthy(name, timeout_s=timeout_s, progress=progress))
