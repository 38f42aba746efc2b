"""What must hold in a simulated cloud, one checker a promise. Each gives sentences about what is wrong: none is good."""

from __future__ import annotations

from collections import Counter

from skerry.core import effects as do
from skerry.core.records import Slot
from skerry.sim.cluster import Cluster
from skerry.sim.machine import Machine


def held_once(cluster: Cluster) -> list[str]:
    """Once it has been quiet, every wanted slot runs once, healthy, and everybody says the same about it."""
    wrong: list[str] = []
    cores = {path: machine.core for path, machine in cluster.machines.items() if machine.core is not None}
    views = {path: {row.slot: row for row in core.rows()} for path, core in cores.items()}
    running: Counter[str] = Counter()
    for machine in cluster.machines.values():
        for container in machine.containers.values():
            running[str(container.slot)] += container.running
    waiting = set()
    for path, view in views.items():
        for slot, row in view.items():
            if row.state == "waiting" and _home_is_off(cluster, row.why):
                waiting.add(slot)  # stated exception: it waits for its data
            elif not row.healthy:
                wrong.append(f"{path} sees {slot} {row.state} on {row.node or 'nobody'}: {row.why}")
            elif len(row.claims) != 1:
                wrong.append(f"{path} sees {slot} claimed by {row.claims}")
    slots = {slot for view in views.values() for slot in view}
    for slot in sorted(slots - waiting):
        if running[slot] != 1:
            wrong.append(f"{slot} has {running[slot]} running containers")
        said = {(view[slot].node, view[slot].version) if slot in view else ("absent", "") for view in views.values()}
        if len(said) > 1:
            wrong.append(f"{slot} is seen differently: {sorted(said)}")
    wrong.extend(f"{slot} runs and nobody knows of it" for slot in running if running[slot] and slot not in slots)
    wrong.extend(routes_lead_to_life(cluster))
    wrong.extend(images_stay_somewhere(cluster))
    wrong.extend(what_runs_fits(cluster))
    return wrong


def _home_is_off(cluster: Cluster, why: str) -> bool:
    return any(f"its data is on {path.removeprefix('node/')}, which is down" in why
               for path, machine in cluster.machines.items() if not machine.on)  # fmt: skip


def images_stay_somewhere(cluster: Cluster) -> list[str]:
    """Every wanted image and the one to turn back to are on three nodes, or on all that there are."""
    living = [machine for machine in cluster.machines.values() if machine.core is not None]
    wrong = []
    for machine in living:
        assert machine.core is not None
        for app, want in machine.core._s.wants.items():
            for service, images in want.images.items():
                keepers = [m for m in living if m.path in machine.core._s.keepers(app, service)]
                wrong += [
                    f"{keeper.path} keeps {app}.{service} and has not {image[:19]}"
                    for keeper in keepers
                    for image in images
                    if image not in keeper.images
                ]
        break  # all see the same, or `held_once` says so
    return wrong


def what_runs_fits(cluster: Cluster) -> list[str]:
    """No node has promised more memory than it has."""
    wrong = []
    for machine in cluster.machines.values():
        if machine.core is not None:
            cpus, memory_bytes = machine.core._s.replicas.reserved()
            if memory_bytes > machine.memory_bytes or cpus > machine.cpus:
                wrong.append(f"{machine.path} has promised {memory_bytes >> 20} MiB of {machine.memory_bytes >> 20}")
    return wrong


def routes_lead_to_life(cluster: Cluster) -> list[str]:
    """Every target of every node's published ports is a running container."""
    living = {c.address for m in cluster.machines.values() for c in m.containers.values() if c.running}
    return [
        f"{path} routes {port.published} to {target.address} of {target.slot}, where nothing runs"
        for path, machine in cluster.machines.items()
        if machine.on and machine.route is not None
        for port, targets in machine.route.ports
        for target in targets
        if target.address not in living
    ]


class NoGap:
    """Of a slot that once served, some healthy container is there at every moment, and from a given time on just one."""

    def __init__(self, cluster: Cluster, slots: list[Slot]) -> None:
        self.cluster, self.slots = cluster, slots
        self.wrong: list[str] = []
        cluster.watchers.append(self.see)

    def serving(self, slot: Slot) -> int:
        """Containers of it that answer and are not being stopped."""
        now = self.cluster.clock.now_s
        living = [c for m in self.cluster.machines.values() for c in m.containers.values() if c.slot == slot]
        return sum(c.running and not c.stopping and c.answers_s <= now for c in living)

    def see(self, machine: Machine, effect: do.Effect) -> None:
        if isinstance(effect, do.Stop) and effect.slot in self.slots:
            others = self.serving(effect.slot) - any(
                c.id == effect.container and c.running and not c.stopping and c.answers_s <= self.cluster.clock.now_s
                for c in machine.containers.values()
            )
            if not others:
                now = self.cluster.clock.now_s
                self.wrong.append(
                    f"{now:.2f}: {machine.path} stops the last that serves {effect.slot}: {effect.reason}"
                )


class EffectChecker:
    """Looks at every effect as it happens. Slots with a volume never start where their data is not."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.wrong: list[str] = []
        self.starts: Counter[Slot] = Counter()
        self.homes: dict[Slot, tuple[float, set[str]]] = {}  # since when, and where: of two first claims either may win
        self.given_up: set[str] = (
            set()
        )  # machines that an operator took out of the cloud: their data is no longer waited for
        cluster.watchers.append(self.see)

    def see(self, machine: Machine, effect: do.Effect) -> None:
        if not effect.reason and not isinstance(effect, do.Wake):
            self._say(f"{machine.path} does {type(effect).__name__} without a reason")
        if isinstance(effect, do.Start):
            self._start(machine, effect)

    def _start(self, machine: Machine, effect: do.Start) -> None:
        self.starts[effect.slot] += 1
        if effect.service.volumes:
            if effect.slot in self.homes and self.homes[effect.slot][1] <= self.given_up:
                del self.homes[effect.slot]
            since, homes = self.homes.setdefault(effect.slot, (self.cluster.clock.now_s, set()))
            if self.cluster.clock.now_s - since < 10.0:
                homes.add(machine.path)
            if machine.path not in homes:
                self._say(f"{effect.slot} has its data on {sorted(homes)}, and {machine.path} starts it")
        twice = [
            c for c in machine.containers.values() if c.slot == effect.slot and c.spec == effect.spec and c.running
        ]
        if twice and not twice[0].stopping:
            self._say(f"{machine.path} starts {effect.slot} in a version that runs there already")

    def _say(self, what: str) -> None:
        self.wrong.append(f"{self.cluster.clock.now_s:.2f}: {what}")


class RolloutChecker:
    """In a rollout without faults, never more than `limit` slots of a service are between two versions, or without a replica."""

    def __init__(self, cluster: Cluster, app: str, service: str, replicas: int, limit: int) -> None:
        self.cluster, self.limit = cluster, limit
        self.slots = [Slot(app, service, index) for index in range(replicas)]
        self.most_missing = self.most_double = 0
        self.wrong: list[str] = []
        cluster.watchers.append(self.see)

    def see(self, machine: Machine, effect: do.Effect) -> None:
        if not isinstance(effect, do.Start | do.Stop | do.Route):
            return
        now = self.cluster.clock.now_s
        missing = double = 0
        for slot in self.slots:
            mine = [
                c for m in self.cluster.machines.values() for c in m.containers.values() if c.slot == slot and c.running
            ]
            starting = isinstance(effect, do.Start) and effect.slot == slot
            missing += not any(not c.stopping and c.answers_s <= now for c in mine)
            double += len([c for c in mine if not c.stopping]) + starting > 1
        self.most_missing, self.most_double = max(self.most_missing, missing), max(self.most_double, double)
        if max(missing, double) > self.limit:
            self.wrong.append(
                f"{now:.2f}: {missing} slots without a replica, {double} between two versions: limit {self.limit}"
            )
