"""Pools and the machines in them: looked at, rented, restarted, resized, rebuilt, returned."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from skerry.api.operations import Operation
from skerry.api.table import Body, Call, Page, Paged, Query, Routes, Start, Tagged, Timeout, page
from skerry.sdk.values import Cost, Machine, Pool

routes = Routes("machines")
Text = Annotated[str, msgspec.Meta(max_length=253)]
Token = Annotated[str, msgspec.Meta(max_length=4096)]
Many = Annotated[int, msgspec.Meta(ge=0, le=10_000)]
Usd = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]
Seconds = Annotated[float, msgspec.Meta(ge=1, le=2_678_400)]
Names = Annotated[list[Text], msgspec.Meta(max_length=16)]


class NewPool(Body, frozen=True):
    """`size`: the provider's name of one, else the cheapest with `cpus` and `memory_bytes` for `price_usd_month` at most.

    `token`: the provider's; it is sealed to the keepers and the operators, kept nowhere else and shown to nobody. `keepers`: fixed
    hosts that rent; null: the first two; []: none, and `options.meeting` names the host where machines wait.

    `others`: further providers, `NAME` or `NAME=URL`: each machine is at the cheapest that has one. What is meant for one of them
    stands behind its name (`options`: `libvirt.image`); `token` then holds lines `NAME=TOKEN`.
    """

    provider: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    max: Many
    min: Many = 0
    size: Text = ""
    cpus: Annotated[float, msgspec.Meta(ge=0, le=4096)] = 0.0
    memory_bytes: Annotated[int, msgspec.Meta(ge=0, le=1 << 50)] = 0
    price_usd_month: Usd = 0.0
    spend_usd_month: Usd = 0.0
    regions: Names = []
    image: Text = ""
    endpoint: Annotated[str, msgspec.Meta(max_length=500)] = ""
    others: Annotated[list[Annotated[str, msgspec.Meta(max_length=540)]], msgspec.Meta(max_length=7)] = []
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    weight: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 100
    creates_per_hour: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10
    join_s: Seconds = 600.0
    down_s: Seconds = 1200.0
    drain_s: Seconds = 300.0
    age_s: Seconds = 600.0
    grace_s: Seconds = 600.0
    firewall: bool = False
    keepers: Names | None = None
    token: Token = ""


class PoolChange(Body, frozen=True):
    """What is left out stays. `token`: the provider's, sealed anew."""

    max: Many | msgspec.UnsetType = msgspec.UNSET
    min: Many | msgspec.UnsetType = msgspec.UNSET
    size: Text | msgspec.UnsetType = msgspec.UNSET
    spend_usd_month: Usd | msgspec.UnsetType = msgspec.UNSET
    regions: Names | msgspec.UnsetType = msgspec.UNSET
    image: Text | msgspec.UnsetType = msgspec.UNSET
    creates_per_hour: Annotated[int, msgspec.Meta(ge=1, le=1000)] | msgspec.UnsetType = msgspec.UNSET
    down_s: Seconds | msgspec.UnsetType = msgspec.UNSET
    join_s: Seconds | msgspec.UnsetType = msgspec.UNSET
    drain_s: Seconds | msgspec.UnsetType = msgspec.UNSET
    age_s: Seconds | msgspec.UnsetType = msgspec.UNSET
    grace_s: Seconds | msgspec.UnsetType = msgspec.UNSET
    keepers: Names | None = None
    token: Token = ""


class Size(Body, frozen=True):
    """`size`: the provider's name of it."""

    size: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    timeout_s: Timeout = 600.0


class How(Query, frozen=True):
    now: Annotated[bool, msgspec.Meta(description="Don't drain it first.")] = False
    timeout_s: Timeout = 600.0


class Which(Query, frozen=True):
    index: Annotated[
        int, msgspec.Meta(ge=-1, le=999, description="As this machine of the pool; -1: the first free one.")
    ] = -1
    timeout_s: Timeout = 600.0


class InTime(Query, frozen=True):
    timeout_s: Timeout = 600.0


@routes.add("get", "/v1/pools", "List the pools", "read", gives=Page[Pool], query=Paged)
async def list_pools(call: Call) -> Page[Pool]:
    return page(await call.cloud.pools.ls(), lambda pool: pool.name, call.query)


@routes.add("get", "/v1/pools/{pool}", "Show a pool", "read", "machines:{pool}", gives=Pool, tagged=True)
async def get_pool(call: Call) -> Tagged:
    pool = await call.cloud.pools.get(call.path["pool"])
    return Tagged(pool, pool.etag)


@routes.add(
    "put", "/v1/pools/{pool}", "Add a pool", gives=Operation, body=NewPool, status=202, long=True,
)  # fmt: skip
async def add_pool(call: Call) -> Start:
    """The provider is asked for sizes and prices before anything is signed."""
    name, body = call.path["pool"], call.body

    async def work(progress: Any) -> Any:
        more = msgspec.structs.asdict(body)
        return await call.cloud.pools.add(name, more.pop("provider"), progress=progress, **more)

    return Start("add", f"pool/{name}", work)


@routes.add(
    "patch", "/v1/pools/{pool}", "Change a pool's bounds, token or keepers", gives=Operation, body=PoolChange, status=202,
    long=True, tagged=True,
)  # fmt: skip
async def change_pool(call: Call) -> Start:
    name, body = call.path["pool"], call.body
    await call.cloud.pools.get(name)
    changes = msgspec.to_builtins(body)
    keepers, token = changes.pop("keepers"), changes.pop("token")
    if "regions" in changes:
        changes["regions"] = tuple(changes["regions"])

    async def work(progress: Any) -> Any:
        return await call.cloud.pools.set(
            name, changes=changes, keepers=keepers, token=token, prev=call.prev, progress=progress
        )

    return Start("change", f"pool/{name}", work)


@routes.add(
    "delete", "/v1/pools/{pool}", "Return all machines of a pool and forget it", gives=Operation, query=How, status=202,
    long=True, tagged=True,
)  # fmt: skip
async def remove_pool(call: Call) -> Start:
    name = call.path["pool"]
    await call.cloud.pools.get(name)

    async def work(progress: Any) -> Any:
        query = call.query
        return await call.cloud.pools.rm(
            name, now=query.now, prev=call.prev, timeout_s=query.timeout_s, progress=progress
        )

    return Start("remove", f"pool/{name}", work)


@routes.add("get", "/v1/costs", "What the machines of each pool cost now", "read", gives=Page[Cost])
async def list_costs(call: Call) -> Page[Cost]:
    return Page(items=await call.cloud.pools.cost())


@routes.add(
    "get",
    "/v1/pools/{pool}/machines",
    "List a pool's machines",
    "read",
    "machines:{pool}",
    gives=Page[Machine],
    query=Paged,
)
async def list_machines(call: Call) -> Page[Machine]:
    """`next` is the last one's slot, with its number as nine digits."""
    return page(await call.cloud.machines.ls(call.path["pool"]), _key, call.query)


def _key(machine: Machine) -> str:
    pool, _, index = machine.slot.rpartition("/")
    return f"{pool}/{int(index):09}"


@routes.add(
    "post", "/v1/pools/{pool}/machines", "Rent a machine of a pool that no host keeps", "machines:{pool}", gives=Operation,
    query=Which, status=202, long=True,
)  # fmt: skip
async def rent_machine(call: Call) -> Start:
    """With the provider's token in the environment of the serving machine. 409 where keepers rent: change `min` of the pool."""
    name = call.path["pool"]
    await call.cloud.pools.get(name)

    async def work(progress: Any) -> Any:
        slot = f"{name}/{call.query.index}" if call.query.index >= 0 else name
        return await call.cloud.machines.add(slot, timeout_s=call.query.timeout_s, progress=progress)

    return Start("rent", f"pool/{name}", work)


@routes.add(
    "get", "/v1/pools/{pool}/machines/{index}", "Show a machine", "read", "machines:{pool}", gives=Machine
)  # fmt: skip
async def get_machine(call: Call) -> Machine:
    return await call.cloud.machines.get(_slot(call))


@routes.add(
    "post", "/v1/pools/{pool}/machines/{index}/reboot", "Restart a machine", "machines:{pool}", gives=Operation, query=InTime,
    status=202, long=True,
)  # fmt: skip
async def reboot_machine(call: Call) -> Start:
    """Other hosts run its replicas meanwhile."""
    return await _change(call, "reboot", timeout_s=call.query.timeout_s)


@routes.add(
    "post", "/v1/pools/{pool}/machines/{index}/resize", "Give a machine another size", "machines:{pool}", gives=Operation,
    body=Size, status=202, long=True,
)  # fmt: skip
async def resize_machine(call: Call) -> Start:
    """It is switched off and on; its disk stays."""
    return await _change(call, "resize", call.body.size, timeout_s=call.body.timeout_s)


@routes.add(
    "post", "/v1/pools/{pool}/machines/{index}/rebuild", "Return a machine and fill its slot anew", "machines:{pool}",
    gives=Operation, query=InTime, status=202, long=True,
)  # fmt: skip
async def rebuild_machine(call: Call) -> Start:
    """Drained first. A new disk and new keys; not in time where its keepers find no need for another one."""
    return await _change(call, "rebuild", timeout_s=call.query.timeout_s)


@routes.add(
    "delete", "/v1/pools/{pool}/machines/{index}", "Return a machine", "machines:{pool}", gives=Operation, query=How,
    status=202, long=True,
)  # fmt: skip
async def return_machine(call: Call) -> Start:
    """Drained first. Where load wants it, its keeper rents another one."""
    return await _change(call, "rm", now=call.query.now, timeout_s=call.query.timeout_s)


async def _change(call: Call, verb: str, *args: Any, **more: Any) -> Start:
    slot = _slot(call)
    await call.cloud.machines.get(slot)

    async def work(progress: Any) -> Any:
        return await getattr(call.cloud.machines, verb)(slot, *args, progress=progress, **more)

    return Start(verb, f"node/{slot}", work)


def _slot(call: Call) -> str:
    return f"{call.path['pool']}/{call.path['index']}"
