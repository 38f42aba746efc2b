"""A pool's money and counts, between facts and what the provider lists: who has paid what, and when too much would be.

Where the ledger lives: each keeper's fact `rent` of the pool holds what those machines had cost that it saw to be gone. A
keeper that is expelled takes its facts with it; whoever has heard them carries on its sum (`carried`), and of several who do the
highest counts. The rule about the ceiling itself is in spending.py.
"""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

import msgspec

from skerry.core.facts import Machine, Rent
from skerry.core.intent import Pool
from skerry.core.records import MachineSlot
from skerry.core.renting import needing, offers, spending
from skerry.core.renting.berths import Book
from skerry.core.renting.spending import Paid

if TYPE_CHECKING:
    from skerry.core.situation import Situation


def read(s: Situation, book: Book) -> None:
    """Take in what keepers say and what the newest sweep showed; book what is gone."""
    told = {keeper: body for keeper, body in s.known.about("rent", book.pool).items() if isinstance(body, Rent)}
    for keeper, body in told.items():
        book.ledgers[keeper] = dict(body.spent_usd)
    for id, paid in _named(s, book.pool).items():
        if id not in book.settled:
            _see(book, id, paid)
    _settle_what_is_gone(s, book)


def listed(s: Situation, book: Book, silent: Container[str] = ()) -> None:
    """A sweep has come: what it shows is there, what it doesn't may be gone, unless it is where nobody answered."""
    of = s.known.body(f"pool/{book.pool}", Pool)
    for id, machine in book.swept.items():
        if id not in book.settled and _is_of(machine.slot, book.pool):
            _see(book, id, Paid(machine.price_usd_hour, _paid_since(s, machine.created)))
    for id in book.seen:
        if id in book.swept or (of is not None and of.offer_of(id) in silent):
            book.absent_s.pop(id, None)
        else:
            book.absent_s.setdefault(id, s.now)


def _see(book: Book, id: str, paid: Paid) -> None:
    """The dearer word counts, and the earlier: nobody can make a machine cheaper than another has seen it."""
    held = book.seen.get(id)
    if held is not None:
        since = min(paid.since, held.since) if paid.since > 0 and held.since > 0 else max(paid.since, held.since)
        paid = Paid(max(paid.price_usd_hour, held.price_usd_hour), since)
    book.seen[id] = paid


def _paid_since(s: Situation, created: float) -> float:
    """A provider's clock may be wrong: never later than now."""
    wall = s.wall(s.now)
    return min(created, wall) if created > 0 else wall


def _is_of(slot: str, pool: str) -> bool:
    found = MachineSlot.read(slot)
    return found is not None and found.pool == pool


def _named(s: Situation, pool: str) -> dict[str, Paid]:
    """Machines that keepers' facts name and of which nobody says that they are gone."""
    found: dict[str, Paid] = {}
    for key, about in s.known.facts.get("machine", {}).items():
        if not _is_of(key, pool):
            continue
        words = [body for body in about.values() if isinstance(body, Machine)]
        gone = {body.id for body in words if body.state == "gone"}
        for body in words:
            if body.id and body.id not in gone and body.state != "gone":
                found[body.id] = Paid(body.price_usd_hour, _paid_since(s, body.created))
    return found


def _on_order(s: Situation, book: Book) -> list[Paid]:
    """Creates that were begun, or are about to be, and of which nobody knows yet what became of them."""
    return [*_about_to_begin(s, book), *_begun(s, book)]


def _about_to_begin(s: Situation, book: Book) -> list[Paid]:
    """Ours of this very moment: asked for, and no fact tells it yet."""
    own = [s.known.of(s.me, "machine", str(b.slot), Machine) for b in book.berths.values() if b.busy == "create"]
    return [
        Paid(body.price_usd_hour, s.wall(s.now))
        for body in own
        if body is not None and body.state == "creating" and not body.token
    ]


def _begun(s: Situation, book: Book) -> list[Paid]:
    return [
        Paid(body.price_usd_hour, _paid_since(s, body.created))
        for key, about in s.known.facts.get("machine", {}).items()
        if _is_of(key, book.pool)
        for body in about.values()
        if isinstance(body, Machine) and body.state == "creating" and body.token and body.token not in book.void
    ]


def _settle_what_is_gone(s: Situation, book: Book) -> None:
    """What no list has shown for `settle_s`, and no keeper names: ours is booked, others' is remembered until they have."""
    named = _named(s, book.pool)
    for id, since_s in list(book.absent_s.items()):
        if id in named or s.now < since_s + s.timing.settle_s:
            continue
        if id in book.mine:
            book_it(s, book, id, "no list shows it any more")
        elif (paid := book.seen.pop(id, None)) is not None:
            wall = s.wall(s.now)
            book.foreign[id] = (spending.cost(paid, wall, book.terms), wall, s.now)
            book.settled.add(id)
        book.absent_s.pop(id, None)
    for id, (_, _, gone_s) in list(book.foreign.items()):
        others = [at_s for keeper, at_s in book.heard_s.items() if keeper != s.me and s.presence.is_up(keeper)]
        if others and min(others) > gone_s + s.timing.settle_s:
            del book.foreign[id]  # whoever had it has booked it by now, and we have heard that
    if len(book.settled) > 1000:
        book.settled = set(sorted(book.settled)[-500:])


def book_it(s: Situation, book: Book, id: str, why: str) -> None:
    """A machine is gone: what it cost this month goes into our ledger, once."""
    paid = book.seen.pop(id, None)
    book.absent_s.pop(id, None)
    if paid is None or id in book.settled:
        return
    book.settled.add(id)
    book.mine.discard(id)
    rent = s.known.of(s.me, "rent", book.pool, Rent) or Rent()
    wall = s.wall(s.now)
    usd = spending.cost(paid, wall, book.terms)
    spent = spending.booked(rent.spent_usd, wall, usd)
    book.ledgers[s.me] = spent
    _publish(s, book, spent_usd=spent, why=f"{id} cost {usd:.4f} USD this month: {why}")


def _publish(s: Situation, book: Book, why: str, **changed: object) -> None:
    held = s.known.of(s.me, "rent", book.pool, Rent) or Rent()
    s.publish("rent", book.pool, msgspec.structs.replace(held, **changed), why, sync=True)


def begun(s: Situation, book: Book) -> None:
    """One more create is about to be asked for."""
    rent = s.known.of(s.me, "rent", book.pool, Rent) or Rent()
    minute = int(s.wall(s.now) // 60)
    counts = {at: many for at, many in rent.creates if 0 <= minute - at < 60}
    counts[minute] = counts.get(minute, 0) + 1
    _publish(s, book, creates=tuple(sorted(counts.items())), why="a machine is being created")


def created_since(s: Situation, book: Book, minutes: int) -> int:
    """How many creates all keepers have asked for in the last so many minutes."""
    asking = len(_about_to_begin(s, book))
    minute = int(s.wall(s.now) // 60)
    rents = [body for body in s.known.about("rent", book.pool).values() if isinstance(body, Rent)]
    return asking + sum(many for body in rents for at, many in body.creates if minute - minutes < at <= minute + 1)


def write(s: Situation, book: Book, of: Pool) -> None:
    """Our fact as it should stand now."""
    rent = s.known.of(s.me, "rent", book.pool, Rent) or Rent()
    step_s = needing.step_of(s, of)
    wishes = needing.with_wish(s, book, of, rent.wishes if rent.step_s == step_s else ())
    carried = {
        keeper: ledger
        for keeper, ledger in sorted(_ledgers(s, book).items())
        if keeper != s.me and keeper not in s.known.nodes and any(ledger.values())
    }
    carried = dict(sorted(carried.items(), key=lambda item: -sum(item[1].values()))[:8])
    coming = offers.next_of(s, book, of)
    _publish(
        s, book, wishes=wishes, step_s=step_s, carried=carried, next=coming, why=f"{book.wish} machines are needed now"
    )


def _ledgers(s: Situation, book: Book) -> dict[str, dict[str, float]]:
    """Keeper -> its ledger: as it says, as we last heard it, or as others carry it; of each month the highest."""
    found: dict[str, dict[str, float]] = {keeper: dict(months) for keeper, months in book.ledgers.items()}
    for body in s.known.about("rent", book.pool).values():
        for keeper, months in body.carried.items() if isinstance(body, Rent) else ():
            mine = found.setdefault(keeper, {})
            for month, usd in months.items():
                mine[month] = max(usd, mine.get(month, 0.0))
    return found


# --- the ceiling ------------------------------------------------------------------------------------------------------


def gone_usd(s: Situation, book: Book) -> float:
    """What machines that are gone have cost this month."""
    wall = s.wall(s.now)
    month = spending.month_of(wall)
    foreign = sum(usd for usd, at, _ in book.foreign.values() if spending.month_of(at) == month)
    return spending.gone_usd(_ledgers(s, book), wall) + foreign


def machines(s: Situation, book: Book) -> list[Paid]:
    """What is there and is paid, and what may be there soon."""
    return [*book.seen.values(), *_on_order(s, book)]


def spent_usd(s: Situation, book: Book) -> float:
    return spending.so_far(gone_usd(s, book), machines(s, book), s.wall(s.now), book.terms)


def why_not_rent(s: Situation, book: Book, of: Pool, price_usd_hour: float) -> str:
    """Why no further machine may be created now, "" if one may."""
    there = machines(s, book)
    if len(there) >= of.max:
        return f"{len(there)} machines are there or on their way, and {of.max} is the most"
    if (asked := created_since(s, book, 60)) >= of.creates_per_hour:
        return f"{asked} were created in the last hour, and {of.creates_per_hour} is the most"
    return over_ceiling(s, book, of, price_usd_hour)


def over_ceiling(s: Situation, book: Book, of: Pool, price_usd_hour: float) -> str:
    """Why money is at its end for one more of that price, "" if it isn't."""
    racers = len(
        [keeper for keeper in of.keepers if keeper in s.known.nodes]
    )  # each may do the same at this very moment
    return spending.may_rent(
        of,
        price_usd_hour * max(1, racers),
        gone_usd(s, book),
        machines(s, book),
        s.wall(s.now),
        book.terms,
        s.timing.return_slack_s,
    )


def why_return_all(s: Situation, book: Book, of: Pool) -> str:
    return spending.must_return(
        of, gone_usd(s, book), machines(s, book), s.wall(s.now), book.terms, s.timing.return_slack_s
    )
