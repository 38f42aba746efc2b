"""The containers of this node, as core knows them: one Replica per (slot, version). Two of one slot while it is replaced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from skerry.core.intent import Needs, Service
from skerry.core.records import Slot

Phase = Literal["waiting", "fetching", "initialising", "starting", "running", "stopping", "exited", "failed"]


class Replica(msgspec.Struct):
    """One container of ours, from the wish to start it until it is gone. Mutable: only tending and gathering change it."""

    slot: Slot
    spec: str
    image: str
    versions: tuple[int, int]
    service: Service | None  # None: adopted, and no document that we hold makes this version
    init: str = ""  # the image that makes its data before its first start
    phase: Phase = "waiting"
    since_s: float = 0.0
    container: str = ""
    address: str = ""
    healthy: bool | None = None
    detail: str = ""  # the probe's last word
    last_lines: str = ""  # of its log, when that was bad
    well_once: bool = False
    well_s: float | None = None  # healthy since
    unwell_s: float = 0.0  # not healthy since
    first_start_s: float | None = None  # the start limit counts from here
    started_s: float = 0.0
    exits_s: list[float] = []
    backoff_s: float = 0.0
    again_s: float | None = None  # start it again then
    restarts: int = 0
    exit_code: int | None = None
    oom: bool = False
    last_end: str = ""  # how the run before this one ended
    why: str = ""
    resumed: bool = False  # a claim of an earlier life, not started yet in this one
    adopted: bool = False  # it ran before this node's agent started
    stop_asked: bool = False
    then_again: bool = False  # stopping only to be started anew
    beside: bool = False  # the version before, kept for a while beside a new one that is well
    fencing: int = 0  # the number of the lease under which it was started

    @property
    def images(self) -> tuple[str, ...]:
        """All that a start needs."""
        return (self.image, self.init) if self.init else (self.image,)

    @property
    def needs(self) -> Needs:
        return self.service.needs if self.service is not None else Needs()

    @property
    def live(self) -> bool:
        """It is, or is to be, a running container."""
        return self.phase in ("waiting", "fetching", "initialising", "starting", "running", "exited")

    @property
    def finished(self) -> bool:
        """It ended well and is not to be started again: a job that is done."""
        return self.phase == "exited" and self.again_s is None and self.exit_code == 0


class Replicas:
    def __init__(self) -> None:
        self._by_slot: dict[Slot, dict[str, Replica]] = {}

    def of(self, slot: Slot) -> dict[str, Replica]:
        return self._by_slot.get(slot, {})

    def get(self, slot: Slot, spec: str) -> Replica | None:
        return self._by_slot.get(slot, {}).get(spec)

    def add(self, replica: Replica) -> Replica:
        self._by_slot.setdefault(replica.slot, {})[replica.spec] = replica
        return replica

    def remove(self, replica: Replica) -> None:
        of_slot = self._by_slot.get(replica.slot, {})
        of_slot.pop(replica.spec, None)
        if not of_slot:
            self._by_slot.pop(replica.slot, None)

    def slots(self) -> list[Slot]:
        return list(self._by_slot)

    def __iter__(self) -> Iterator[Replica]:
        for of_slot in self._by_slot.values():
            yield from of_slot.values()

    def images(self) -> set[str]:
        return {image for replica in self for image in replica.images}

    def reserved(self, leaving_out: Replica | None = None) -> tuple[float, int]:
        """(CPUs, bytes of memory) that all of ours reserve."""
        cpus, memory = 0.0, 0
        for replica in self:
            if replica is not leaving_out:
                cpus += replica.needs.reserve_cpus
                memory += replica.needs.reserve_memory_bytes
        return cpus, memory
