"""What a keeper remembers of its pools and their machine slots between two looks. Values only: the rules are in renting and tenancy.

Nothing here is needed to go on after a restart: what must last is in the facts `machine` and `rent`, and at the provider.
"""

from __future__ import annotations

import msgspec

from skerry.core.records import MachineSlot
from skerry.core.renting.dealings import Kind, Rented
from skerry.core.renting.spending import Paid, Terms

NEVER = float("-inf")


class Berth(msgspec.Struct):
    """One machine slot. Times that end in `_s` are of our monotonic clock."""

    slot: MachineSlot
    busy: str = ""  # the call that is under way
    busy_until_s: float = 0.0
    taken_s: float = NEVER  # since when we hold it, in this life
    since_s: float = NEVER  # of the state that our fact names, in this life
    asked_s: float = NEVER  # when the newest list by name was asked for that has come
    heard_s: float = NEVER  # when it came
    asking_s: float = NEVER  # and when the one under way
    machines: tuple[Rented, ...] = ()  # what it said
    silent: frozenset[str] = frozenset()  # offers that gave no answer then: of these what an earlier one said
    begun_s: float = NEVER  # a create was begun, by whomever; by arrival
    begun: str = ""  # its token's hash
    known: tuple[str, float] = (
        "",
        NEVER,
    )  # our machine's id, and since when we know it in this life; NEVER: from before
    absent_s: float | None = None  # since when lists don't show it
    destroyed: dict[str, float] = {}  # id -> when the provider took the order
    again_s: float = NEVER  # no further call before
    wait_s: float = 0.0
    vacant_s: float | None = None  # since when it is wanted and nobody has it
    rival_s: float | None = None  # since when a better keeper holds it, too
    silent_s: float | None = None  # since when a machine that had joined is down
    empty: bool = False  # it is given back because nothing ran there
    enrol_s: float = NEVER
    told: str = ""  # the last thing that was said of it in `events`


class Stall(msgspec.Struct):
    """One of a pool's providers, as this keeper finds it."""

    silent_s: float | None = None  # since when it answers no list
    again_s: float = NEVER  # no create there before: the account's limit, say
    wait_s: float = 0.0
    trouble: str = ""
    sold_out: dict[tuple[str, str], tuple[float, str]] = {}  # (size, region) -> others go before it until then, why


class Book(msgspec.Struct):
    """One pool."""

    pool: str
    berths: dict[int, Berth] = {}
    kinds: tuple[Kind, ...] | None = None
    kinds_s: float = NEVER
    terms: Terms = Terms()
    busy: str = ""
    busy_until_s: float = 0.0
    sweeping_s: float = NEVER  # when the newest sweep was asked for
    swept_s: float = NEVER  # when the newest that has come was asked for
    swept: dict[str, Rented] = {}
    seen: dict[str, Paid] = {}  # machines that are there, or were a moment ago: id -> what they cost
    absent_s: dict[str, float] = {}  # of these, since when no list shows them
    mine: set[str] = set()  # those that we held or gave back: their cost is ours to book
    settled: set[str] = set()  # booked
    void: set[str] = set()  # tokens (their hashes) of creates that came to nothing, whatever a dead keeper's fact says
    foreign: dict[str, tuple[float, float, float]] = {}  # gone, others' to book: id -> (USD, unix seconds, monotonic)
    unknown_s: dict[str, float] = {}  # tagged, and of no slot: since when, by arrival
    heard_s: dict[str, float] = {}  # keeper -> when its newest `rent` came
    ledgers: dict[str, dict[str, float]] = {}  # keeper -> its ledger as last heard: it may be expelled tomorrow
    again_s: float = NEVER  # no call at all before: the account or the provider is in trouble
    wait_s: float = 0.0
    trouble: str = ""  # why
    stalls: dict[str, Stall] = {}  # offer -> how it is there
    told: dict[str, str] = {}  # subject -> what was last said of it in `events`
    wish: int = 0
    wish_s: float = NEVER
    homeless: tuple[str, ...] = ()
    target: int = 0
    returning: str = ""  # why all is given back

    def stall(self, offer: str) -> Stall:
        if offer not in self.stalls:
            self.stalls[offer] = Stall()
        return self.stalls[offer]
