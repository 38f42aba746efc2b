"""Figures of one agent: which of its parts tells what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.agent.metrics.keeping import Metrics
from skerry.agent.metrics.own import Asked, Own
from skerry.agent.metrics.sampling import Sampler
from skerry.core.facts import SlotState
from skerry.core.intent import App
from skerry.observe.machine import MachineFiles
from skerry.trust.clock import off_s

if TYPE_CHECKING:
    from skerry.agent.daemon import Agent


def metrics_of(agent: Agent) -> Metrics:
    """To be made once its containers and its network are."""

    def restarts(slot: str) -> int | None:
        said = agent.loop.core.said("slot", slot).get(agent.me)
        return said.restarts if isinstance(said, SlotState) else None

    sampler = Sampler(
        MachineFiles(agent.files.state),
        open_cgroup=agent.parts.cgroup,
        interface=agent.network.host_end,
        is_ours=agent.network.is_ours,
        clock_off_s=lambda: off_s(agent.clock.wall_s(), agent.door.neighbours_s()),
    )

    def asked() -> dict[str, Asked]:
        found = {}
        for slot, address in agent.containers.addresses().values():
            document = agent.trusted.document(f"app/{slot.app}")
            app = document.body if document is not None else None
            service = app.services.get(slot.service) if isinstance(app, App) else None
            if service is not None and service.metrics is not None:
                found[str(slot)] = Asked(address, service.metrics)
        return found

    metrics = Metrics(
        agent.me,
        agent.files.state,
        sampler,
        running=agent.containers.running,
        restarts=restarts,
        wall_s=agent.clock.wall_s,
        note=agent.events.append,
    )
    metrics.own = Own(asked=asked, block=metrics.own_block, at_s=lambda: metrics.at_s)
    agent.loop.spawn(metrics.own.run())
    return metrics
