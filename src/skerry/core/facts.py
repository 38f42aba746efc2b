"""What is running: the bodies of the facts that each node signs about itself alone. A higher sequence replaces a lower one.

A fact is named by (node, kind, key); a body of None withdraws it. Source: design.md section 6, `fact`.
"""

from __future__ import annotations

from typing import Literal

from skerry.core.intent import Shape


class Up(Shape, frozen=True, kw_only=True):
    """I live. Key "". `heads` is the digest of the newest version of every path that I hold (gossip.heads_digest)."""

    root: int
    policy: int
    heads: str
    uptime_s: float
    cpus: float
    memory_bytes: int  # what containers may use in all
    free_cpus: float
    free_memory_bytes: int  # of that, not reserved
    agent: str = ""  # version and bundle that runs
    clock: float = 0.0  # own wall clock, unix seconds: compared, never obeyed


class Claim(Shape, frozen=True, kw_only=True):
    """I hold this slot, for this version. Key: slot. Withdrawn when let go."""

    spec: str
    image: str
    rank: int
    reason: str


class Decline(Shape, frozen=True, kw_only=True):
    """I can't run this slot in this version. Key: slot. `failed`: it was tried here and failed (else: no room, say)."""

    spec: str
    reason: str
    failed: bool = False


class SlotState(Shape, frozen=True, kw_only=True):
    """What I do with a slot that I claim. Key: slot. `address`: IPv4 of the container. `since`: unix seconds of this state.

    `healthy`: my own probe's word (None: not known yet).
    """

    spec: str
    image: str
    state: Literal["waiting", "fetching", "initialising", "starting", "running", "stopping", "exited", "failed"]
    address: str = ""
    healthy: bool | None = None
    since: float = 0.0
    restarts: int = 0
    exit_code: int | None = None
    oom: bool = False
    why: str = ""
    versions: tuple[int, int] = (0, 0)  # (app, release) it was started from
    data: bool = False  # a volume of it that is not disposable is here: the slot stays with this node
    proved: bool = (
        False  # that version's rollout was once complete and well, as I saw it: no failure judges it any more
    )
    fencing: int = 0  # the number of the lease under which it runs, of an exclusive slot


class Home(Shape, frozen=True, kw_only=True):
    """As a fixed node: I know the slot's data to be on `node`. Key: slot. Not withdrawn at a start: it is a memory (homes.py)."""

    node: str


class Saw(Shape, frozen=True, kw_only=True):
    """As a witness: what my probe of another node's slot said. Key: "slot@node"."""

    spec: str
    ok: bool
    detail: str = ""


class Lost(Shape, frozen=True, kw_only=True):
    """My vote that a node is down. Key: node. Withdrawn when a newer `up` of it comes."""

    boot: int  # the start count of its last `up` that I hold
    beat: int  # and its n
    why: str = ""


class Verdict(Shape, frozen=True, kw_only=True):
    """This version failed. Key: "app.service". Lasts until a newer version. `evidence`: node -> why."""

    spec: str
    evidence: dict[str, str]


class Have(Shape, frozen=True, kw_only=True):
    """I hold this image complete. Kind `object`, key: its digest. A fact for each, so that no number of them is too many."""


class Load(Shape, frozen=True, kw_only=True):
    """What my replicas of a service had to do: one figure a step, the newest last. Key: "app.service".

    `step`: number of the newest step since the epoch (unix seconds // step_s); `cpu`: cores used, `connections`: established,
    `fresh`: connections begun in the step; `replicas`: mine that were healthy. Each a ring of equal length.
    `metric`: of the figure `metric_of` that they tell by themselves; empty where none is aimed at.
    """

    step_s: float
    step: int
    cpu: tuple[float, ...] = ()
    connections: tuple[float, ...] = ()
    fresh: tuple[int, ...] = ()
    replicas: tuple[int, ...] = ()
    metric: tuple[float, ...] = ()
    metric_of: str = ""


class Wish(Shape, frozen=True, kw_only=True):
    """As a keeper (or, where none is named, a fixed node): so many replicas. Key: "app.service".

    `step`: made from figures up to it.
    """

    replicas: int
    step: int
    why: str = ""


class Wake(Shape, frozen=True, kw_only=True):
    """A connection waits here for a service that has no replica. Key: "app.service". Withdrawn when it was answered or left."""

    since: float = 0.0  # unix seconds


class Machine(Shape, frozen=True, kw_only=True):
    """As a keeper: I hold this machine slot. Key: "pool/index". Withdrawn when it is let go.

    `token`: SHA-256 (hex) of the one-time token in its user data, good until `token_until` (unix seconds); any keeper of the pool
    may take it in by that. `id`, `address`, `size`, `price_usd_hour`: the provider's; `offer`: which of its pool's providers that
    is. `created`: unix seconds from which it is paid.
    `since`: of this state. "failed" declines: another keeper may try. "gone": this `id` is there no more, whatever others say.
    """

    state: Literal["asked", "creating", "booting", "joined", "draining", "returning", "failed", "gone"]
    id: str = ""
    name: str = ""
    address: str = ""
    size: str = ""
    region: str = ""
    price_usd_hour: float = 0.0
    offer: str = ""
    token: str = ""
    token_until: float = 0.0
    created: float = 0.0
    since: float = 0.0
    tries: int = 0
    why: str = ""


class Next(Shape, frozen=True, kw_only=True):
    """The machine that would be rented next, and what containers may use of it. -1: none just now."""

    usd_hour: float = -1.0
    cpus: float = 0.0
    memory_bytes: int = 0


class Rent(Shape, frozen=True, kw_only=True):
    """As a keeper: what I know of a pool that must outlive my memory. Key: the pool's name.

    `spent_usd`: month ("2026-11") -> what machines that I saw to be gone had cost in it. `carried`: the same of keepers that are
    enrolled no more, as I last heard it. `creates`: (minute since the epoch, how many I asked for in it), of the last hour.
    `wishes`: (step, the most machines that I found needed in it), steps of `step_s` seconds since the epoch, oldest first.
    `next`: by which pools are compared; None: not known yet.
    """

    spent_usd: dict[str, float] = {}
    carried: dict[str, dict[str, float]] = {}
    creates: tuple[tuple[int, int], ...] = ()
    step_s: float = 60.0
    wishes: tuple[tuple[int, int], ...] = ()
    next: Next | None = None


class Audit(Shape, frozen=True, kw_only=True):
    """The newest line of my diary, by number and hash. Key "". Others note it: a past that is written anew is found by that."""

    n: int
    hash: str


class Ask(Shape, frozen=True, kw_only=True):
    """I ask voters for these leases, or to go on holding them. Key "". A list that lacks one says nothing; `freed` does.

    `leases`: name ("app.service/index" of an exclusive slot) -> number. `life`: my start count, `turn`: grows with each ask; whoever
    promises repeats both, so that I know since when to count. `freed`: leases that I let go under that number, and what ran
    under them has ended. `direct`: meant for whom I sent it to, and not to be passed on.
    """

    life: int
    turn: int
    leases: dict[str, int] = {}
    freed: dict[str, int] = {}
    direct: bool = False


class Grant(Shape, frozen=True, kw_only=True):
    """As a voter: this lease is `holder`'s under this number, and never again another's under it or a lower one. Key: the lease."""

    number: int
    holder: str


class Promise(Shape, frozen=True, kw_only=True):
    """As a voter: of what you asked in that turn these are yours, for the length of a lease by my clock. Key: "key of the ask@node".

    `voting`: how often the voters had been changed, as far as I knew.
    """

    life: int
    turn: int
    leases: dict[str, int] = {}
    voting: int = 0


class Votes(Shape, frozen=True, kw_only=True):
    """As a voter: all that I have granted of an app's own leases, and which asks that answers. Key: the app.

    `granted`: name -> (number, whose: a place in `nodes`). `turns`: of each of `nodes` the (life, turn) of its newest ask: what it
    holds is its for the length of a lease by my clock. `floor`: no name that isn't there any more had a higher number.
    `voting`: as in Promise, `direct`: as in Ask.
    """

    nodes: tuple[str, ...] = ()
    turns: tuple[tuple[int, int], ...] = ()
    granted: dict[str, tuple[int, int]] = {}
    floor: int = 0
    voting: int = 0
    direct: bool = False


class Alarm(Shape, frozen=True, kw_only=True):
    """Something is wrong that only I can see. Key: "rule:subject". Withdrawn when it is over. `since`: unix seconds."""

    since: float
    figure: float = 0.0
    limit: float = 0.0
    why: str = ""


class Sent(Shape, frozen=True, kw_only=True):
    """As a fixed node: I told receivers of an alert. Key: "rule:subject". Kept for a day after it is over.

    `round`: which time it fires, the same on all nodes; `told`: names of receivers that have taken it, `cleared`: those that have
    taken that it is over. `since`, `time`: unix seconds, since when it fires and when I last sent.
    """

    round: int
    since: float
    time: float
    told: tuple[str, ...] = ()
    cleared: tuple[str, ...] = ()


FactBody = (
    Alarm
    | Sent
    | Audit
    | Load
    | Wish
    | Wake
    | Machine
    | Rent
    | Ask
    | Grant
    | Promise
    | Votes
    | Up
    | Claim
    | Decline
    | SlotState
    | Home
    | Saw
    | Lost
    | Verdict
    | Have
)
FACTS: dict[str, type[FactBody]] = {
    "up": Up,
    "claim": Claim,
    "decline": Decline,
    "slot": SlotState,
    "home": Home,
    "saw": Saw,
    "lost": Lost,
    "verdict": Verdict,
    "object": Have,
    "load": Load,
    "wish": Wish,
    "wake": Wake,
    "machine": Machine,
    "rent": Rent,
    "audit": Audit,
    "ask": Ask,
    "grant": Grant,
    "promise": Promise,
    "votes": Votes,
    "alarm": Alarm,
    "sent": Sent,
}
