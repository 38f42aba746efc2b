"""What machines cost, and whether one more may be rented. Pure arithmetic over what keepers say and the provider lists.

The rule, in words: at every moment, what this month has cost so far, plus what all machines would cost if giving them back
began now and went as slowly as it may (the drain's limit, and `return_slack_s` in which the provider refuses), is not above the
pool's ceiling. A machine is rented only if that would still hold at the end of the least time for which it must be held, with all
that are there still there by then. When it would hold no longer in a minute, all are given back. So the ceiling holds at any time,
whatever the load does, and nothing is rented only to be given back at once.

Machines that are there are counted by the union of what the provider lists and what keepers name; those that are gone by each
keeper's ledger (fact `rent`), added when it saw that they were. A keeper can make that sum greater than it is, never smaller than
what the others have seen themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from skerry.core.intent import Pool

MONTHS_KEPT = 2
MARGIN_S = 60.0  # giving back is not begun in the very moment in which the rule ceases to hold


class Terms(NamedTuple):
    """Of a provider: what is paid is time rounded up to `step_s`, at least `least_s`, and at least `least_usd` for each machine."""

    least_s: float = 0.0
    step_s: float = 1.0
    least_usd: float = 0.0


class Paid(NamedTuple):
    """A machine that is there. `since`: unix seconds from which it is paid."""

    price_usd_hour: float
    since: float


def month_of(wall: float) -> str:
    day = datetime.fromtimestamp(wall, UTC)
    return f"{day.year:04}-{day.month:02}"


@lru_cache(maxsize=16)
def begin_of(month: str) -> float:
    return datetime(int(month[:4]), int(month[5:]), 1, tzinfo=UTC).timestamp()


@lru_cache(maxsize=16)
def end_of(month: str) -> float:
    year, number = int(month[:4]), int(month[5:])
    return datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC).timestamp()


def cost(paid: Paid, until: float, terms: Terms) -> float:
    """USD of a machine in the month in which `until` lies."""
    begin = begin_of(month_of(until))
    seconds = max(0.0, until - max(paid.since, begin))
    if paid.since < begin:
        return _usd(paid.price_usd_hour, seconds, terms)
    return _least(paid.price_usd_hour, seconds, terms)


def _usd(price_usd_hour: float, seconds: float, terms: Terms) -> float:
    return price_usd_hour / 3600.0 * math.ceil(seconds / terms.step_s) * terms.step_s


def _least(price_usd_hour: float, seconds: float, terms: Terms) -> float:
    """Of a machine from its begin on: what is free has no least amount."""
    usd = _usd(price_usd_hour, max(seconds, terms.least_s), terms)
    return max(usd, terms.least_usd) if price_usd_hour > 0 else usd


def booked(ledger: Mapping[str, float], wall: float, usd: float) -> dict[str, float]:
    """A ledger with so much more in this month; old months go."""
    month = month_of(wall)
    months = {**ledger, month: round(ledger.get(month, 0.0) + usd, 6)}
    return {kept: months[kept] for kept in sorted(months)[-MONTHS_KEPT:]}


def gone_usd(ledgers: Mapping[str, Mapping[str, float]], wall: float) -> float:
    """Of all keepers, this month. `ledgers`: keeper -> its own."""
    month = month_of(wall)
    return sum(ledger.get(month, 0.0) for ledger in ledgers.values())


def so_far(gone: float, machines: Iterable[Paid], wall: float, terms: Terms) -> float:
    return gone + sum(cost(paid, wall, terms) for paid in machines)


def back_s(of: Pool, terms: Terms, slack_s: float) -> float:
    """How long giving back may take, from the moment in which it must begin."""
    return of.drain_s + slack_s + terms.step_s + MARGIN_S


def may_rent(
    of: Pool, price_usd_hour: float, gone: float, machines: list[Paid], wall: float, terms: Terms, slack_s: float
) -> str:
    """Why one more may not be rented, "" if it may. With a price of 0 money is no question."""
    if price_usd_hour <= 0:
        return ""
    hold_s = max(of.age_s, of.join_s, terms.least_s) + back_s(of, terms, slack_s)
    held = sum(paid.price_usd_hour for paid in machines) * hold_s / 3600.0
    new = _least(price_usd_hour, hold_s, terms)
    spent = so_far(gone, machines, wall, terms)
    total = spent + held + new
    if total <= of.spend_usd_month:
        return ""
    return (
        f"ceiling of {of.spend_usd_month:.2f} USD a month: {spent:.2f} are spent, {held:.2f} are kept for what is there, "
        f"and the least time of one more costs {new:.2f}"
    )


def must_return(of: Pool, gone: float, machines: list[Paid], wall: float, terms: Terms, slack_s: float) -> str:
    """Why all machines must be given back now, "" if they need not. Beyond the month's end the next one pays."""
    left_s = min(back_s(of, terms, slack_s), end_of(month_of(wall)) - wall)
    spent = so_far(gone, machines, wall, terms)
    rest = sum(paid.price_usd_hour for paid in machines) * left_s / 3600.0
    if rest <= 0 or spent + rest <= of.spend_usd_month:
        return ""
    return f"ceiling of {of.spend_usd_month:.2f} USD a month: {spent:.2f} are spent, and giving all back may cost {rest:.2f} more"
