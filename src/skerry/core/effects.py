"""What a node may do about it: everything that `NodeCore.step` can answer.

Each bears its reason, in words for `events` and `explain`.
"""

from __future__ import annotations

import msgspec

from skerry.core.facts import FactBody
from skerry.core.intent import Port, Probe, Service
from skerry.core.records import Slot


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    reason: str = ""


class Publish(Effect, frozen=True, kw_only=True):
    """Sign this fact about ourselves and store it; `sync`: on disk before it counts (claims). It comes back as RecordAccepted.

    `binding`: nobody, ourselves included, may hear of it before it is on disk (grants). Where it can't be written it was never
    said: answered by NotKept then. `to`: these neighbours at once, and nobody else but by comparing; (): all.
    """

    kind: str
    key: str
    body: FactBody | None
    sync: bool = False
    binding: bool = False
    to: tuple[str, ...] = ()


class Fetch(Effect, frozen=True, kw_only=True):
    """Get an image whole; try `sources` (node paths) in turn. Answered by ImageReady or ImageFailed."""

    image: str
    sources: tuple[str, ...]


class Forget(Effect, frozen=True, kw_only=True):
    """This image is no longer wanted here: its objects may be collected."""

    image: str


class MayGo(Effect, frozen=True, kw_only=True):
    """These held images may be removed when room is needed, the first one first; replaces what was said before.

    Whoever removes one answers with ImageGone before anything else is stepped.
    """

    images: tuple[str, ...]


class Start(Effect, frozen=True, kw_only=True):
    """Make and start the container. Answered by ContainerStarted or StartFailed. `versions`: (app, release).

    `init`: an image to run once before it if its data is not there yet, "" for none; told by Initialising.
    `fencing`: the number of the lease under which an exclusive slot runs, given to the container; 0: it needs none.
    """

    slot: Slot
    spec: str
    image: str
    service: Service
    versions: tuple[int, int]
    init: str = ""
    fencing: int = 0


class Guard(Effect, frozen=True, kw_only=True):
    """The container of an exclusive slot may live until `until_s` of the monotonic clock, then it is killed and cut off by a process
    that needs no agent. Comes before Start, again at each renewal, and with `until_s` 0 when the slot was let go.
    """

    slot: Slot
    number: int
    until_s: float


class Fenced(msgspec.Struct, frozen=True):
    """The newest lease of an exclusive slot that more than half of the voters granted: who holds it, under which number."""

    slot: Slot
    node: str
    number: int


class Fence(Effect, frozen=True, kw_only=True):
    """Of these slots no traffic of another node's container, or of a lower number's, passes this host; replaces what was before.

    `refused`: the addresses of such containers, as facts tell them.
    """

    leases: tuple[Fenced, ...]
    refused: tuple[str, ...] = ()


class Lease(msgspec.Struct, frozen=True):
    """One lease of an app. `node`: whose containers have it, "" for nobody's.

    `until_s`: ours till then, by the monotonic clock; 0: not ours. `ticket`: under which it was wanted here last. `lost`: it was held
    under that, and is no more.
    """

    name: str
    number: int
    node: str
    ticket: int = 0
    until_s: float = 0.0
    lost: bool = False
    why: str = ""


class Leased(Effect, frozen=True, kw_only=True):
    """How all leases of an app stand, of whose containers some are here; replaces what was before."""

    app: str
    leases: tuple[Lease, ...]


class Stop(Effect, frozen=True, kw_only=True):
    """Wait `drain_s` (it has left the routes by then), signal, wait `grace_s`, kill, clean up. Answered by ContainerStopped."""

    slot: Slot
    spec: str
    container: str
    signal: str
    drain_s: float
    grace_s: float


class Watch(Effect, frozen=True, kw_only=True):
    """Probe a container from here until Unwatch; tell changes by ProbeAnswered. `own`: it is this node's."""

    slot: Slot
    node: str
    spec: str
    address: str
    probe: Probe
    own: bool


class Unwatch(Effect, frozen=True, kw_only=True):
    slot: Slot
    node: str
    spec: str


class Target(msgspec.Struct, frozen=True):
    """One healthy replica: the container's address and the node it is on."""

    slot: Slot
    node: str
    address: str


class Dormant(msgspec.Struct, frozen=True):
    """A service that may be at zero: while it has no `targets`, connections to it are held, and wake it.

    `ports`: its published TCP ports; `names`: those that lead to it alone. `targets`: addresses of healthy replicas, own
    first. `rising`: of one that runs, while no probe is there to say when it is well. `limit_s`: how long a start may take.
    """

    app: str
    service: str
    ports: tuple[Port, ...] = ()
    names: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    rising: tuple[str, ...] = ()
    limit_s: float = 60.0

    @property
    def name(self) -> str:
        return f"{self.app}.{self.service}"


class Members(msgspec.Struct, frozen=True):
    """The containers of one service, wherever they run: by these, hosts keep apps apart.

    `addresses`: of all that run, well or not, as their nodes say. `callers`: who beside its own app may reach them, "app" or
    "app.service". `names`: those that lead to it. `agents`: they may connect to the agents of other hosts.
    """

    app: str
    service: str
    addresses: tuple[str, ...] = ()
    callers: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    agents: bool = False

    @property
    def name(self) -> str:
        return f"{self.app}.{self.service}"


class Route(Effect, frozen=True, kw_only=True):
    """The whole wanted state of published ports and names, replacing what was before.

    `ports`: published port -> where it may go, own node's first. `names`: fully qualified ("store.guestbook.internal")
    -> IPv4 addresses of healthy replicas (an empty tuple: the name exists, nothing healthy). `dormant`: every service that
    may be at zero, whether or not it is. `members`: every service that is wanted or still runs anywhere.
    """

    ports: tuple[tuple[Port, tuple[Target, ...]], ...]
    names: tuple[tuple[str, tuple[str, ...]], ...]
    dormant: tuple[Dormant, ...] = ()
    members: tuple[Members, ...] = ()


class Gauge(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure of a service in each step of `step_s`. `ports`: (target, protocol) on which connections are load. `metric`:
    a figure that its replicas tell by themselves.
    """

    app: str
    service: str
    step_s: float
    ports: tuple[tuple[int, str], ...]
    cpu: bool
    connections: bool
    metric: str = ""


class Measure(Effect, frozen=True, kw_only=True):
    """All that is to be measured here, replacing what was said before. Answered by Measured once a step and service."""

    gauges: tuple[Gauge, ...]


class Peer(msgspec.Struct, frozen=True):
    """Another enrolled node as the tunnel and the mesh need it; from its enrolment alone."""

    node: str
    wireguard: str
    certificate: str
    addresses: tuple[str, ...]
    subnet: str


class Peers(Effect, frozen=True, kw_only=True):
    """The whole wanted set of neighbours: tunnel peers, and links to keep up (`dial`: paths). Who is not in it is cut off."""

    peers: tuple[Peer, ...]
    dial: tuple[str, ...]


class ProbePeer(Effect, frozen=True, kw_only=True):
    """Ask `via` whether it can reach `peer`. Answered by PeerReached, or never."""

    peer: str
    via: str


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One alert of a letter. `since`: unix seconds."""

    subject: str
    round: int
    since: float = 0.0
    figure: float = 0.0
    limit: float = 0.0
    why: str = ""


class SendAlert(Effect, frozen=True, kw_only=True):
    """Tell these receivers, in one letter, what fires by one rule. Answered by AlertAnswered. `over`: it fires no more; rule
    "heartbeat": nothing but that we live.

    `seen_by` of `fixed` hosts are in touch with this one; `look`: a command that shows more.
    """

    rule: str
    about: tuple[Told, ...]
    over: bool = False
    to: tuple[str, ...]
    means: str = ""
    unit: str = ""
    seen_by: int = 0
    fixed: int = 0
    look: str = ""


class Note(Effect, frozen=True, kw_only=True):
    """Something to tell in `skerry events`. `subject`: a slot, node, service or image; `kind`: a stable word, as in docs/events.md."""

    kind: str
    subject: str


class Wake(Effect, frozen=True, kw_only=True):
    """Step again with Timer at `at_s` of the monotonic clock; an earlier one replaces it."""

    at_s: float
