"""Every key of hosts.yaml, pools.yaml and roles.yaml, as compose's own keys stand in compose/table.py. docs/folder.md shows it."""

from __future__ import annotations

from skerry.client.compose.table import Key, yes

HOSTS = {"hosts": yes("a mapping: the host's name, and what it shall be")}
HOST = {
    "target": yes("how ssh reaches it when it joins: `root@198.51.100.7`; not needed for one that has joined"),
    "jump": yes("the host on the way, as ssh's -J"),
    "host_keys": yes("a list of its key's fingerprints, `SHA256:…`: then nobody is asked when it joins"),
    "zone": yes("hosts of one zone fail together"),
    "labels": yes("a mapping, for placement; exactly these"),
    "address": yes("where other hosts reach it, if not where ssh does"),
    "state": yes("`active`, or `draining`: every replica leaves it"),
    "images": yes("how much of its disk images may take: `20g`; `0`: what the host thinks right"),
}
POOLS = {"pools": yes("a mapping: the pool's name, and what may be rented")}
POOL = {
    "provider": yes("`digitalocean`, `libvirt`, `manual`; can't be changed later"),
    "providers": yes(
        "instead, a list of `NAME` or `NAME=URL`: each machine is where it is cheapest; an option of a further one begins with its "
        "name (`libvirt.image`); can't be changed later"
    ),
    "max": yes("never more machines than that"),
    "min": yes("always so many; default 0"),
    "size": yes("the provider's name of a size; else the cheapest with what follows"),
    "cpus": yes("at least so many"),
    "memory": yes("at least so much: `2g`"),
    "price": yes("at most so many USD a month for one"),
    "spend": yes("at most so many USD a month for all"),
    "regions": yes("a list, in order of preference"),
    "image": yes("its system, as the provider calls it"),
    "endpoint": yes("instead of the provider's own; of a hypervisor its URI"),
    "options": yes("a mapping, for this provider"),
    "labels": yes("a mapping, for placement"),
    "weight": yes("its share of slots; a host has 100"),
    "keepers": yes("fixed hosts that rent; without it the first two; `[]`: none, then `options: {meeting: HOST}`"),
    "creates_per_hour": yes("not faster than that"),
    "join": yes("a machine that has not joined by then has failed: `10m`"),
    "down": yes("not needed for so long, a machine is given back"),
    "drain": yes("how long its replicas have to leave it"),
    "age": yes("none is given back younger than that"),
    "grace": yes("one of ours that belongs to no slot is returned after that"),
}
ROLES = {"roles": yes("a mapping: the name of a CI role, and what it may release")}
ROLE = {
    "public": yes("the public half that `skerry key new` wrote, a path from this folder; needed to add it"),
    "key": yes("instead, of a role that is there: its key, 64 hex digits"),
    "apps": yes("a list: whose images it may release; more may be added later, none taken away"),
}

TABLES: dict[str, dict[str, Key]] = {
    "hosts.yaml": HOSTS,
    "hosts.NAME": HOST,
    "pools.yaml": POOLS,
    "pools.NAME": POOL,
    "roles.yaml": ROLES,
    "roles.NAME": ROLE,
}
