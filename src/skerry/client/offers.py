"""What providers have to rent, side by side: their price lists as of now, and which of it a pool would take.

Which is taken later, each time that a machine is needed, is the keepers' to find out anew: core/renting/offers.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from skerry.core.intent import MANUAL, Offer, Pool
from skerry.errors import BadInput, SkerryError
from skerry.machines.contract import Size
from skerry.machines.providers import MEETING, provider_of
from skerry.outside import UNREADABLE
from skerry.trust import seal

SHOWN = 12  # rows of a table

Progress = Callable[[str], None]


class Fit(msgspec.Struct, frozen=True):
    """A size that a provider has. `offer`: the pool's name for that provider; `fit`: "cheapest", "fits" or ""."""

    offer: str
    provider: str
    size: str
    regions: tuple[str, ...]
    cpus: float
    memory_bytes: int
    usd_month: float
    usd_hour: float
    fit: str = ""

    def row(self) -> dict[str, Any]:
        return {
            "name": self.size,
            "provider": self.offer or self.provider,
            "region": ",".join(self.regions),
            "cpus": self.cpus,
            "memory_bytes": self.memory_bytes,
            "usd_month": self.usd_month,
            "usd_hour": self.usd_hour,
            "fit": self.fit,
        }


def offers_said(providers: tuple[str, ...], endpoint: str, image: str, options: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a pool for `--provider NAME[=URL]`, one or more. What is meant for a further one stands behind its name:
    `--option digitalocean-2.image=…`. Raises BadInput.
    """
    names: list[tuple[str, str]] = []  # (provider, its endpoint)
    for said in providers:
        name, _, url = said.partition("=")
        names.append((name, url))
    if len(names) > 1 and any(name == MANUAL for name, _ in names):
        raise BadInput(
            "what a person brings is no provider's to compare", f"{MANUAL} stands beside others",
            f"make a pool of its own: --provider {MANUAL}; an app may be opened to several pools",
        )  # fmt: skip
    if len(names) > 1 and endpoint:
        raise BadInput("whose endpoint that is is not clear", f"{len(names)} providers", "--provider NAME=URL for each")
    labels: list[str] = []
    for name, _ in names:
        again = sum(other == name for other, _ in names[: len(labels)])
        labels.append(f"{name}-{again + 1}" if again else name)
    own, others = dict(options), []
    for label, (name, url) in list(zip(labels, names, strict=True))[1:]:
        head = f"{label}."
        theirs = {key.removeprefix(head): own.pop(key) for key in list(own) if key.startswith(head)}
        others.append(Offer(name=label, provider=name, endpoint=url, image=theirs.pop("image", ""), options=theirs))
    return {
        "provider": names[0][0],
        "endpoint": names[0][1] or endpoint,
        "image": image,
        "options": own,
        "others": tuple(others),
    }


def alone(pool: Pool, token: str) -> dict[str, tuple[Pool, str]]:
    """Offer -> the pool as if it were the only one, and its token. `token`: of all of them, as it is sealed."""
    tokens = seal.tokens_of(pool, token)
    return {
        name: (
            msgspec.structs.replace(
                pool,
                provider=offer.provider,
                image=offer.image,
                endpoint=offer.endpoint,
                options={**offer.options, **({MEETING: pool.options[MEETING]} if MEETING in pool.options else {})},
                others=(),
            ),
            tokens.get(name, ""),
        )
        for name, offer in pool.offers().items()
    }


def tokens_said(pool: Pool, known: str, text: str) -> str:
    """What is to be sealed when an operator brings tokens anew: one, or a line NAME=TOKEN for each provider of several (a JSON
    object where one has several lines, as SSH's keys have).

    `known`: what was sealed before: of those that aren't named the token stays. Raises BadInput.
    """
    if not pool.others:
        return text
    tokens = seal.tokens_of(pool, known) if known else {}
    labels = {name or pool.provider: name for name in pool.offers()}
    for label, token in _lines(text):
        if label.strip() not in labels or not token.strip():
            raise BadInput(
                "the tokens were not taken", f"a line is none of {', '.join(f'{each}=TOKEN' for each in labels)}",
                "write one line for each provider whose token is another",
            )  # fmt: skip
        tokens[labels[label.strip()]] = token.strip()
    return seal.token_text(tokens)


def _lines(text: str) -> list[tuple[str, str]]:
    if text.startswith("{"):
        try:
            return list(msgspec.json.decode(text, type=dict[str, str]).items())
        except UNREADABLE as error:
            raise BadInput("the tokens were not taken", str(error), "a JSON object: provider -> token") from None
    return [(label, token) for line in text.splitlines() for label, _, token in [line.partition("=")]]


async def price_lists(pool: Pool, token: str, *, warn: Progress | None = None) -> dict[str, list[Size]]:
    """Offer -> its sizes as of now. `warn`: told of those that give none, as long as one does; else their trouble is raised."""

    def ask(one: Pool, known: str) -> list[Size]:
        return provider_of(one, known).sizes()

    asked = alone(pool, token)
    answers = await asyncio.gather(
        *(asyncio.to_thread(ask, one, known) for one, known in asked.values()), return_exceptions=True
    )
    lists: dict[str, list[Size]] = {}
    first: BaseException | None = None
    for name, answer in zip(asked, answers, strict=True):
        if not isinstance(answer, BaseException):
            lists[name] = answer
            continue
        first = first or answer
        if warn is None or not isinstance(answer, SkerryError):
            raise answer
        warn(f"{name or pool.provider} tells no prices: {answer}")
    if first is not None and not lists:
        raise first
    return lists


def compare(pool: Pool, lists: Mapping[str, list[Size]]) -> list[Fit]:
    """All that is there, what fits first and of that the cheapest: as keepers choose."""

    def fits(size: Size) -> bool:
        enough = not pool.size or size.name == pool.size
        enough = enough and size.cpus >= pool.cpus and size.memory_bytes >= pool.memory_bytes
        cheap = not pool.price_usd_month or size.price_usd_month <= pool.price_usd_month
        return enough and cheap and _is_somewhere(pool, size)

    rows = [
        Fit(name, offer.provider, size.name, size.regions, size.cpus, size.memory_bytes, size.price_usd_month,
            size.price_usd_hour, "fits" if fits(size) else "")
        for name, offer in pool.offers().items()
        for size in lists.get(name, [])
    ]  # fmt: skip
    rows.sort(key=lambda row: (not row.fit, row.usd_month, -row.memory_bytes, row.offer, row.size))
    if rows and rows[0].fit:
        rows[0] = msgspec.structs.replace(rows[0], fit="cheapest")
    return rows


def _is_somewhere(pool: Pool, size: Size) -> bool:
    return not pool.regions or not size.regions or bool({*pool.regions} & {*size.regions})


def cheapest_of_each(rows: Sequence[Fit]) -> dict[str, Fit]:
    """Offer -> what would be taken there."""
    found: dict[str, Fit] = {}
    for row in rows:
        if row.fit:
            found.setdefault(row.offer, row)
    return found
