"""What a cloud was told and accepted: the other half of "no accepted record is lost" (design section 7, sentence 2)."""

from __future__ import annotations

from collections.abc import Collection

from skerry.core.records import Document
from skerry.sim.cluster import Cluster
from skerry.sim.machine import Machine
from skerry.sim.whole import WholeMachine

LEASES = ("up", "ask", "grant", "promise")  # facts that are told anew while a lease is held; `up` is in no digest


def said(machine: WholeMachine, without: Collection[str]) -> dict[str, tuple[int, int, str]]:
    """The heads of all facts that a machine holds, but for these kinds."""
    return {id: head for id, head in machine.trusted.fact_heads().items() if id.split("|")[1] not in without}


class Ledger:
    """Hands documents over and remembers those that were accepted. Of machines without trust it has nothing to say."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.skewed = ""  # the machine whose clock is wrong
        self.burnt = ""  # the machine that will never come back
        self._accepted: dict[str, tuple[Document, set[str]]] = {}  # path -> the newest, and who had synced it then

    def hand_over(self, machine: Machine, document: Document) -> None:
        """Raises TrustRefusal."""
        if not isinstance(machine, WholeMachine):
            machine.receive(document, "")
            return
        record = machine.hand_over(document)
        if record is None:
            return
        kept = {m.path for m in self._whole() if (held := m.trusted.document(record.path)) and held.hash == record.hash}
        before = self._accepted.get(record.path)
        if before is None or record.order > before[0].order:
            self._accepted[record.path] = (record, kept)

    def wrong(self) -> list[str]:
        """Every machine holds, of each path, the newest that was accepted, or one that replaced it; and all the same."""
        found = []
        machines = self._whole()
        for path, (record, kept) in self._accepted.items():
            if kept <= {f"node/{self.burnt}"}:
                continue  # nobody that synced it lives
            for machine in machines:
                held = machine.trusted.document(path)
                if held is None or held.order < record.order:
                    what = f"version {held.version}" if held is not None else "nothing"
                    found.append(f"{path} {record.version} was accepted, and {machine.path} holds {what}")
        for machine in machines[1:]:
            if machine.trusted.heads() != machines[0].trusted.heads():
                found.append(f"{machine.path} and {machines[0].path} hold different documents")
            if machine.gossip.digest != machines[0].gossip.digest and said(machine, LEASES) != said(
                machines[0], LEASES
            ):
                found.append(f"{machine.path} and {machines[0].path} hold different records")
        return found

    def _whole(self) -> list[WholeMachine]:
        return [m for m in self._cluster.machines.values() if isinstance(m, WholeMachine) and m.on]
