"""What must hold once a life has been quiet: everybody sees the same, each wanted slot runs once, nothing goes on or was lost."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

from skerry.core import effects as do
from skerry.core.records import Slot
from skerry.sim.checkers import held_once
from skerry.sim.cluster import Life as Happened
from skerry.sim.ledger import LEASES, said
from skerry.sim.lives import renting
from skerry.sim.lives.host import Host

if TYPE_CHECKING:
    from skerry.sim.lives.life import Life

MESSAGES_EACH_S = (
    12.0  # of one host to one neighbour, in a quiet second: an `up` of each, and a comparison now and again
)
CHANGING = ("load", "wish", "rent", *LEASES)  # facts that are told anew all the time


def all_as_wanted(life: Life) -> list[str]:
    """`held_once` over the machines that are of the cloud; the documents of all the same; nothing that was accepted lost."""
    with _only(life):
        wrong = held_once(life.cluster)
    hosts = life.honest()
    wrong += life.office.lost(hosts)
    for one, other in itertools.pairwise(hosts):
        if one.trusted.heads() != other.trusted.heads():
            wrong.append(f"{one.path} and {other.path} hold different documents")
        elif one.gossip.digest != other.gossip.digest and said(one, CHANGING) != said(other, CHANGING):
            wrong.append(f"{one.path} and {other.path} hold different records")
    return wrong


class _only:
    """The cluster without machines that are expelled or captured: they are not asked, and what they still run is theirs."""

    def __init__(self, life: Life) -> None:
        self._cluster = life.cluster
        self._all = life.cluster.machines
        self._some = {path: m for path, m in self._all.items() if path not in life.out}

    def __enter__(self) -> None:
        self._cluster.machines = self._some

    def __exit__(self, *_: object) -> None:
        self._cluster.machines = self._all


def may_go_on(happened: Happened) -> bool:
    """Whether that may happen in a quiet cloud: figures are told once a step, whether or not anything changes."""
    told = isinstance(happened.effect, do.Publish) and happened.effect.kind in CHANGING
    return told or isinstance(happened.effect, do.Guard) or renting.may_go_on(happened.effect)


def busy(life: Life, since: int) -> list[str]:
    """What honest machines did from that entry of the history on, though all was quiet."""
    of_them = [h for h in life.cluster.history[since:] if h.node not in life.out and not may_go_on(h)]
    return [f"still busy: {h.at_s:.2f} {h.node} {type(h.effect).__name__}: {h.effect}" for h in of_them[:3]]


def few_messages(life: Life, frames: int, seconds: float) -> list[str]:
    """Nobody talks more than it has to, once there is nothing to say."""
    pairs = sum(len(host.linked) for host in life.honest())
    each = frames / seconds / max(1, pairs)
    scaled = sum(service.scale is not None or service.exclusive for service in life.services.values())
    most = MESSAGES_EACH_S * (1 + scaled) + 2.0 * scaled * len(
        life.honest()
    )  # figures and wishes in each step of a second
    return [f"{each:.1f} frames a second on each link of a quiet cloud"] if each > most else []


# --- while captured hosts are at it ---------------------------------------------------------------------------------------


def share_of(life: Life) -> set[Slot]:
    """Slots that the captured one may have: those whose order has it before all honest hosts that live, and those that it held.

    Design section 7, sentence 3: "beyond the share of slots that the order gives it".
    """
    honest = life.honest()
    core = honest[0].core
    assert core is not None
    living = {host.path for host in honest} | life.captured
    found = set()
    for row in core.rows():
        slot = Slot.parse(row.slot)
        order = [f"node/{answer.node}" for answer in core.explain(slot).order]
        first = next((path for path in order if path in living), "")
        if first in life.captured or slot in life.held_when_captured:
            found.add(slot)
    return found


def served_beside_a_liar(life: Life) -> list[str]:
    """Every other slot is held, healthy, by an honest host, and gets its traffic there, whatever the captured one says."""
    share, wrong = share_of(life), []
    gone = {path for path, machine in life.cluster.machines.items() if not machine.on}
    # Of these nothing is said where a voter is captured.
    voting = life.voting is not None and life.voting.ever & life.captured
    names = {f"shop.{name}" for name, service in life.services.items() if voting and service.exclusive}
    for host in life.honest():
        assert host.core is not None
        for row in host.core.rows():
            slot, holder = Slot.parse(row.slot), f"node/{row.node}"
            # For a host that is gone; or, where it had the slot's data and is gone for good, for the liar that says it has them.
            of = gone | life.captured if gone and row.why.startswith("its data is on") else gone
            waits = row.state == "waiting" and any(path.removeprefix("node/") in row.why for path in of)
            leased = row.slot.partition("/")[0] in names
            if slot in share or leased or waits or host.core._s.want(slot) is None:
                continue
            if not row.healthy or holder in life.captured:
                wrong.append(
                    f"beside a captured host {host.path} sees {slot} {row.state} on {row.node or 'nobody'}: {row.why}"
                )
        for port, targets in host.route.ports if host.route is not None else ():
            wrong += [
                f"{host.path} sends traffic for port {port.published} of {target.slot} to {target.node}"
                for target in targets
                if target.node in life.captured and target.slot not in share
            ]
    return wrong


# --- after all power was gone ----------------------------------------------------------------------------------------------


def started_once(life: Life, holders: dict[str, str], before: Counter[Slot], now: Counter[Slot]) -> list[str]:
    """After all machines came back each slot is where it was, and was started once."""
    wrong = []
    for slot, times in (now - before).items():
        if times > 1 and str(slot) in holders:  # one that follows the load may come and go
            wrong.append(f"{slot} was started {times} times after all power had been gone")
    core = next(host.core for host in life.honest() if host.core is not None)
    for row in core.rows():
        if row.slot in holders and row.node != holders[row.slot]:
            wrong.append(
                f"{row.slot} was on {holders[row.slot]} before all power went, and is on {row.node or 'nobody'}"
            )
    return wrong


def holders(hosts: list[Host]) -> dict[str, str]:
    """Slot -> who holds it, as one of them sees it."""
    core = next(host.core for host in hosts if host.core is not None)
    return {row.slot: row.node for row in core.rows() if row.healthy}
