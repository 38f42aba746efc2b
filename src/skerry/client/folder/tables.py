"""Every key of a folder's files but compose's, as compose's own keys stand in compose/table.py. docs/folder.md shows it."""

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
TOOLS_FILE = {
    "tools": yes("a mapping: the name of tools, and what they are made of; nothing: those that Skerry brings along")
}
TOOLS = {
    "image": yes("a digest, or a name of the local store, as `skerry tools add` takes it"),
    "from": yes("instead, a folder with an image.toml, a path from this folder: it is built"),
    "about": yes("for people"),
}
RECEIVERS = {
    "receivers": yes(
        "a mapping: the receiver's name, and how it is reached; `${NAME}` is a variable, as in compose files"
    )
}
RECEIVER = {
    "webhook": yes("the URL that gets JSON"),
    "ntfy": yes("the topic's URL"),
    "slack": yes("the incoming webhook's URL"),
    "telegram": yes("the chat"),
    "smtp": yes("`HOST:PORT` of the mail server"),
    "heartbeat": yes("the URL that is asked for each minute"),
    "secret": yes("what a webhook is signed with, a token, a password"),
    "from": yes("of mail"),
    "to": yes("of mail, a list"),
    "user": yes("of the mail server"),
    "tls": yes("of mail: `starttls`, `tls` or `none`"),
    "api": yes("of telegram: another server than its own"),
}
RULES = {
    "rules": yes(
        "a mapping: the rule's name, and how it is other than built in, or a rule of your own with its `metric`"
    )
}
RULE = {
    "on": yes("`false`: it doesn't count"),
    "limit": yes("beyond which figure; shares are 0 to 1"),
    "for": yes("for how long before it fires: `5m`"),
    "clear": yes("for how long not before it is over"),
    "metric": yes("of a rule of your own: the figure that it looks at"),
    "of": yes("of this app, service or slot alone; else of every slot"),
    "host": yes("instead, of this host; `all`: of every host"),
    "above": yes("it fires above this limit"),
    "below": yes("or below this one"),
}

TABLES: dict[str, dict[str, Key]] = {
    "hosts.yaml": HOSTS,
    "hosts.NAME": HOST,
    "pools.yaml": POOLS,
    "pools.NAME": POOL,
    "roles.yaml": ROLES,
    "roles.NAME": ROLE,
    "tools.yaml": TOOLS_FILE,
    "tools.NAME": TOOLS,
    "receivers.yaml": RECEIVERS,
    "receivers.NAME": RECEIVER,
    "rules.yaml": RULES,
    "rules.NAME": RULE,
}
