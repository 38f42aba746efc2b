"""`skerry.Client`: what `skerry.AsyncClient` does, for programs without an event loop; streams are iterators.

Made from the parts of the asynchronous client by tests/sdk/test_synchronous.py; not to be changed by hand.
"""

from __future__ import annotations

from collections.abc import Sequence

from skerry.sdk import alerting
from skerry.sdk.beside import Beside
from skerry.sdk.seen import (
    Silenced,
    Tested,
)
from skerry.sdk.values import (
    AlertReceiver,
    AlertRule,
)


class Alerting:
    """`client.alerting`: receivers, rules and silences. What fires, and who is told, is shown by the client's own `alerts`,
    `alert_receivers` and `alert_rules`.
    """

    def __init__(self, its: alerting.Alerting, beside: Beside) -> None:
        self._its, self._beside = its, beside

    def add(
        self,
        name: str,
        kind: str,
        where: str,
        *,
        secret: str = "",
        sender: str = "",
        to: Sequence[str] = (),
        user: str = "",
        tls: str = "",
        api: str = "",
        replace: bool = False,
    ) -> AlertReceiver:
        """Tell a receiver. `kind`: webhook, ntfy, slack, heartbeat (`where`: its URL), telegram (the chat) or smtp (HOST:PORT, with
        `sender`, `to`, and perhaps `user` and `tls`). All of it is sealed to fixed hosts and operators. Raises BadInput,
        ReceiverTaken.
        """
        return self._beside.run(
            self._its.add(
                name, kind, where, secret=secret, sender=sender, to=to, user=user, tls=tls, api=api, replace=replace
            )
        )

    def rm(self, name: str) -> None:
        """Tell a receiver nothing any more. Raises NoSuchSubject."""
        return self._beside.run(self._its.rm(name))

    def test(self, name: str = "", *, host: str = "") -> list[Tested]:
        """What a receiver (all of them) answered to a test, sent from this host, else from the first that answers."""
        return self._beside.run(self._its.test(name, host=host))

    def set_rule(
        self,
        name: str,
        *,
        on: bool | None = None,
        limit: float | None = None,
        for_s: float | None = None,
        clear_s: float | None = None,
        metric: str | None = None,
        of: str | None = None,
        below: bool | None = None,
    ) -> AlertRule:
        """Change a rule, built-in or one's own; what is None stays. A new one of one's own needs `metric` and `limit`: it fires while
        that figure `of` an app, service, slot, host ("node/NAME", "node/": all) or every slot ("") is beyond it. Raises BadInput.
        """
        return self._beside.run(
            self._its.set_rule(
                name, on=on, limit=limit, for_s=for_s, clear_s=clear_s, metric=metric, of=of, below=below
            )
        )

    def rm_rule(self, name: str) -> None:
        """Remove one's own, or have a built-in one as it is built in. Raises BadInput."""
        return self._beside.run(self._its.rm_rule(name))

    def silence(self, rule: str = "", subject: str = "", *, for_s: float) -> Silenced:
        """Send nothing of a rule ("": of any) about a subject ("": about any) for a while; 0 ends it. Raises BadInput."""
        return self._beside.run(self._its.silence(rule, subject, for_s=for_s))

    def silences(self) -> list[Silenced]:
        """Those that have not ended."""
        return self._beside.run(self._its.silences())
