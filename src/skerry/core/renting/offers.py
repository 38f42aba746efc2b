"""Which provider, size and region a pool's next machine is asked of: the cheapest that fits, and isn't sold out, closed or silent.

Prices are those of the providers' own lists, as last read; what operators signed bounds them. A provider that gives no answer is
waited for: it may have a machine of the very name. After `join_s` of silence the others go on without it (docs/decisions/0016).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from skerry.core.facts import Machine, Next
from skerry.core.intent import MANUAL, Pool
from skerry.core.renting import ledger, needing
from skerry.core.renting.berths import NEVER, Book, Stall
from skerry.core.renting.dealings import Kind, ProviderFailed, Rented
from skerry.core.restarts import next_backoff

if TYPE_CHECKING:
    from skerry.core.situation import Situation

KINDS_S = 3600.0  # so old a price list may be
KINDS_AGAIN_S = 300.0  # when not all have told theirs
MONTH_HOURS = 744.0  # at most
LAST_USD_HOUR = 1e6  # machines that a person brings, at a price that nobody has said: after all others


def fitting(book: Book, of: Pool) -> list[Kind]:
    """Sizes of all its providers that the pool may take, the cheapest first; of equal ones the larger memory, then the names."""
    fit = [
        kind for kind in _asked_for(book, of) if not of.price_usd_month or kind.price_usd_month <= of.price_usd_month
    ]
    return sorted(fit, key=lambda kind: (kind.price_usd_month, -kind.memory_bytes, kind.offer, kind.name))


def _asked_for(book: Book, of: Pool) -> list[Kind]:
    return [
        kind
        for kind in book.kinds or ()
        if (kind.name == of.size if of.size else kind.cpus >= of.cpus and kind.memory_bytes >= of.memory_bytes)
    ]


def choices(book: Book, of: Pool, index: int) -> list[tuple[Kind, str]]:
    """(size, region) in the order in which machine `index` tries them: its own region first, the cheapest size in all of them.

    A pool that names no regions takes any where the size is to be had.
    """
    found = []
    for kind in fitting(book, of):
        regions = [region for region in of.regions if not kind.regions or region in kind.regions]
        regions = regions if of.regions else list(kind.regions) or [""]
        found += [(kind, regions[(index + i) % len(regions)]) for i in range(len(regions))]
    return found


def open_choices(s: Situation, book: Book, of: Pool, index: int) -> list[tuple[Kind, str]]:
    """Of the choices those to ask for now: what was sold out of late only if there is nothing else."""
    there = [(kind, region) for kind, region in choices(book, of, index) if _is_open(s, book.stall(kind.offer))]
    return [one for one in there if not _is_sold_out(s, book, *one)] or there


def untried(s: Situation, book: Book, of: Pool, index: int) -> list[tuple[Kind, str]]:
    return [one for one in open_choices(s, book, of, index) if not _is_sold_out(s, book, *one)]


def _is_open(s: Situation, stall: Stall) -> bool:
    return stall.silent_s is None and s.now >= stall.again_s


def _is_sold_out(s: Situation, book: Book, kind: Kind, region: str) -> bool:
    until_s, _ = book.stall(kind.offer).sold_out.get((kind.name, region), (NEVER, ""))
    return s.now < until_s


def why_none(book: Book, of: Pool) -> str:
    """Why there is nothing to choose from."""
    where = ", ".join(of.regions) or "any region"
    names = ", ".join(_label(of, name) for name in of.offers())
    least = min(_asked_for(book, of), key=lambda kind: kind.price_usd_month, default=None)
    if least is not None and of.price_usd_month and least.price_usd_month > of.price_usd_month:
        return (
            f"the cheapest that fits, {least.name} of {_label(of, least.offer)}, costs {least.price_usd_month:.2f} USD/month now, "
            f"and {of.price_usd_month:.2f} is the most that was signed"
        )
    wants = f"size {of.size}" if of.size else f"{of.cpus:g} CPUs and {of.memory_bytes >> 20} MiB"
    return f"{names} has no {wants} in {where} at that price"


def trouble(book: Book, of: Pool) -> str:
    """What stands in the way of creates at its providers, "" for nothing."""
    found = []
    for name in of.offers():
        stall = book.stall(name)
        whys = [why for _, why in stall.sold_out.values()]
        quiet = "it gives no answer" if stall.silent_s is not None else ""
        why = quiet or stall.trouble or (whys[-1] if whys else "")
        if why:
            found.append(f"{_label(of, name)}: {why}" if of.others else why)
    return "; ".join(found)


def _label(of: Pool, name: str) -> str:
    return name or of.provider


# --- how it goes at each ------------------------------------------------------------------------------------------------


def heard(s: Situation, book: Book, silent: Mapping[str, str]) -> None:
    """A list has come, of all but those."""
    of = s.known.body(f"pool/{book.pool}", Pool)
    if of is None:
        return
    for name in of.offers():
        stall = book.stall(name)
        if name not in silent:
            if stall.silent_s is not None:
                s.note("provider", book.pool, f"{_label(of, name)} answers again")
            stall.silent_s = None
        elif stall.silent_s is None:
            stall.silent_s = s.now
            s.note("provider", book.pool, f"{_label(of, name)} gives no list: {silent[name]}")


def waited_for(s: Situation, book: Book, of: Pool, silent: Iterable[str]) -> list[str]:
    """Providers that may have a machine that we don't see, and have not been silent for long enough to go on without them."""
    quiet = []
    for name in of.offers():
        since_s = book.stall(name).silent_s
        if (since_s is not None or name in silent) and s.now < (since_s if since_s is not None else s.now) + of.join_s:
            quiet.append(_label(of, name))
    return quiet


def close(s: Situation, book: Book, event: ProviderFailed) -> None:
    """No create there for a while: the account is full, or its token good for nothing. Longer each time, and for as long as may be
    where there are others to ask.
    """
    stall, most_s = book.stall(event.offer), s.timing.provider_retry_most_s
    first_s = s.timing.provider_retry_first_s if len(book.stalls) < 2 or event.after_s else most_s
    stall.wait_s = next_backoff(stall.wait_s, first_s, most_s)
    stall.again_s, stall.trouble = s.now + max(stall.wait_s, event.after_s), event.why


def sold_out(s: Situation, book: Book, own: Machine, event: ProviderFailed) -> None:
    """That size is not to be had in that region now: for a while all others come before it."""
    stall = book.stall(event.offer)
    until_s = s.now + s.timing.provider_retry_most_s
    stall.sold_out = {key: said for key, said in stall.sold_out.items() if s.now < said[0]}
    stall.sold_out[(own.size, own.region)] = (until_s, event.why)


def had(book: Book, machine: Rented) -> None:
    """One was created there."""
    stall = book.stall(machine.offer)
    stall.wait_s, stall.again_s, stall.trouble = 0.0, NEVER, ""
    stall.sold_out.pop((machine.size, machine.region), None)


# --- what other pools' keepers may know -----------------------------------------------------------------------------------


def next_of(s: Situation, book: Book, of: Pool) -> Next | None:
    """What would be rented next, so that of several pools the cheapest is taken. None: not known yet."""
    if of.deleted or book.returning:
        return Next()
    if of.provider == MANUAL:
        usd_hour = of.price_usd_month / MONTH_HOURS if of.price_usd_month else LAST_USD_HOUR
        return Next(usd_hour=usd_hour, cpus=of.cpus, memory_bytes=needing.usable(of.memory_bytes))
    if book.kinds is None:
        return None
    there = untried(s, book, of, 0)
    if not there or ledger.over_ceiling(s, book, of, there[0][0].price_usd_hour):
        return Next()
    kind = there[0][0]
    return Next(usd_hour=kind.price_usd_hour, cpus=kind.cpus, memory_bytes=needing.usable(kind.memory_bytes))
