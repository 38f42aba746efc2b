"""What a provider of machines can do. One file of this folder each; a shared contract suite holds them to it.

Calls block, and each ends within its own time limit: whoever must not wait calls from a process or thread of its own. Nothing
is remembered between calls. Amounts are USD, sizes bytes, times unix seconds.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import ClassVar, Literal, Protocol

import msgspec

from skerry.core.records import MachineSlot
from skerry.errors import Passing, Refusal

USER_DATA_BYTES = 64 << 10


class Size(msgspec.Struct, frozen=True):
    """A kind of machine and what it costs now. `regions`: where there are any."""

    name: str
    cpus: float
    memory_bytes: int
    disk_bytes: int
    price_usd_hour: float
    price_usd_month: float  # the most that a month of it costs
    regions: tuple[str, ...] = ()


class Server(msgspec.Struct, frozen=True):
    """A machine as the provider tells it. `id` alone is unique; names may be there twice, and tags may come late."""

    id: str
    name: str
    state: Literal["new", "active", "off", "gone"]
    addresses: tuple[str, ...] = ()  # public IPv4 first
    tags: tuple[str, ...] = ()
    size: str = ""
    region: str = ""
    price_usd_hour: float = 0.0
    created_s: float = 0.0
    busy: bool = False  # the provider changes it just now and takes no other order
    behind_nat: bool = False  # from its addresses it comes, and nobody can call it there


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to create. `user_data`: what cloud-init runs at the first boot; anybody on the machine can read it for ever."""

    name: str
    size: str
    region: str
    image: str
    user_data: str
    tags: tuple[str, ...]
    uuid: str = ""  # for providers whose create can be repeated


class Billing(msgspec.Struct, frozen=True):
    """What is paid: time rounded up to `step_s`, at least `least_s`, and at least `least_usd` for each machine."""

    step_s: float
    least_s: float
    least_usd: float = 0.0


class Provider(Protocol):
    """Raises what stands below, and nothing else. A time-out never says whether it was done: `ProviderSilent`."""

    name: ClassVar[str]
    billing: ClassVar[Billing]
    least_scopes: ClassVar[tuple[str, ...]]  # what its token needs; () where there is none

    def check(self) -> list[str]:
        """Warnings about the token, its scopes and the account. Raises ProviderDenied if it can't be used at all."""
        ...

    def sizes(self) -> list[Size]: ...

    def list(self, *, name: str = "", tag: str = "") -> list[Server]:
        """All machines, those of this very name, or those with this tag. The look before a create is by name: tags come late."""
        ...

    def get(self, id: str) -> Server:
        """Raises NoSuchServer, also for one whose creation was promised and failed."""
        ...

    def create(self, order: Order) -> Server:
        """Ask for one; it may be long until it is active, and it may vanish before."""
        ...

    def destroy(self, server: Server) -> None:
        """By id, after it was looked up once more: name and tags must still be `server`'s. Gone already is done.

        Raises NotOurs when another machine is found under that id.
        """
        ...

    def reboot(self, server: Server) -> None: ...

    def resize(self, server: Server, size: str) -> None: ...

    def rebuild(self, server: Server, order: Order) -> Server:
        """The same machine with a new disk; where that reaches too far for a token, another one in its place."""
        ...


class ProviderDenied(Refusal):
    """The provider does not take the token, or the token may not do this."""

    code = "provider-denied"


class ProviderRefused(Refusal):
    """It said no to these very words: an unknown size, region or image, or a malformed order."""

    code = "provider-refused"


class QuotaReached(Refusal):
    """The account's limit, or its money, is at an end."""

    code = "provider-quota"


class NoCapacity(Passing):
    """None of that size in that region just now: another may do."""

    code = "provider-no-capacity"


class RateLimited(Passing):
    """Too many calls. `after_s`: how long to wait."""

    code = "provider-rate"

    def __init__(self, what: str, why: str, after_s: float) -> None:
        super().__init__(what, why, f"it goes on by itself in {after_s:.0f} s")
        self.after_s = after_s


class ProviderSilent(Passing):
    """No answer, or one that says nothing. Whether it was done must be looked up: list by name."""

    code = "provider-silent"


class NoSuchServer(Refusal):
    code = "no-such-server"


class NotOurs(Refusal):
    """The machine under this id is not the one that was meant: nothing was done to it."""

    code = "machine-not-ours"


NAMESPACE = uuid.UUID("8a0d5f0e-5a52-4e0e-9d1b-6f1a2c6a7e11")


def name_of(cloud: str, slot: MachineSlot) -> str:
    """`sk-<cloud>-<pool>-<index>`: the same whoever asks, lower case, a host name."""
    return f"sk-{cloud[:10]}-{slot.pool}-{slot.index}"


def slot_of(cloud: str, name: str) -> MachineSlot | None:
    """Which slot a name was derived from; None: not one of this cloud's."""
    head = f"sk-{cloud[:10]}-"
    pool, _, index = name.removeprefix(head).rpartition("-")
    return MachineSlot.read(f"{pool}/{index}") if name.startswith(head) else None


def tags_of(cloud: str, pool: str) -> tuple[str, str]:
    """Of the cloud, and of the pool in it. Letters, digits, `-` and `:` only, as the strictest provider wants them."""
    return (cloud_tag(cloud), f"skerry-pool:{cloud[:10]}-{pool}")


def cloud_tag(cloud: str) -> str:
    return f"skerry:{cloud[:20]}"


def uuid_of(cloud: str, slot: MachineSlot) -> str:
    return str(uuid.uuid5(NAMESPACE, f"{cloud}/{slot}"))


def check_user_data(order: Order) -> None:
    """For providers whose service does not look itself. Raises ProviderRefused."""
    if (size := len(order.user_data.encode())) > USER_DATA_BYTES:
        raise ProviderRefused(
            f"{order.name} was not made", f"its user data has {size} of {USER_DATA_BYTES} bytes at most"
        )


def check_same(meant: Server, found: Server) -> None:
    """Before anything is done to `found` by id: it must bear the name and all tags of `meant`. Raises NotOurs."""
    if found.name != meant.name or not set(meant.tags) <= set(found.tags):
        raise NotOurs(
            f"{meant.name} was not touched",
            f"the machine {meant.id} is {found.name} now, with the tags {', '.join(found.tags) or 'none'}",
            "look at it by hand: it belongs to somebody else",
        )


def cheapest(
    sizes: Sequence[Size], *, cpus: float, memory_bytes: int, most_usd_month: float = 0.0, region: str = ""
) -> Size | None:
    """The least monthly price that has what is asked for; of equal ones the larger memory, then the name."""
    fit = [
        size
        for size in sizes
        if size.cpus >= cpus
        and size.memory_bytes >= memory_bytes
        and (not most_usd_month or size.price_usd_month <= most_usd_month)
        and (not region or region in size.regions)
    ]
    return min(fit, key=lambda size: (size.price_usd_month, -size.memory_bytes, size.name), default=None)
