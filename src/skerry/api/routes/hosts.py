"""Hosts: looked at, joined, drained, removed; and the volumes on them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from skerry.api.operations import Operation
from skerry.api.table import Body, Call, Page, Paged, Query, Routes, Start, Tagged, Timeout, page
from skerry.sdk.values import Drained, Host, Volume

routes = Routes("hosts")
Text = Annotated[str, msgspec.Meta(max_length=253)]


class Join(Body, frozen=True):
    """`target`: as ssh has it, root@ADDRESS; ssh's own keys and configuration on the serving machine are used.

    `name`: else its own host name. `host_keys`: fingerprints of its key ("SHA256:…"), as nobody is asked. `address`: where other
    hosts reach it, if not where ssh does.
    """

    target: Annotated[str, msgspec.Meta(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:@\[\]-]*$")]
    name: Text = ""
    labels: dict[str, str] = {}
    zone: Text = ""
    address: Text = ""
    readmit: bool = False
    host_keys: Annotated[list[Text], msgspec.Meta(max_length=8)] = []
    timeout_s: Timeout = 30.0


class Leave(Query, frozen=True):
    purge: bool = False


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
            address=body.address or None,
            readmit=body.readmit,
            host_keys=body.host_keys,
            timeout_s=body.timeout_s,
            progress=progress,
        )

    return Start("join", body.target, work, cancellable=False)


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
        return await call.cloud.hosts.rm(name, purge=call.query.purge, prev=call.prev, progress=progress)

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
