"""What no deploy can mend: refused before anything is built, sent or signed."""

from __future__ import annotations

from skerry.client.compose.plan import ComposeApp
from skerry.client.session import Session
from skerry.core.intent import App
from skerry.errors import Refusal


class TooBig(Refusal):
    """No host has that much room, now or empty."""

    code = "too-big-for-hosts"
    exit_code = 2


class PortTaken(Refusal):
    """A published port is open on every host, so that two apps can't share one."""

    code = "port-taken"
    exit_code = 2


def check_ports(session: Session, compose: ComposeApp) -> None:
    owners = {
        (port.published, port.protocol): f"{document.path.removeprefix('app/')}.{name}"
        for document in session.documents("app")
        if isinstance(document.body, App) and document.path != f"app/{compose.name}"
        for name, service in document.body.services.items()
        for port in service.ports
    }
    for name, planned in compose.services.items():
        for port in planned.service.ports:
            if owner := owners.get((port.published, port.protocol)):
                raise PortTaken(
                    f"{compose.name}.{name} was not deployed",
                    f"port {port.published}/{port.protocol} is published by {owner}",
                    "publish another port, or remove the other app: skerry rm",
                )


async def check_room(session: Session, compose: ComposeApp) -> None:
    """What no host that is up could hold even if it were empty. What reserves nothing fits everywhere."""
    if not any(s.service.needs.reserve_memory_bytes or s.service.needs.reserve_cpus for s in compose.services.values()):
        return
    rows = [row for row in await session.request("hosts") if row["state"] == "up"]
    if not rows or not all(row["capacity"] for row in rows):  # one that just came has not told yet how large it is
        return
    most_bytes = max(row["capacity"]["memory_bytes"] for row in rows)
    most_cpus = max(row["capacity"]["cpus"] for row in rows)
    for name, planned in compose.services.items():
        needs = planned.service.needs
        if needs.reserve_memory_bytes > most_bytes:
            raise TooBig(
                f"{compose.name}.{name} was not deployed",
                f"it reserves {needs.reserve_memory_bytes >> 20} MiB of memory; the largest host has {int(most_bytes) >> 20} MiB",
                "lower deploy.resources.reservations.memory (or limits.memory), or join a larger host",
            )
        if needs.reserve_cpus > most_cpus:
            raise TooBig(
                f"{compose.name}.{name} was not deployed",
                f"it reserves {needs.reserve_cpus:g} cpus; no host has more than {most_cpus:g}",
                "lower deploy.resources.reservations.cpus, or join a larger host",
            )
