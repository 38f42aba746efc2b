"""What may happen to a node: everything that `NodeCore.step` can be told. Times come beside them, never in them."""

from __future__ import annotations

import msgspec

from skerry.core.records import Record, Slot


class Event(msgspec.Struct, frozen=True):
    pass


class Booted(Event, frozen=True):
    """First event of a life. `resumed`: own claims and images that the disk held; they are no sign that anybody else lives."""

    node: str  # own path
    boot: int  # start count
    cpus: float
    memory_bytes: int
    agent: str = ""
    clock: float = 0.0  # unix seconds at this moment: only shown (`since`), never decided by
    new: bool = False  # it has not compared yet what it holds with the others: no claim before CaughtUp


class RecordAccepted(Event, frozen=True):
    """Trust accepted it and the store has it. `source`: the neighbour's path, "" for ourselves, the disk or a client."""

    record: Record
    source: str = ""
    from_disk: bool = False


class NotKept(Event, frozen=True):
    """A binding fact of ours could not be written: it was not said, and nobody has it."""

    kind: str
    key: str
    why: str


class FactForgotten(Event, frozen=True):
    """A withdrawn fact was let go for room: its number need not be remembered any longer."""

    node: str
    kind: str
    key: str


class CaughtUp(Event, frozen=True):
    """A new node has compared with the others what it was given when it was enrolled: from now on it may claim."""


class LeasesWanted(Event, frozen=True):
    """Which leases of an app containers of this host want to have: name -> ticket, replacing what was said before. Another ticket
    is another holder, who needs a number of its own. Told even if it is none, by whoever wants to hear of them.
    """

    app: str
    wanted: dict[str, int]


class LinkUp(Event, frozen=True):
    peer: str


class LinkDown(Event, frozen=True):
    peer: str
    why: str = ""
    goodbye: bool = False  # it closed the link itself (process ended), rather than falling silent


class PeerReached(Event, frozen=True):
    """Answer to the effect ProbePeer: whether `via` could reach `peer`."""

    peer: str
    via: str
    ok: bool


class ContainerFound(Event, frozen=True):
    """At start: a container of ours was there already and was adopted."""

    slot: Slot
    spec: str
    image: str
    address: str
    container: str
    running: bool
    exit_code: int | None = None


class Initialising(Event, frozen=True):
    """The start that was asked for begins with its init image: its data is not there yet. `container`: what will be started."""

    slot: Slot
    spec: str
    container: str


class ContainerStarted(Event, frozen=True):
    slot: Slot
    spec: str
    address: str
    container: str


class StartFailed(Event, frozen=True):
    """`passing`: worth another try here (the disk was full, say); else this version can't run here."""

    slot: Slot
    spec: str
    why: str
    passing: bool = True


class ContainerExited(Event, frozen=True):
    """It ended without being told to."""

    slot: Slot
    spec: str
    container: str
    exit_code: int
    oom: bool = False
    last_lines: str = ""


class ContainerStopped(Event, frozen=True):
    """What the effect Stop asked for is done: process gone, veth and root taken away."""

    slot: Slot
    spec: str
    container: str


class ProbeAnswered(Event, frozen=True):
    """The word about a watched container changed (first answer, ok -> not ok after `retries`, and back)."""

    slot: Slot
    node: str  # whose container
    spec: str
    ok: bool
    detail: str = ""
    last_lines: str = ""  # of its log; only of this node's own, and not when it is well


class ImageReady(Event, frozen=True):
    """All of it is here, verified, and its root tree is made. `age_s`: of what an earlier agent left, since it was made.

    `found`: what the lint found that doesn't belong into an image, kind -> a sentence: only a service that allows it starts.
    """

    image: str
    age_s: float = 0.0
    found: dict[str, str] = {}


class ImageFailed(Event, frozen=True):
    """`too_large`: it doesn't fit into what this host has for images, whatever else may go."""

    image: str
    why: str
    passing: bool = True
    too_large: bool = False


class ImageRoom(Event, frozen=True):
    """There is more room for images than before: what was too large may fit now."""


class ImageGone(Event, frozen=True):
    """It was held and is no more (damaged, removed)."""

    image: str


class ToolsUsed(Event, frozen=True):
    """Somebody looks into a container here with the tools of this image, or is about to. `running`: so often it runs now."""

    image: str
    running: int = 0


class Measured(Event, frozen=True):
    """What our replicas of a service had to do in the step that has just ended (number: unix seconds // step_s).

    `cpu`: cores used; `connections`: established at its end, `fresh`: begun in it, both through this node. Probes are no load.
    `metric`: of the gauge's, all our replicas together; None: not asked for, or unknown.
    """

    app: str
    service: str
    step_s: float
    step: int
    cpu: float
    connections: float
    fresh: int
    metric: float | None = None


class Timer(Event, frozen=True):
    """The time that Wake asked for has come."""


class Knocked(Event, frozen=True):
    """So many connections wait here now for a service that has no healthy replica; 0: they were answered or have left."""

    app: str
    service: str
    n: int


class VolumeGone(Event, frozen=True):
    """An operator had a named volume of an app removed here: slots that have no other data here may go elsewhere.

    `left`: the app's volumes that are still here.
    """

    app: str
    volume: str
    left: tuple[str, ...] = ()


class Felt(Event, frozen=True):
    """What this host is like now. None: it can't be told here.

    `disk`, `memory`: shares, of the disk that is used and of the last minute in which something waited for memory; `clock_off_s`:
    from the neighbours' median; `refused`: a false signature that was refused lately, and who brought it;
    `misdeed`: who did what lately.
    """

    disk: float | None = None
    memory: float | None = None
    clock_off_s: float | None = None
    refused: str = ""
    misdeed: str = ""
    figures: dict[str, dict[str, float]] = {}  # of those that rules ask for: name -> slot or "node/NAME" -> value


class AlertAnswered(Event, frozen=True):
    """What became of SendAlert: receivers that have taken it, and why the others have not."""

    rule: str
    about: tuple[tuple[str, int], ...]  # subject, round
    over: bool
    taken: tuple[str, ...] = ()
    failed: dict[str, str] = {}
