"""`skerry.Client`: what `skerry.AsyncClient` does, for programs without an event loop; streams are iterators.

Made from the parts of the asynchronous client by tests/sdk/test_synchronous.py; not to be changed by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from skerry.client.keys import Passphrase
from skerry.client.metrics import Answer
from skerry.sdk import asynchronous
from skerry.sdk.beside import Beside
from skerry.sdk.parts.alerting import Alerting
from skerry.sdk.parts.apps import Apps
from skerry.sdk.parts.folder import Folder
from skerry.sdk.parts.hosts import Hosts
from skerry.sdk.parts.looks import Looks
from skerry.sdk.parts.machines import Machines, Pools
from skerry.sdk.parts.store import Images, Roles, Tools, Volumes
from skerry.sdk.seen import (
    Audited,
)
from skerry.sdk.values import (
    Alert,
    AlertReceiver,
    AlertRule,
    Event,
    LogLine,
    Replica,
    Status,
)


class Client:
    """A cloud, with the keys that lie on this machine.

    `cloud`: its name, else $SKERRY_CLOUD, else the selected one. `home`: the folder with the keys, else $SKERRY_HOME, else
    ~/.config/skerry. `passphrase`: of the key, or what to ask for it, else $SKERRY_PASSPHRASE. What fails raises a SkerryError:
    what, why, fix, and a `code` that never changes its meaning (docs/errors.md).

        with Client() as cloud:
            cloud.apps.deploy("compose.yaml")
    """

    def __init__(
        self, cloud: str = "", *, home: str | Path | None = None, passphrase: str | Passphrase | None = None
    ) -> None:
        self._its = asynchronous.AsyncClient(cloud, home=home, passphrase=passphrase)
        self._beside = Beside()
        self.alerting = Alerting(self._its.alerting, self._beside)
        self.apps = Apps(self._its.apps, self._beside)
        self.folder = Folder(self._its.folder, self._beside)
        self.hosts = Hosts(self._its.hosts, self._beside)
        self.images = Images(self._its.images, self._beside)
        self.looks = Looks(self._its.looks, self._beside)
        self.machines = Machines(self._its.machines, self._beside)
        self.pools = Pools(self._its.pools, self._beside)
        self.roles = Roles(self._its.roles, self._beside)
        self.tools = Tools(self._its.tools, self._beside)
        self.volumes = Volumes(self._its.volumes, self._beside)

    def open(self) -> None:
        """Open the keys; no host is asked yet. Raises NoCloud, KeyMissing, WrongPassphrase."""
        self._beside.run(self._its.open())

    def close(self) -> None:
        """Close the connections and remember what was learned. The client can't be opened again."""
        self._beside.run(self._its.close())
        self._beside.stop()

    def __enter__(self) -> Client:
        try:
            self.open()
        except BaseException:
            self._beside.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The cloud's name on this machine."""
        return self._its.name

    @property
    def id(self) -> str:
        """The cloud's id: the hash of its first root."""
        return self._its.id

    def status(self) -> Status:
        """Whether the cloud is well; every host is asked, and waited for a few seconds."""
        return self._beside.run(self._its.status())

    def explain(self, subject: str) -> dict[str, Any]:
        """Why a slot, service, app or host is as it is: {slot or host: explanation}. Raises NoSuchSubject."""
        return self._beside.run(self._its.explain(subject))

    def explain_scale(self, subject: str) -> dict[str, Any]:
        """Why a service, or each of an app, has as many replicas: {service: figures, wishes, bounds}. Raises NoSuchSubject."""
        return self._beside.run(self._its.explain_scale(subject))

    def events(
        self,
        *subjects: str,
        tail: int = 100,
        since_s: float = 0.0,
        until_s: float = 0.0,
        kinds: Sequence[str] = (),
        grep: str = "",
    ) -> list[Event]:
        """The last `tail` events of each host that answers, merged by time: of these slots, services, apps or hosts (none: all).

        `since_s`, `until_s`: unix seconds, 0: no bound; `kinds`: docs/events.md (none: all); `grep`: what one must hold, in
        capitals or not. They are chosen on the hosts.
        """
        return self._beside.run(
            self._its.events(*subjects, tail=tail, since_s=since_s, until_s=until_s, kinds=kinds, grep=grep)
        )

    def watch_events(
        self,
        subjects: Sequence[str] = (),
        *,
        tail: int = 0,
        kinds: Sequence[str] = (),
        grep: str = "",
        follow: bool = True,
    ) -> Iterator[Event]:
        """Events as they come, after the last `tail` of each host; for ever. A host that can't be asked is told by `unanswered`."""
        return self._beside.iterate(self._its.watch_events(subjects, tail=tail, kinds=kinds, grep=grep, follow=follow))

    def logs(
        self,
        *targets: str,
        tail: int = 100,
        since_s: float = 0.0,
        until_s: float = 0.0,
        grep: str = "",
        regex: bool = False,
        ignore_case: bool = False,
    ) -> list[LogLine]:
        """The last lines of these slots, services, apps or hosts (none: all apps). Raises NoSuchSubject.

        `since_s`, `until_s`: unix seconds, 0: no bound; `grep`: what a line must hold, with `regex` an expression as Python has
        them. They are chosen on the hosts.
        """
        return self._beside.run(
            self._its.logs(
                *targets, tail=tail, since_s=since_s, until_s=until_s, grep=grep, regex=regex, ignore_case=ignore_case
            )
        )

    def watch_logs(
        self,
        targets: Sequence[str] = (),
        *,
        tail: int = 0,
        since_s: float = 0.0,
        grep: str = "",
        regex: bool = False,
        ignore_case: bool = False,
        follow: bool = True,
    ) -> Iterator[LogLine]:
        """Lines as they come, after the last `tail`; for ever."""
        return self._beside.iterate(
            self._its.watch_logs(
                targets, tail=tail, since_s=since_s, grep=grep, regex=regex, ignore_case=ignore_case, follow=follow
            )
        )

    def alerts(self) -> list[Alert]:
        """What fires now, as the first fixed host that answers sees it, silenced or not. Raises Unreachable."""
        return self._beside.run(self._its.alerts())

    def alert_receivers(self) -> list[AlertReceiver]:
        """Who is told when something is wrong. Added and taken away by `client.alerting`."""
        return self._beside.run(self._its.alert_receivers())

    def alert_rules(self) -> list[AlertRule]:
        """All rules as they are in force, one's own too. Changed by `client.alerting`."""
        return self._beside.run(self._its.alert_rules())

    def audit(self, *hosts: str) -> list[Audited]:
        """Whether these hosts' (none: all) diaries are whole, and what others remember of them. Raises NoSuchSubject, Unreachable."""
        return self._beside.run(self._its.audit(*hosts))

    def metrics(self, *subjects: str, names: Sequence[str] = (), since_s: float = 900.0, step_s: int = 0) -> Answer:
        """Figures of slots, services, apps or hosts (none: all) of the last `since_s` seconds; one value for each `step_s` (0: the
        finest that is kept for so long). Hosts that did not answer are in `missing`. Raises NoSuchSubject, Unreachable.
        """
        return self._beside.run(self._its.metrics(*subjects, names=names, since_s=since_s, step_s=step_s))

    def prometheus(self) -> str:
        """The newest figures of all that may be seen, in Prometheus' text form."""
        return self._beside.run(self._its.prometheus())

    def scrape_targets(self) -> list[dict[str, Any]]:
        """Where applications' own metrics are read, as Prometheus' http_sd has it."""
        return self._beside.run(self._its.scrape_targets())

    def watch(self, app: str = "") -> Iterator[list[Replica]]:
        """The app's replicas (all, without a name) now, and again whenever one changes; for ever. Raises Unreachable."""
        return self._beside.iterate(self._its.watch(app))

    def wait(
        self, condition: Callable[[list[Replica]], bool], app: str = "", *, timeout_s: float = 60.0
    ) -> list[Replica]:
        """Wait until `condition` holds for the replicas of `app` (all, without a name); gives them. Raises NotInTime.

        It is asked whenever one of them changes, and never more often.
        """
        return self._beside.run(self._its.wait(condition, app, timeout_s=timeout_s))
