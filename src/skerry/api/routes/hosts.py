"""Hosts: looked at, joined, drained, removed; and the volumes on them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from skerry.api.operations import Operation
from skerry.api.table import Body, Call, Page, Paged, Query, Routes, Start, Tagged, Timeout, page
from skerry.sdk.values import Drained, Expelled, Host, Volume

routes = Routes("hosts")
Text = Annotated[str, msgspec.Meta(max_length=253)]
WHERE = r"^[A-Za-z0-9_][A-Za-z0-9_.:@\[\]-]*$"
Target = Annotated[str, msgspec.Meta(min_length=1, max_length=253, pattern=WHERE)]
Jump = Annotated[str, msgspec.Meta(max_length=253, pattern=rf"^({WHERE[1:-1]})?$")]
Fingerprints = Annotated[list[Text], msgspec.Meta(max_length=8)]


class Join(Body, frozen=True):
    """`target`: as ssh has it, root@ADDRESS; ssh's own keys and configuration on the serving machine are used.

    `name`: else its own host name. `slot`: as that machine of a pool, POOL/NUMBER. `jump`: the host on the way. `host_keys`:
    fingerprints of its key ("SHA256:…"), as nobody is asked. `address`: where other hosts reach it, if not where ssh does.
    """

    target: Target
    name: Text = ""
    labels: dict[str, str] = {}
    zone: Text = ""
    slot: Text = ""
    address: Text = ""
    readmit: bool = False
    jump: Jump = ""
    host_keys: Fingerprints = []
    timeout_s: Timeout = 30.0


class Look(Body, frozen=True):
    """As in a join."""

    target: Target
    jump: Jump = ""
    host_keys: Fingerprints = []


class HostChange(Body, frozen=True):
    """What is left out stays. `labels`: exactly these. `address`: where other hosts reach it.

    `image_budget_bytes`: how much of its disk images may take; 0: what the host itself thinks right.
    """

    labels: dict[str, str] | None = None
    zone: Text | None = None
    address: Text = ""
    image_budget_bytes: Annotated[int, msgspec.Meta(ge=0, le=1 << 50)] | None = None


class Leave(Query, frozen=True):
    """`target`, `jump`, `host_key`: how ssh reaches it, if not at root@ its address."""

    purge: bool = False
    target: Jump = ""
    jump: Jump = ""
    host_key: Text = ""


class Limit(Query, frozen=True):
    limit_s: Annotated[float, msgspec.Meta(ge=1, le=3600, description="How long the new agent has to rejoin.")] = 60.0


class InTime(Query, frozen=True):
    timeout_s: Timeout = 120.0


@routes.add("get", "/v1/hosts", "List the hosts", "read", gives=Page[Host], query=Paged)
async def list_hosts(call: Call) -> Page[Host]:
    """Machines of pools are named POOL/NUMBER."""
    return page(await call.cloud.hosts.ls(), lambda host: host.name, call.query)


@routes.add("get", "/v1/hosts/{host}", "Show a host", "read", gives=Host, tagged=True)
async def get_host(call: Call) -> Tagged:
    host = await call.cloud.hosts.get(call.path["host"])
    return Tagged(host, host.etag)


@routes.add("post", "/v1/hosts", "Join a host by SSH", gives=Operation, body=Join, status=202, long=True)
async def join_host(call: Call) -> Start:
    """Again, it mends a broken agent. It can't be cancelled halfway."""
    body: Join = call.body

    async def work(progress: Any) -> Any:
        return await call.cloud.hosts.add(
            body.target,
            name=body.name or None,
            labels=body.labels,
            zone=body.zone,
            slot=body.slot,
            address=body.address or None,
            readmit=body.readmit,
            jump=body.jump,
            host_keys=body.host_keys,
            timeout_s=body.timeout_s,
            progress=progress,
        )

    return Start("join", body.target, work, cancellable=False)


@routes.add("post", "/v1/doctor", "Look at a machine that may join", gives=Operation, body=Look, status=202, long=True)
async def doctor_host(call: Call) -> Start:
    """What it is, what stands in the way, what reaches it; nothing is changed. The result: rows of check, ok, detail and fix."""
    body: Look = call.body

    async def work(progress: Any) -> Any:
        return await call.cloud.hosts.doctor(body.target, jump=body.jump, host_keys=body.host_keys)

    return Start("doctor", body.target, work)


@routes.add(
    "patch", "/v1/hosts/{host}", "Change a host's labels, zone, address or room for images", gives=Host, body=HostChange,
    tagged=True,
)  # fmt: skip
async def change_host(call: Call) -> Host:
    return await call.cloud.hosts.set(call.path["host"], prev=call.prev, **msgspec.structs.asdict(call.body))


@routes.add(
    "post", "/v1/hosts/{host}/upgrade", "Give a host the agent that this skerry ships", gives=Operation, query=Limit,
    status=202, long=True,
)  # fmt: skip
async def upgrade_host(call: Call) -> Start:
    """Its containers run on. One that does not rejoin within the limit goes back by itself."""
    name = call.path["host"]
    await call.cloud.hosts.get(name)

    async def work(progress: Any) -> Any:
        return await call.cloud.hosts.upgrade([name], limit_s=call.query.limit_s, progress=progress)

    return Start("upgrade", f"node/{name}", work, cancellable=False)


@routes.add("post", "/v1/hosts/{host}/expel", "Cut a captured host off everywhere", gives=Expelled, tagged=True)
async def expel_host(call: Call) -> Expelled:
    """The answer says which secrets it could read."""
    return await call.cloud.hosts.expel(call.path["host"], prev=call.prev)


@routes.add(
    "post", "/v1/hosts/{host}/drain", "Move every replica off a host", gives=Operation, query=InTime, status=202, long=True,
    tagged=True,
)  # fmt: skip
async def drain_host(call: Call) -> Start:
    name = call.path["host"]
    await call.cloud.hosts.get(name)

    async def work(progress: Any) -> Any:
        return await call.cloud.hosts.drain(name, prev=call.prev, timeout_s=call.query.timeout_s, progress=progress)

    return Start("drain", f"node/{name}", work)


@routes.add("post", "/v1/hosts/{host}/undrain", "Let a host take replicas again", gives=Drained, tagged=True)
async def undrain_host(call: Call) -> Drained:
    return await call.cloud.hosts.undrain(call.path["host"], prev=call.prev)


@routes.add(
    "delete", "/v1/hosts/{host}", "Take a host out of the cloud by SSH", gives=Operation, query=Leave, status=202, long=True,
    tagged=True,
)  # fmt: skip
async def remove_host(call: Call) -> Start:
    """`purge`: its volumes and keys are deleted, too. It can't be cancelled halfway."""
    name = call.path["host"]
    await call.cloud.hosts.get(name)

    async def work(progress: Any) -> Any:
        query = call.query
        ssh = {
            "target": query.target or None,
            "jump": query.jump,
            "host_keys": [query.host_key] if query.host_key else [],
        }
        return await call.cloud.hosts.rm(name, purge=query.purge, prev=call.prev, progress=progress, **ssh)

    return Start("remove", f"node/{name}", work, cancellable=False)


@routes.add("get", "/v1/volumes", "List the volumes", "read", gives=Page[Volume], query=Paged)
async def list_volumes(call: Call) -> Page[Volume]:
    """Of the hosts that answer. `next` is the last one's node/app/volume."""
    return page(await call.cloud.volumes.ls(), lambda v: f"{v.node}/{v.app}/{v.volume}", call.query)


@routes.add(
    "delete", "/v1/hosts/{host}/volumes/{app}/{volume}", "Delete a volume's data for good", gives=None, status=204
)
async def remove_volume(call: Call) -> None:
    await call.cloud.volumes.rm(call.path["host"], call.path["app"], call.path["volume"])
