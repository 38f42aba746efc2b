"""What should run: the bodies of the documents that operators and CI sign. Shapes only; who may sign what is trust's.

Every struct refuses unknown fields, so that a typing error or a smuggled right is never ignored in silence. Times that end
in `_s` are seconds, sizes in `_bytes` bytes, cpus in cores. Source: design.md section 6, "Documents".
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from skerry.core.places import ANYWHERE, Placement


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True, gc=False):
    """An immutable value that came from outside, strictly decoded."""


class Port(Shape, frozen=True, kw_only=True):
    """`published` is open on every host; `target` is where the container listens. `protocol`: tcp or udp."""

    target: int
    published: int
    protocol: Literal["tcp", "udp"] = "tcp"


class VolumeMount(Shape, frozen=True, kw_only=True):
    """A named volume (never a path of the host) at `target` inside the container."""

    volume: str
    target: str
    read_only: bool = False


class Probe(Shape, frozen=True, kw_only=True):
    """How health is asked from outside: the container needs no tool for it. `path` is for http."""

    kind: Literal["tcp", "http", "redis", "postgres", "mysql"]
    port: int
    path: str = "/"
    interval_s: float = 5.0
    timeout_s: float = 2.0
    retries: int = 3
    start_period_s: float = 60.0


class Restart(Shape, frozen=True, kw_only=True):
    """After an exit: `condition` as in compose's restart_policy; at most `max_attempts` in `window_s` (0: no limit)."""

    condition: Literal["none", "on-failure", "any"] = "any"
    delay_s: float = 0.5
    max_attempts: int = 0
    window_s: float = 60.0


class Update(Shape, frozen=True, kw_only=True):
    """How a service goes from one version to the next (compose `update_config`), or back (`rollback_config`).

    `max_failure_ratio`: the share (0 to 1) of its slots that may fail before `failure_action` is taken.
    """

    parallelism: int = 1
    delay_s: float = 0.0
    monitor_s: float = 5.0
    order: Literal["start-first", "stop-first"] = "stop-first"
    failure_action: Literal["rollback", "pause", "continue"] = "rollback"
    max_failure_ratio: float = 0.0


class CanaryStep(Shape, frozen=True, kw_only=True):
    """The first `share` (0 to 1) of a service's slots, at least one, runs a new version well for `hold_s` before more follow."""

    share: float
    hold_s: float


class Needs(Shape, frozen=True, kw_only=True):
    """What one replica takes of a host: `reserve_*` decides whether it fits, `*_limit` is what the kernel enforces (0: none)."""

    reserve_memory_bytes: int = 0
    reserve_cpus: float = 0.0
    memory_limit_bytes: int = 0
    cpus_limit: float = 0.0
    pids_limit: int = 512


class Schedule(Shape, frozen=True, kw_only=True):
    """Other bounds at set times: on `days` (0: Monday … 6: Sunday) from `from_minute` to `to_minute` of the day (0 to 1440).

    `offsets`: (unix seconds, minutes east of UTC from then on) of the zone that the operator named, in order: core reads no
    zone files; `zone` is its name, for people alone. -1: as in Scale.
    """

    days: tuple[int, ...]
    from_minute: int
    to_minute: int
    min: int = -1
    max: int = -1
    offsets: tuple[tuple[float, int], ...] = ()
    zone: str = ""


class Scale(Shape, frozen=True, kw_only=True):
    """How many replicas follow the load: `min` to `max`. One target or several: the highest wish counts.

    `cpu`: share (0 to 1) of what a replica may use (`cpus_limit`, else `reserve_cpus`, else one core). `connections`:
    established at once, per replica, on the published ports. `metric`: name of a figure that the replicas tell by themselves
    (Service.metrics), of which one replica should have `metric_target`. Figures are rounded to `step_s`; up needs the wish for `up_s`,
    down goes to the highest wish of the last `down_s`. With min 0 the last replica stops after `idle_s` without a connection.
    """

    min: int
    max: int
    cpu: float = 0.0
    connections: float = 0.0
    metric: str = ""
    metric_target: float = 0.0
    step_s: float = 60.0
    up_s: float = 0.0
    down_s: float = 1200.0
    idle_s: float = 300.0
    schedules: tuple[Schedule, ...] = ()


class Endpoint(Shape, frozen=True, kw_only=True):
    """Where a replica tells figures of its own, in Prometheus' text form. `names`: those that are kept; empty: the first there are."""

    port: int
    path: str = "/metrics"
    names: tuple[str, ...] = ()


class Depends(Shape, frozen=True, kw_only=True):
    """Start only once `service` (same app) is `started` or `healthy`, or, a job, has ended well (`completed`)."""

    service: str
    condition: Literal["started", "healthy", "completed"] = "started"


class Service(Shape, frozen=True, kw_only=True):
    """One image of an app and all that running it needs, except the image's digest, which the release names."""

    replicas: int = 1
    command: tuple[str, ...] = ()  # empty: the image's own
    entrypoint: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    hostname: str = ""
    environment: dict[str, str] = {}  # NAME -> value sealed under the app's content key (base64), see trust.seal
    ports: tuple[Port, ...] = ()
    expose: tuple[int, ...] = ()
    volumes: tuple[VolumeMount, ...] = ()
    writable: tuple[str, ...] = ()  # paths that get a tmpfs in the read-only root
    capabilities: tuple[str, ...] = ()  # all others are dropped
    probe: Probe | None = None
    needs: Needs = Needs()
    restart: Restart = Restart()
    update: Update = Update()
    rollback: Update | None = None  # None: it goes back as it goes on
    canary: tuple[CanaryStep, ...] = ()
    constraints: tuple[str, ...] = ()  # "label.zone==a", "node!=vps-1"
    placement: Placement = ANYWHERE
    depends_on: tuple[Depends, ...] = ()
    aliases: tuple[str, ...] = ()  # further names inside the app
    stop_signal: str = ""  # "": the image's own, else SIGTERM
    stop_grace_s: float = 10.0
    drain_s: float = 0.2  # between "out of the routes" and the signal
    allow: dict[str, str] = {}  # kind of what the lint may find in its image -> the reason, signed by an operator
    init: bool = (
        False  # an operator agrees that an image of its release makes its data first, and may hold a shell for it
    )
    scale: Scale | None = None  # None: `replicas` stands
    metrics: Endpoint | None = None
    core_bytes: int = 0  # the largest core that its host keeps of a process of it that dies of a signal; -1: no limit
    attempt: int = 0  # raised by a deploy that tries again what failed: another version of the same
    exclusive: bool = False  # each slot runs once or not at all: only under a lease of more than half of the voters
    leases: bool = False  # its containers get a socket at which they take named leases of their own
    callers: tuple[
        str, ...
    ] = ()  # who of other apps may reach its containers: "app" or "app.service" (docs/isolation.md)
    agents: bool = False  # its containers may connect to the agents of other hosts, as a program with a key of its own


class App(Shape, frozen=True, kw_only=True):
    """`app/<name>`, signed by operators: services, rights, limits. `deleted` is a tombstone and stays.

    `fallback` is the payload hash of the app version to go back to together with a release's fallback ("" for none).
    `pools`: whose machines may run it too, and whose keepers may therefore open its secrets.
    `ship`: where its logs are sent on to: name -> URL, sealed as environment values are.
    """

    services: dict[str, Service] = {}
    volumes: dict[str, bool] = {}  # name -> disposable (may be started empty elsewhere)
    deleted: bool = False
    fallback: str = ""
    pools: tuple[str, ...] = ()
    ship: dict[str, str] = {}


class Release(Shape, frozen=True, kw_only=True):
    """`release/<name>`, signed by CI or operators: which image each service runs, and nothing else.

    `images`: service -> "sha256:<hex>" of the OCI manifest; "<service>.init" -> the image that makes the service's data
    before its first start, where it needs one (docs/decisions/0009). `fits`: the app version it was made with, the lowest it may run
    with. `fallback`: payload hash of the release to turn back to ("" for none). `earlier`: what the releases before it ran,
    see core/history.py. `back`: somebody went back to what ran before: it goes as `rollback_config` says, and is no canary.
    """

    images: dict[str, str]
    fits: int
    fallback: str = ""
    earlier: tuple[str, ...] = ()
    back: bool = False


class Node(Shape, frozen=True, kw_only=True):
    """`node/<host>`, by operators; `node/<pool>/<i>`, also by a keeper of that pool: an enrolment.

    Keys are lower-case hex; `certificate` is base64 DER; `addresses` are host:port of 7077.

    `subnet` is the containers' IPv4 network ("10.77.3.0/24"); `salt` was chosen by the signer, so that nobody can grind
    an order (a machine's is a hash of its path and cloud); `floor` are the versions that held when it was signed (path -> version).
    `boxes`: app -> "<key id>:<base64 box>" of its content key, for machines of a pool: a keeper seals them, as `secret/<app>` is
    the operators'.
    """

    signing: str
    sealing: str
    wireguard: str
    certificate: str
    addresses: tuple[str, ...]
    subnet: str
    salt: str
    zone: str = ""
    weight: int = 100
    labels: dict[str, str] = {}
    bundle: str = ""  # sha256 of the agent bundle that it shall run
    state: Literal["active", "draining", "expelled"] = "active"
    floor: dict[str, int] = {}
    barred: tuple[str, ...] = ()  # keys of earlier, expelled enrolments of this path: they stay barred
    image_budget_bytes: int = 0  # of its disk, for images; 0: what the host itself thinks right
    boxes: dict[str, str] = {}
    voter_only: bool = False  # it grants leases and runs nothing


MANUAL = "manual"  # a provider: its machines are brought and taken away by people


class Offer(Shape, frozen=True, kw_only=True):
    """A further provider of a pool's machines; what isn't said here is the pool's. `name`: unique in the pool, where several
    are asked. The pool's own provider is the offer named "".
    """

    name: str
    provider: str
    image: str = ""
    endpoint: str = ""
    options: dict[str, str] = {}


class Pool(Shape, frozen=True, kw_only=True):
    """`pool/<name>`, signed by operators: machines that its keepers may rent, machine i (below `max`) as `node/<name>/<i>`.

    `size`: the provider's name of one, or the least that a machine must have (`cpus`, `memory_bytes`) and the most that it may
    cost (`price_usd_month`): the cheapest fit is taken. `network`: an IPv4 block, whose i-th /24 is machine i's. `keepers`: path
    of a fixed node -> its keeper key; `tokens`: path of a keeper (or an operator's key) -> the provider's token in a sealed box.
    `endpoint`: "" for the provider's own. `options`: what only that provider knows (a host's URI, an ssh key's name).
    `firewall`: an operator has put the provider's own before its machines.
    `others`: further providers; each machine is at one of all these, the cheapest that has one (docs/decisions/0016). Then a box of
    `tokens` holds a JSON object, offer -> token.
    """

    provider: str
    max: int
    network: str
    min: int = 0
    size: str = ""
    cpus: float = 0.0
    memory_bytes: int = 0
    price_usd_month: float = 0.0  # of one machine; 0: no limit but `spend_usd_month`
    regions: tuple[
        str, ...
    ] = ()  # in order of preference; machine i begins with the i-th, and it is the machine's zone
    image: str = ""
    endpoint: str = ""
    options: dict[str, str] = {}
    spend_usd_month: float = 0.0  # of all machines, in a calendar month (UTC)
    creates_per_hour: int = 10
    join_s: float = (
        600.0  # a machine that has not joined by then has failed; so long a keeper leaves another's slot alone
    )
    down_s: float = 1200.0  # not needed for so long: it is given back
    drain_s: float = 300.0
    age_s: float = 600.0  # never given back younger than this
    grace_s: float = 600.0  # a machine of ours that belongs to no slot is reported, and after this returned
    labels: dict[str, str] = {}
    weight: int = 100
    bundle: str = ""  # sha256 of the agent that a machine starts with
    keepers: dict[str, str] = {}
    tokens: dict[str, str] = {}
    firewall: bool = False
    others: tuple[Offer, ...] = ()
    deleted: bool = False

    def offers(self) -> dict[str, Offer]:
        """All its providers by name, its own first."""
        own = Offer(name="", provider=self.provider, image=self.image, endpoint=self.endpoint, options=self.options)
        return {offer.name: offer for offer in (own, *self.others)}

    def offer_of(self, id: str) -> str:
        """Where the machine of this id is: ids of further providers' begin with the offer's name."""
        head, colon, _ = id.partition(":")
        return head if colon and any(offer.name == head for offer in self.others) else ""

    @staticmethod
    def id_at(offer: str, id: str) -> str:
        """The id of the machine that this offer's provider calls so."""
        return f"{offer}:{id}" if offer else id


class Operator(Shape, frozen=True, kw_only=True):
    """A person's signing key: hex Ed25519 key and the base64 DER certificate that pins its TLS identity."""

    name: str
    key: str
    sealing: str
    certificate: str


class Root(Shape, frozen=True, kw_only=True):
    """`root`: who the root keys and operators are. `threshold` of `keys` sign the next root; `policy_threshold` operators a policy.

    `policy_epoch`: the epoch of the path `policy`; raised when an operator key is taken away, as policy does for other paths.
    """

    keys: tuple[str, ...]
    threshold: int
    operators: tuple[Operator, ...]
    policy_threshold: int = 1
    policy_epoch: int = 0


class Role(Shape, frozen=True, kw_only=True):
    """Which keys may sign which paths: `threshold` different `keys`, `kinds` of documents, `paths` (exact, or "app/*").

    `until`: unix seconds (0: no end).

    `asks`: what each of its keys alone may ask of hosts beside how things stand (words: RIGHTS), about the apps ("app/web") or,
    for `debug-host`, the hosts ("node/vps-1") among `paths`.

    `certificates`: key -> base64 DER, for holders that talk to nodes (CI). Operators' stand in the root.
    """

    name: str
    keys: tuple[str, ...]
    threshold: int = 1
    kinds: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    until: float = 0.0
    certificates: dict[str, str] = {}
    asks: tuple[str, ...] = ()


class Policy(Shape, frozen=True, kw_only=True):
    """`policy`: all roles, barred keys, and an epoch per path, exact or "app/*" (absent: 0; of several the highest).

    `readmitted`: keys that an expulsion barred and that may be enrolled again.

    `voters`: fixed hosts; more than half of them grant leases. While they change, more than half of `voters_before` too;
    `voting`: how often they have changed.
    """

    roles: tuple[Role, ...]
    epochs: dict[str, int] = {}
    barred: tuple[str, ...] = ()
    readmitted: tuple[str, ...] = ()
    voters: tuple[str, ...] = ()
    voters_before: tuple[str, ...] = ()
    voting: int = 0


class Secret(Shape, frozen=True, kw_only=True):
    """`secret/<app>`: one content key, sealed to each node and operator that may have it.

    `boxes`: path or operator key -> base64 sealed box.
    """

    key_id: str
    boxes: dict[str, str]


class Receiver(Shape, frozen=True, kw_only=True):
    """Where alerts go. All that it takes to reach it, its address too, is sealed (`Alert.boxes`); `at` is for people alone."""

    kind: Literal["webhook", "smtp", "ntfy", "slack", "telegram", "heartbeat"]
    at: str = ""


class RuleSetting(Shape, frozen=True, kw_only=True):
    """How a built-in rule is to be other than built in (core/alerting/rules.py). -1: as built in."""

    off: bool = False
    limit: float = -1.0
    for_s: float = -1.0
    clear_s: float = -1.0


class Measure(Shape, frozen=True, kw_only=True):
    """A rule of one's own: it fires while a figure (docs/metrics.md, or an application's own) is beyond `limit` for `for_s`.

    `of`: an app, service or slot ("": every slot), or "node/NAME" ("node/": every host).
    """

    metric: str
    limit: float
    of: str = ""
    below: bool = False  # fires below the limit, else above it
    for_s: float = 60.0
    clear_s: float = 60.0
    off: bool = False


class Silence(Shape, frozen=True, kw_only=True):
    """Nothing is sent of this rule ("": of any) about this subject ("": about any) until then, unix seconds."""

    until: float
    rule: str = ""
    subject: str = ""


class Alert(Shape, frozen=True, kw_only=True):
    """`alert/<name>`, signed by operators: a receiver, or how rules differ from those built in.

    `boxes`: path of a fixed node, or an operator's key -> sealed JSON of what it takes to reach the receiver. Never an elastic
    node's: trust refuses such a document.
    """

    receiver: Receiver | None = None
    rules: dict[str, RuleSetting] = {}
    measures: dict[str, Measure] = {}  # by the rule's name, which is none of a built-in one
    silences: tuple[Silence, ...] = ()
    boxes: dict[str, str] = {}
    deleted: bool = False


class Tools(Shape, frozen=True, kw_only=True):
    """`tools/<name>`, signed by operators: an image whose programs hosts run beside a container that somebody looks into. Only
    what stands in such a document is run so: who may debug can't bring code of one's own.

    `about`: for people, what it was made of. `deleted` is a tombstone and stays.
    """

    image: str = ""
    size_bytes: int = 0
    about: str = ""
    deleted: bool = False


Body = Root | Policy | Node | App | Release | Secret | Pool | Tools | Alert
KINDS: dict[str, type[Body]] = {
    "root": Root,
    "policy": Policy,
    "node": Node,
    "app": App,
    "release": Release,
    "secret": Secret,
    "pool": Pool,
    "tools": Tools,
    "alert": Alert,
}


RIGHTS = ("observe", "debug", "debug-host")
"""What a role may let its keys ask (`Role.asks`): what apps write and use; tools on their containers; tools on whole hosts."""
INIT = ".init"  # no name of a service has a dot
ALLOWABLE = (
    "shell", "remote-login", "package-manager", "compiler", "debugger", "network-tool", "editor", "interpreter", "secret",
    "database",
)  # fmt: skip
"""What a service may allow the lint to find in its image (`Service.allow`), each with a reason. Words: image/lint/findings.py."""
SETUP_SHELL = (
    "setup-shell"  # what the lint finds in an init image that declares its shell: good before a service, never as one
)


def init_of(service: str) -> str:
    """The key of a service's init image in `Release.images`."""
    return service + INIT


def spec_of(service: Service, image: str, init: str = "") -> str:
    """The name of what one replica runs: 16 hex digits over the service and the digests of its image and init image.

    How many replicas there are, where, how an update goes and who may reach it is not part of it: changing these restarts nothing.
    """
    same = msgspec.structs.replace(service, replicas=1, update=Update(), rollback=None, canary=(), constraints=())
    same = msgspec.structs.replace(same, placement=ANYWHERE, scale=None, metrics=None, callers=(), agents=False)
    return hashlib.sha256(msgspec.json.encode(same, order="sorted") + (image + init).encode()).hexdigest()[:16]
