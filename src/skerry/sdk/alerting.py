"""Who is told when something is wrong, and of what, as programs change it (docs/alerts.md). The work itself is client's."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from skerry.client import alerts, measures
from skerry.client.receivers import receiver_of
from skerry.core.alerting.rules import RULES
from skerry.sdk.connection import Connection
from skerry.sdk.seen import Silenced, Tested
from skerry.sdk.values import AlertReceiver, AlertRule


class Alerting:
    """`client.alerting`: receivers, rules and silences. What fires, and who is told, is shown by the client's own `alerts`,
    `alert_receivers` and `alert_rules`.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(
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
        receiver, reach = receiver_of(
            name, {kind: where}, secret=secret, sender=sender, to=to, user=user, tls=tls, api=api
        )
        async with self._connection.changing(f"alert/{name}") as session:
            await alerts.add(session, name, receiver, reach, replace=replace)
            rows = [
                {**row, "name": row["receiver"]} for row in alerts.receiver_rows(session) if row["receiver"] == name
            ]
        return msgspec.convert(rows[0], AlertReceiver)

    async def rm(self, name: str) -> None:
        """Tell a receiver nothing any more. Raises NoSuchSubject."""
        async with self._connection.changing(f"alert/{name}") as session:
            await alerts.rm(session, name)

    async def test(self, name: str = "", *, host: str = "") -> list[Tested]:
        """What a receiver (all of them) answered to a test, sent from this host, else from the first that answers."""
        rows = await alerts.test(self._connection.session, name, host)
        return msgspec.convert([{**row, "host": row["from"]} for row in rows], list[Tested])

    async def set_rule(
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
        said = {"off": None if on is None else not on, "limit": limit, "for_s": for_s, "clear_s": clear_s}
        about = {"metric": metric, "of": of, "below": below}
        changes: dict[str, Any] = {key: value for key, value in said.items() if value is not None}
        more: dict[str, Any] = {key: value for key, value in about.items() if value is not None}
        async with self._connection.changing("alert/rules") as session:
            if name in RULES:
                measures.refuse_for_built_in(name, more)
                row = await alerts.set_rule(session, name, changes)
            else:
                row = await measures.set_measure(session, name, {**changes, **more})
        return msgspec.convert({**row, "name": row["rule"]}, AlertRule)

    async def rm_rule(self, name: str) -> None:
        """Remove one's own, or have a built-in one as it is built in. Raises BadInput."""
        async with self._connection.changing("alert/rules") as session:
            if name in RULES:
                await alerts.set_rule(session, name, {}, reset=True)
            else:
                await measures.rm(session, name)

    async def silence(self, rule: str = "", subject: str = "", *, for_s: float) -> Silenced:
        """Send nothing of a rule ("": of any) about a subject ("": about any) for a while; 0 ends it. Raises BadInput."""
        until = time.time() + for_s if for_s else 0.0
        async with self._connection.changing("alert/rules") as session:
            done = await alerts.silence(session, rule, subject, until)
        return msgspec.convert(done, Silenced)

    async def silences(self) -> list[Silenced]:
        """Those that have not ended."""
        session = self._connection.session
        await session.sync(1)
        now_s = time.time()
        held = [msgspec.to_builtins(each) for each in alerts.settings(session).silences if each.until > now_s]
        return msgspec.convert(held, list[Silenced])
