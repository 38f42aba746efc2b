"""What a node answers about rented machines and their pools: plain values, made when asked. Decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from skerry.core.constraints import name_of
from skerry.core.facts import Machine, Rent
from skerry.core.intent import MANUAL, Pool
from skerry.core.records import MachineSlot
from skerry.core.renting import by_hand, ledger, needing, offers

if TYPE_CHECKING:
    from skerry.core.situation import Situation


class MachineRow(msgspec.Struct, frozen=True):
    """One line of `machine ls`. `state`: its keeper's word, "enrolled" where none says anything; `since`: of this state, unix
    seconds; `asks`: the command that a person is asked to run for it; `created`: from when it is paid, 0 where nobody says.
    """

    slot: str
    state: str
    keeper: str
    id: str
    address: str
    size: str
    region: str
    usd_hour: float
    since: float
    up: bool
    why: str = ""
    asks: str = ""
    provider: str = ""
    created: float = 0.0


class PoolRow(msgspec.Struct, frozen=True):
    """One pool. `wanted`, `spent_usd_month`: as the node that is asked reckons; -1 where it keeps no pool and so doesn't."""

    pool: str
    provider: str
    min: int
    max: int
    wanted: int
    have: int
    spent_usd_month: float
    spend_usd_month: float
    keepers: tuple[str, ...]
    why: str = ""


def machines(s: Situation) -> list[MachineRow]:
    pools = [path.removeprefix("pool/") for path in s.known.documents if path.startswith("pool/")]
    rows = []
    for slot in sorted(slot for pool in pools for slot in needing.slots_of(s, pool)):
        said = needing.best_word(s, slot)
        of = s.known.body(f"pool/{slot.pool}", Pool)
        asks = by_hand.command(slot, said) if said is not None and of is not None and of.provider == MANUAL else ""
        keeper = next((k for k, body in s.known.about("machine", str(slot)).items() if body == said), "")
        node = s.known.nodes.get(slot.path)
        if said is None:
            said = Machine(state="joined", address=node.addresses[0] if node is not None and node.addresses else "")
            state = "enrolled"
        else:
            state = said.state
        rows.append(
            MachineRow(str(slot), state, name_of(keeper), said.id, said.address, said.size, said.region, said.price_usd_hour,
                       said.since, node is not None and s.presence.is_up(slot.path), said.why, asks, _provider(s, slot, said),
                       said.created)
        )  # fmt: skip
    return rows


def _provider(s: Situation, slot: MachineSlot, said: Machine) -> str:
    of = s.known.body(f"pool/{slot.pool}", Pool)
    return said.offer or (of.provider if of is not None else "")


def pools(s: Situation) -> list[PoolRow]:
    rows = []
    for path, document in sorted(s.known.documents.items()):
        of = document.body
        if not isinstance(of, Pool) or of.deleted:
            continue
        name = path.removeprefix("pool/")
        slots: list[MachineSlot] = sorted(needing.slots_of(s, name))
        have = sum(needing.standing(s, slot) != "pending" for slot in slots)
        book = s.renting.books.get(name)
        kept = book is not None and name in s.renting.kept
        why = (book.returning or book.trouble or offers.trouble(book, of)) if book is not None and kept else ""
        rents = [body for body in s.known.about("rent", name).values() if isinstance(body, Rent)]
        told = max((body.wishes[-1][1] for body in rents if body.wishes), default=-1)
        rows.append(
            PoolRow(name, of.provider, of.min, of.max, book.target if book is not None and kept else told, have,
                    round(ledger.spent_usd(s, book), 4) if book is not None and kept else -1.0, of.spend_usd_month,
                    tuple(name_of(keeper) for keeper in sorted(of.keepers)), why)
        )  # fmt: skip
    return rows
