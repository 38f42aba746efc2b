"""What the SDK gives and what the API answers: plain values, each unit said in its name or here. Nothing is asked here.

Times are RFC 3339 in UTC where they are texts, unix seconds where they end on `_s`. Names that a host chose come without "node/".
"""

from __future__ import annotations

from typing import Any

import msgspec


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """What all of them share: they never change, and compare by what they hold."""


class Trying(Value, frozen=True):
    """Where a service's canary stands. `step`: from 1; the first `slots` of `replicas` run the new version; each step is held for
    `hold_s` once they are well. `left_s`: seconds of that to go; None: not all of them are well yet."""

    step: int
    steps: int
    slots: int
    replicas: int
    hold_s: float
    left_s: int | None = None


class Replica(Value, frozen=True):
    """One replica, `guestbook.web/0`. `node` "" and state "waiting": nobody runs it.

    `version`: of what it runs, "APP.RELEASE"; `wanted`: the newest that the host knew which answered. `healthy`: as witnessed by
    other hosts, too. `outdated`: it runs something else than what is wanted. `finished`: a job that ended well. `pinned`: its
    data is on that node, it is never moved. `since`: RFC 3339, of its state. `verdict`: why its version failed. `canary`: of its
    service, while a new version is tried on a share of it.
    """

    slot: str
    app: str
    service: str
    node: str
    state: str
    healthy: bool
    version: str
    image: str
    since: str
    claims: tuple[str, ...] = ()
    why: str = ""
    address: str = ""
    restarts: int = 0
    outdated: bool = False
    wanted: str = ""
    failed: bool = False
    verdict: str = ""
    finished: bool = False
    exit_code: int | None = None
    pinned: bool = False
    allows: dict[str, str] = {}
    canary: Trying | None = None


class Room(Value, frozen=True):
    """Of a host: CPUs (cores) and memory (bytes). Zeros: it has not said."""

    cpus: float = 0.0
    memory_bytes: int = 0


class Host(Value, frozen=True):
    """A machine of the cloud. `state`: up, down, unknown or draining. `capacity` and `free`: as it says of itself.

    `pool`: the pool that rents it, "" for a fixed host. `etag`: of its enrolment, for `prev`.
    """

    name: str
    state: str
    address: str
    zone: str = ""
    labels: dict[str, str] = {}
    capacity: Room = Room()
    free: Room = Room()
    agent: str = ""
    why: str = ""
    pool: str = ""
    etag: str = ""


class Service(Value, frozen=True):
    """A service of an app. `replicas`: as many as are wanted now; `image`: digest that the release names, "" for none yet.

    `ports`: "8080:80/tcp", published first.
    """

    name: str
    replicas: int
    image: str = ""
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()


class App(Value, frozen=True):
    """An app as it is signed. `version`: "APP.RELEASE". `etag`: changes with each change; give it as `prev` to change only this."""

    name: str
    version: str
    services: tuple[Service, ...]
    pools: tuple[str, ...] = ()
    etag: str = ""


class Deployed(Value, frozen=True):
    """What a deploy did. `changed`: paths that were signed anew, none if nothing had to be. `images`: service -> digest.

    `sent_bytes` of images to the cloud; `kept_by`: hosts that have synced what was signed; `seconds`: until it was healthy, or,
    detached, until it was accepted.
    """

    app: str
    changed: tuple[str, ...]
    images: dict[str, str]
    sent_bytes: int
    kept_by: tuple[str, ...]
    seconds: float


class RolledBack(Value, frozen=True):
    """`images`: service -> digest, as they run now."""

    app: str
    images: dict[str, str]


class Scaled(Value, frozen=True, omit_defaults=True, rename={"before": "from", "now": "to"}):
    """`before` and `now`: numbers of replicas. Of one that follows the load `bounds`, {from, to}: "2 to 8"; `dropped`: schedules
    that it had, until the file is deployed again.
    """

    app: str
    service: str
    before: int
    now: int
    bounds: dict[str, str] = {}
    dropped: str = ""


class Removed(Value, frozen=True):
    """`volumes_kept`: named volumes that stay on their hosts until they are deleted by name."""

    app: str
    volumes_kept: tuple[str, ...] = ()


class Change(Value, frozen=True):
    """One field that a deploy would change. Sealed values are never shown. `old` None: it isn't there yet."""

    path: str
    field: str
    old: Any = None
    new: Any = None


class Event(Value, frozen=True):
    """What a host wrote into its diary. `time`: unix seconds by its clock. `kind`: docs/events.md.

    `unanswered`: this host could not be asked, and why; then the rest is empty.
    """

    node: str
    time: float
    kind: str = ""
    subject: str = ""
    reason: str = ""
    more: dict[str, str] = {}
    unanswered: str = ""


class LogLine(Value, frozen=True):
    """A line that a replica wrote. `time`: RFC 3339; `stream`: stdout or stderr. `unanswered`: as in Event. `dropped`: so many
    lines are missing here, and this is none.
    """

    node: str
    time: str = ""
    slot: str = ""
    stream: str = ""
    text: str = ""
    unanswered: str = ""
    dropped: int = 0


class Alert(Value, frozen=True):
    """What fires (docs/alerts.md), as one fixed host sees it. `since_s`, `silenced_until_s` (0: it isn't): unix seconds.

    `id`: what receivers get, "" until it was sent; `figure` was seen, beyond `limit` it fires, both in `unit`; `sent`: host ->
    receivers that have taken it from there.
    """

    rule: str
    subject: str
    since_s: float
    why: str = ""
    figure: float = 0.0
    limit: float = 0.0
    unit: str = ""
    id: str = ""
    silenced_until_s: float = 0.0
    sent: dict[str, tuple[str, ...]] = {}


class AlertReceiver(Value, frozen=True):
    """Who is told. `kind`: webhook, smtp, ntfy, slack, telegram or heartbeat; `at`: where, for people (all else of its address is
    sealed); `not_opened_to`: fixed hosts that can't reach it.
    """

    name: str
    kind: str
    at: str = ""
    not_opened_to: tuple[str, ...] = ()


class AlertRule(Value, frozen=True):
    """A rule as it is in force: it fires beyond `limit`, in `unit`, once it has been so for `for_s` seconds; it is over after
    `clear_s`. `on` false: it doesn't count. `metric`: of one's own, the figure; `of`: what it looks at ("": every slot, "node/": every
    host); `below`: it fires below the limit.
    """

    name: str
    on: bool
    means: str
    limit: float
    unit: str
    for_s: float
    clear_s: float
    metric: str = ""
    of: str = ""
    below: bool = False


class Role(Value, frozen=True):
    """Who may sign what: `threshold` of `keys` together, documents of `kinds` at `paths`. `holders`: names, or the key's beginning.

    `asks`: what each key alone may ask about them (observe, debug, debug-host), until `until`, unix seconds (0: for good).
    """

    name: str
    holders: tuple[str, ...]
    threshold: int
    kinds: tuple[str, ...]
    paths: tuple[str, ...]
    keys: tuple[str, ...]
    asks: tuple[str, ...] = ()
    until: float = 0.0


class Image(Value, frozen=True):
    """An image in this machine's store. `size_bytes` None: damaged or not whole. `when_s`: unix seconds when it came."""

    name: str
    digest: str
    size_bytes: int | None = None
    when_s: float | None = None
    how: str | None = None
    used_by: tuple[str, ...] = ()


class Volume(Value, frozen=True):
    """A named volume on a host. `used_by`: slots."""

    app: str
    volume: str
    node: str
    size_bytes: int
    used_by: tuple[str, ...] = ()


class Drained(Value, frozen=True):
    """`left`: slots that stay there, as their data does; `moved`: slot -> host that has it now, "" where it has only stopped."""

    name: str
    state: str
    left: tuple[str, ...] = ()
    moved: dict[str, str] = {}


class Joined(Value, frozen=True):
    """A host that joined, or was mended. `unreachable_from`: "HOST by PORT: why" for each that could not reach it."""

    name: str
    address: str
    subnet: str
    new: bool
    done: tuple[str, ...] = ()
    unreachable_from: tuple[str, ...] = ()


class HostRemoved(Value, frozen=True):
    """`kept`: what stays on the machine; `without_their_data`: slots whose data was there and nowhere else.

    `tokens_it_could_read`: pools whose provider's token it knows: give them another one. `keys_of_its_own`: pools that it kept with
    keys of its own at the provider. `without_keeper`: pools that no host keeps any more.
    """

    name: str
    kept: tuple[str, ...] = ()
    without_their_data: tuple[str, ...] = ()
    tokens_it_could_read: tuple[str, ...] = ()
    keys_of_its_own: tuple[str, ...] = ()
    without_keeper: tuple[str, ...] = ()


class Expelled(HostRemoved, frozen=True):
    """`secrets_it_could_read`: apps whose secrets have to be changed; `machines_it_enrolled`: of pools that it kept.

    `known_to`: hosts that have it on their disk; `not_yet_known_to`: hosts that are up and have not said so yet.
    """

    known_to: tuple[str, ...] = ()
    not_yet_known_to: tuple[str, ...] = ()
    secrets_it_could_read: tuple[str, ...] = ()
    machines_it_enrolled: tuple[str, ...] = ()


class Upgraded(Value, frozen=True, rename={"before": "from", "now": "to"}):
    """`before` and `now`: versions of a host's agent; the same where it had it already."""

    name: str
    before: str
    now: str


class Check(Value, frozen=True):
    """A line of a doctor: what was looked at, whether it is well, and what to do if it isn't."""

    check: str
    ok: bool
    detail: str = ""
    fix: str = ""


class NotHealthy(Value, frozen=True):
    slot: str
    state: str
    why: str = ""


class Asked(Value, frozen=True):
    """What a person is asked to run for a machine of a pool that people bring machines to."""

    slot: str
    command: str
    why: str = ""


class Status(Value, frozen=True):
    """Whether the cloud is well. `silent`: host -> why it did not answer. `failed`: app -> why its newest version did."""

    cloud: str
    id: str
    hosts: int
    up: int
    replicas: int
    healthy: int
    not_healthy: tuple[NotHealthy, ...] = ()
    asked: tuple[Asked, ...] = ()
    failed: dict[str, str] = {}
    silent: dict[str, str] = {}


class Offer(Value, frozen=True):
    """A further provider of a pool's machines, by the name that it has there."""

    name: str
    provider: str
    endpoint: str = ""
    image: str = ""
    options: dict[str, str] = {}


class Pool(Value, frozen=True):
    """Machines that may be rented, as operators signed it. Amounts are USD; `…_s` seconds. 0 or "": not said.

    `size`: the provider's name, else the least (`cpus`, `memory_bytes`) and the most (`price_usd_month`, of one).
    `spend_usd_month`: of all. `keepers`, `tokens`: hosts that rent, and those that the provider's token is sealed to. `etag`: for
    `prev`.
    """

    name: str
    provider: str
    max: int
    min: int = 0
    network: str = ""
    size: str = ""
    cpus: float = 0.0
    memory_bytes: int = 0
    price_usd_month: float = 0.0
    spend_usd_month: float = 0.0
    regions: tuple[str, ...] = ()
    image: str = ""
    endpoint: str = ""
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    weight: int = 100
    creates_per_hour: int = 10
    join_s: float = 0.0
    down_s: float = 0.0
    drain_s: float = 0.0
    age_s: float = 0.0
    grace_s: float = 0.0
    keepers: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    others: tuple[Offer, ...] = ()
    etag: str = ""


class PoolChanged(Value, frozen=True):
    """`most`: what it may cost, in words. `warnings`: of the provider's token and account."""

    pool: str
    changed: tuple[str, ...] = ()
    most: str = ""
    warnings: tuple[str, ...] = ()


class Machine(Value, frozen=True):
    """A machine of a pool, `burst/3`. `state`: asked, creating, booting, joined, draining, returning, failed. `since`: unix seconds.
    `asks`: the command that a person is asked to run for it.

    `id` and `name`: the provider's (`provider`: which one, as the pool calls it). `usd_hour`: its price.
    `replicas`, `subnet`, `apps_it_may_read`: of one that was asked for alone.
    """

    slot: str
    state: str
    address: str = ""
    size: str = ""
    region: str = ""
    usd_hour: float = 0.0
    id: str = ""
    name: str = ""
    since: float = 0.0
    keeper: str = ""
    why: str = ""
    asks: str = ""
    provider: str = ""
    subnet: str = ""
    apps_it_may_read: tuple[str, ...] = ()
    replicas: tuple[str, ...] = ()


class Cost(Value, frozen=True):
    """Of a pool: `machines` that are paid, `usd_hour` of all of them now, `spend_usd_month` that operators allow.

    `wanted` machines and `spent_usd_month`, this month so far, as a keeper reckons, and `why`; -1: none has said.
    """

    pool: str
    machines: int
    usd_hour: float
    spend_usd_month: float
    wanted: int = -1
    spent_usd_month: float = -1.0
    why: str = ""


class Field(Value, frozen=True):
    """`old` None: it isn't there yet; `new` None: it goes."""

    field: str
    old: Any = None
    new: Any = None


class Step(Value, frozen=True):
    """What an apply would do to one host, role, pool, app, …. `fields`: what a change changes."""

    action: str
    kind: str
    name: str
    fields: tuple[Field, ...] = ()


class Plan(Value, frozen=True):
    """What differs between a folder and the cloud. `unmanaged`: what is there and not in the folder, "app/shop"."""

    steps: tuple[Step, ...]
    unmanaged: tuple[str, ...] = ()


class Applied(Plan, frozen=True):
    """`done`: "add app/shop"."""

    done: tuple[str, ...] = ()


class Exported(Value, frozen=True):
    """`files` that were written, and `notes`: what they can't say."""

    files: tuple[str, ...]
    notes: tuple[str, ...] = ()
