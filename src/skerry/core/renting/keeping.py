"""Keepers: how many machines of a pool are wanted, which slots that means, and who of its keepers looks after each.

Machine slots go as replica slots do: all keepers compute the same order for each; the first acts at once, the next only after
`join_s` in which nobody held it (fact `machine`), or at once when those before it are down or have declined. What is done
with a slot is in tenancy.py, how many are needed in needing.py.

Whoever is cut off from the other keepers goes on alone: names and the provider's list make that two machines for one slot at most, for
as long as the cut lasts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from skerry.core.facts import Machine
from skerry.core.intent import MANUAL, Pool
from skerry.core.order import order_by_name
from skerry.core.records import MachineSlot
from skerry.core.renting import acting, ghosts, leaving, ledger, needing, offers, tenancy
from skerry.core.renting import dealings as deal
from skerry.core.renting.berths import NEVER, Berth, Book

if TYPE_CHECKING:
    from skerry.core.situation import Situation

Wanted = Literal["yes", "no", "never"]
"""never: beyond the pool's bounds, so age and the last replica don't keep it."""


class Renting:
    """`next_s`: nothing here depends on time before that."""

    def __init__(self) -> None:
        self.next_s = 0.0
        self.pools_changed = True
        self.kept: tuple[str, ...] = ()  # pools that name us
        self.books: dict[str, Book] = {}
        self.is_cut_off = False  # we don't see most of the fixed hosts
        self.cut_off_s = NEVER  # when that was last so

    def book(self, pool: str) -> Book:
        found = self.books.get(pool)
        if found is None:
            found = self.books[pool] = Book(pool)
        return found

    def berth(self, slot: MachineSlot) -> Berth:
        berths = self.book(slot.pool).berths
        if slot.index not in berths:
            berths[slot.index] = Berth(slot)
        return berths[slot.index]


def review(s: Situation) -> None:
    """Look at every pool that names us and do what is due."""
    r = s.renting
    if r.pools_changed:
        r.pools_changed = False
        r.kept = tuple(
            path.removeprefix("pool/")
            for path, document in sorted(s.known.documents.items())
            if isinstance(document.body, Pool) and s.me in document.body.keepers
        )
    if s.now < r.next_s:
        return
    r.next_s = s.now + (s.timing.rent_look_s if r.kept else 3600.0)
    ready_s = s.boot_s + s.timing.takeover_after_s  # by then we know who lives, and what was said of us before
    if not r.kept or s.new or s.me not in s.known.nodes:
        return
    if s.now < ready_s:
        r.next_s = min(r.next_s, ready_s)
        return
    r.is_cut_off = leaving.is_cut_off(s)
    r.cut_off_s = s.now if r.is_cut_off else r.cut_off_s
    for pool in r.kept:
        of = s.known.body(f"pool/{pool}", Pool)
        assert of is not None
        _review(s, r.book(pool), of)


def _review(s: Situation, book: Book, of: Pool) -> None:
    ledger.read(s, book)
    _read_begun(s, book)
    look_round(s, book, of)
    needing.look(s, book, of)
    book.returning = ledger.why_return_all(s, book, of)
    wanted = plan(s, book, of)
    slots = {*wanted, *(slot.index for slot in needing.slots_of(s, book.pool))}
    for index in sorted(slots):
        berth = s.renting.berth(MachineSlot(book.pool, index))
        _look_after(s, book, of, berth, wanted.get(index, "no" if index < of.max and not of.deleted else "never"))
    ghosts.review(s, book, of)
    ledger.write(s, book, of)


def look_round(s: Situation, book: Book, of: Pool) -> None:
    """What the provider has, and its sizes: asked for by and by. Nothing is created on old news."""
    if of.provider == MANUAL or s.now < book.again_s or (book.busy and s.now < book.busy_until_s):
        return
    book.busy = ""
    if book.kinds is None or s.now - book.kinds_s > offers.KINDS_S:
        call = deal.ListKinds(pool=book.pool, reason="what is there to rent, and for how much")
        book.busy = "kinds"
    elif s.now - book.sweeping_s >= s.timing.sweep_s:
        book.sweeping_s = s.now
        call = deal.ListMachines(pool=book.pool, reason="all that bears the cloud's tag")  # type: ignore[assignment]
        book.busy = "list"
    else:
        return
    book.busy_until_s = s.now + s.timing.provider_limit_s * 1.5
    s.out.append(call)


# --- which slots ------------------------------------------------------------------------------------------------------


def plan(s: Situation, book: Book, of: Pool) -> dict[int, Wanted]:
    """Of every slot that is there or should be whether it is wanted. What is marked is taken back before anything is rented."""
    there: dict[str, list[int]] = {"real": [], "pending": [], "draining": [], "leaving": []}
    for slot in sorted(needing.slots_of(s, book.pool)):
        there[needing.standing(s, slot)].append(slot.index)
    if book.returning or of.deleted:
        book.target = 0
        return {index: "never" for indices in there.values() for index in indices}
    wanted: dict[int, Wanted] = {}
    for indices in there.values():
        for index in [index for index in indices if index >= of.max]:
            wanted[index] = "never"
            indices.remove(index)
    rise = max(of.min, min(of.max, book.wish))
    keep = max(rise, min(of.max, needing.highest_wish(s, book, of)))
    book.target = rise
    have = there["real"]
    lacking = rise - len(have)
    back = ("draining", "leaving") if of.provider == MANUAL else ("draining",)  # people may take days
    for name in (*back, "pending"):
        candidates = [
            i
            for i in there[name]
            if name == "pending" or not leaving.marked_by_operator(s, of, MachineSlot(book.pool, i))
        ]
        for index in candidates:
            wanted[index] = "yes" if lacking > 0 else "no"
            lacking -= lacking > 0
    for index in _fresh(of, {*wanted, *(i for some in there.values() for i in some)}, lacking, s, book, len(have)):
        wanted[index] = "yes"
    surplus = len(have) - keep
    at_once = max(1, len(have) // 10) - len(there["draining"])
    for index in sorted(have, key=lambda i: needing.dearest_first(s, MachineSlot(book.pool, i))):
        may_go = surplus > 0 and at_once > 0 and leaving.may_be_marked(s, of, MachineSlot(book.pool, index))
        wanted[index] = "no" if may_go else "yes"
        surplus, at_once = surplus - may_go, at_once - may_go
    return wanted


def _fresh(of: Pool, taken: set[int], lacking: int, s: Situation, book: Book, have: int) -> list[int]:
    """The lowest free slots: at most a tenth (at least one) of what is there a minute, unless twice is wanted."""
    if lacking <= 0:
        return []
    most = lacking
    if book.target < 2 * have:
        most = max(1, have // 10) - ledger.created_since(s, book, 1)
    free = [index for index in range(of.max) if index not in taken]
    return free[: max(0, min(lacking, most))]


# --- whose ------------------------------------------------------------------------------------------------------------


def keepers_of(s: Situation, slot: MachineSlot, of: Pool) -> tuple[str, ...]:
    """The pool's keepers that are enrolled, best first for this slot."""
    return order_by_name(str(slot), {path: s.known.nodes[path] for path in of.keepers if path in s.known.nodes})


def _look_after(s: Situation, book: Book, of: Pool, berth: Berth, wanted: Wanted) -> None:
    own = s.known.of(s.me, "machine", str(berth.slot), Machine)
    order = keepers_of(s, berth.slot, of)
    rival = next((keeper for keeper in order if keeper != s.me and acting.holds(s, berth.slot, keeper)), "")
    if own is not None and acting.holds(s, berth.slot, s.me):
        if rival and order.index(rival) < order.index(s.me):
            acting.yield_to(s, berth, rival)
            return
        berth.rival_s, berth.vacant_s = None, None
        tenancy.tend(s, book, of, berth, own, wanted)
    elif rival:
        berth.vacant_s = None
        if own is not None and own.state == "failed":
            s.publish("machine", str(berth.slot), None, f"{rival.removeprefix('node/')} has it", sync=True)
    elif own is not None and own.state == "gone":
        leaving.bury(s, berth, own, wanted)
    elif _is_there(s, book, berth.slot) or wanted == "yes":
        _take_in_turn(s, book, of, berth, order, own, wanted)
    else:
        berth.vacant_s = None
        if own is not None:
            s.publish("machine", str(berth.slot), None, "not wanted any more", sync=True)


def _is_there(s: Situation, book: Book, slot: MachineSlot) -> bool:
    """Whether somebody must look after it even if nobody wants it: it is enrolled, or a dead keeper may have a machine for it."""
    about = [body for body in s.known.about("machine", str(slot)).values() if isinstance(body, Machine)]
    gone = {body.id for body in about if body.state == "gone"}
    left = any(
        body.state != "gone" and (body.id not in gone if body.id else body.token and body.token not in book.void)
        for body in about
    )
    return left or slot.path in s.known.nodes


def _take_in_turn(
    s: Situation, book: Book, of: Pool, berth: Berth, order: tuple[str, ...], own: Machine | None, wanted: Wanted
) -> None:
    if berth.vacant_s is None:
        berth.vacant_s = s.now
    if s.now < max(berth.again_s, book.again_s):
        if book.again_s > s.now and own is None:
            acting.decline(s, berth, book.trouble)
        return
    about = s.known.about("machine", str(berth.slot))
    ahead = 0
    for keeper in order[: order.index(s.me)] if s.me in order else ():
        said = about.get(keeper)
        declined = isinstance(said, Machine) and said.state == "failed"
        ahead += not (s.presence.is_down(keeper) or declined)
    turn_s = berth.vacant_s + ahead * of.join_s
    if s.now >= turn_s and s.me in order:
        tenancy.take(s, book, of, berth, own, wanted)
    else:
        s.renting.next_s = min(s.renting.next_s, max(turn_s, s.now + 0.001))


def _read_begun(s: Situation, book: Book) -> None:
    """Creates that were begun, by arrival: what they asked for may still come. Who takes the token back says that it can't."""
    tokens: dict[int, set[str]] = {}
    for key, about in s.known.facts.get("machine", {}).items():
        slot = MachineSlot.read(key)
        if slot is None or slot.pool != book.pool:
            continue
        found = tokens[slot.index] = {body.token for body in about.values() if isinstance(body, Machine) and body.token}
        berth = s.renting.berth(slot)
        for token in sorted(found - {berth.begun} - book.void):
            if not any(isinstance(b, Machine) and b.token == token and b.id for b in about.values()):
                berth.begun, berth.begun_s = token, s.now
    for index, berth in book.berths.items():
        if berth.begun and berth.begun not in tokens.get(index, set()):
            berth.begun, berth.begun_s = "", NEVER
