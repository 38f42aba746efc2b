"""What providers say of a pool that is wanted, before anything is signed: token, image, sizes, prices, and what that may cost."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import msgspec

from skerry.client.offers import Fit, alone, cheapest_of_each, compare
from skerry.client.session import Session
from skerry.core.intent import Node, Pool
from skerry.core.records import MachineSlot
from skerry.core.renting.offers import MONTH_HOURS
from skerry.errors import BadInput
from skerry.machines.contract import Provider, Size, cheapest
from skerry.machines.providers import provider_of

SLACK = 1.05


class NoSuchSize(BadInput):
    """The provider has no size of that name, or none that fits."""

    code = "no-such-size"


class Looked(msgspec.Struct, frozen=True):
    """What its providers say of a pool that is wanted. `size`: the one that is taken now; `fits`: all they have, the best first."""

    size: Size
    warnings: tuple[str, ...]
    fits: tuple[Fit, ...] = ()

    @property
    def month_usd(self) -> float:
        """What one machine costs in a month, at the most."""
        return max(self.size.price_usd_month, self.size.price_usd_hour * MONTH_HOURS)

    def whole(self, machines: int) -> float:
        """What so many cost in a month at the most, at the dearest provider that may be used, and a little for those that are on
        their way out while others come in.
        """
        each = [max(fit.usd_month, fit.usd_hour * MONTH_HOURS) for fit in cheapest_of_each(self.fits).values()]
        return math.ceil(machines * max(self.month_usd, *each, 0.0) * SLACK * 100) / 100

    def of(self, pool: Pool) -> tuple[str, ...]:
        """All that is to be warned of: what the provider said, and a ceiling under which the least number can't stay."""
        least = pool.min * self.month_usd
        if least <= pool.spend_usd_month:
            return self.warnings
        return (
            *self.warnings,
            f"{pool.min} machines ({self.size.name}) that stay for a month cost {least:.2f} USD, and the ceiling is "
            f"{pool.spend_usd_month:.2f}: before the month is over all are given back; raise --spend, or lower --min",
        )

    def most(self, pool: Pool) -> str:
        limit = ", the limit of --spend" if pool.spend_usd_month < self.whole(pool.max) else ""
        first = f"{self.size.name} of {self.fits[0].offer or pool.provider} first" if pool.others else self.size.name
        return f"at most {pool.max} machines ({first}), at most {pool.spend_usd_month:.2f} USD/month{limit}"


async def look(session: Session, wanted: Pool, token: str) -> Looked:
    """Ask its providers all that can be asked without changing anything. Raises what they refuse, NoSuchSize."""
    warnings: list[str] = []
    lists: dict[str, list[Size]] = {}
    for name, (one, known) in alone(wanted, token).items():
        provider = provider_of(one, known)
        check_image = getattr(provider, "check_image", None)  # where machines begin with an image of the operator's own
        if check_image is not None:
            await asyncio.to_thread(check_image, one.image)
        told = await asyncio.to_thread(provider.check)
        lists[name] = await asyncio.to_thread(provider.sizes)
        told += await asyncio.to_thread(_seen, session, provider)
        warnings += [f"{name or one.provider}: {each}" for each in told] if wanted.others else told
    fits = compare(wanted, lists)
    if not wanted.others:
        return Looked(_size(wanted, lists[""]), tuple(warnings), tuple(fits))
    best = cheapest_of_each(fits)
    if not best:
        _size(wanted, [size for sizes in lists.values() for size in sizes])
    for name in wanted.offers():
        if name not in best:
            warnings.append(
                f"{name or wanted.provider} has nothing that fits: it is asked for nothing as long as that is so"
            )
    first = fits[0]
    size = next(size for size in lists[first.offer] if size.name == first.size)
    return Looked(size, tuple(warnings), tuple(fits))


def _seen(session: Session, provider: Provider) -> list[str]:
    """A token that reaches our fixed hosts could delete them, and so could whoever captures a keeper."""
    hosts = {
        address.rpartition(":")[0].strip("[]"): path.removeprefix("node/")
        for path, document in session.nodes.items()
        if MachineSlot.of_path(path) is None and isinstance(document.body, Node)
        for address in document.body.addresses
    }
    seen = sorted({hosts[a] for server in provider.list() for a in server.addresses if a in hosts})
    if not seen:
        return []
    return [
        f"this token reaches {', '.join(seen)}, too: a captured keeper could delete what is no pool's; "
        "rent machines in an account, or a team, of their own"
    ]


def _size(wanted: Pool, sizes: Sequence[Size]) -> Size:
    """Raises NoSuchSize."""
    if wanted.size:
        found = next((size for size in sizes if size.name == wanted.size), None)
        if found is None:
            near = ", ".join(sorted(size.name for size in sizes)[:20])
            raise NoSuchSize(f"there is no size {wanted.size}", f"{wanted.provider} has: {near}", "choose one: --size")
        missing = [region for region in wanted.regions if found.regions and region not in found.regions]
        if missing:
            raise NoSuchSize(
                f"there is no {found.name} in {', '.join(missing)}", f"it is in {', '.join(found.regions)}",
                "choose other --regions, or another --size",
            )  # fmt: skip
        if wanted.price_usd_month and found.price_usd_month > wanted.price_usd_month:
            raise NoSuchSize(
                f"{found.name} costs more than a machine may",
                f"{found.price_usd_month:.2f} USD/month now, and --price is {wanted.price_usd_month:.2f}",
                "allow a higher --price, or choose another --size: skerry machine sizes",
            )  # fmt: skip
        return found
    region = wanted.regions[0] if wanted.regions else ""
    fit = cheapest(
        sizes, cpus=wanted.cpus, memory_bytes=wanted.memory_bytes, most_usd_month=wanted.price_usd_month, region=region
    )
    if fit is None:
        raise NoSuchSize(
            f"{', '.join(name or wanted.provider for name in wanted.offers())} has no machine that fits",
            "none has so much for that price there",
            "ask for less, allow a higher --price, or name a --size; what there is: skerry machine sizes",
        )  # fmt: skip
    return fit
