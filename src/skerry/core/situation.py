"""All that a node holds while it decides: records, presence, own containers, memory of failures; and the effects so far.

One mutable value that the deciding files share. It answers small questions; the rules are in the files that ask them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from skerry.core.agenda import Agenda, ServiceKey
from skerry.core.alerting.alerting import Alerting
from skerry.core.bars import Bars
from skerry.core.claims import Room
from skerry.core.concern import Concern
from skerry.core.constraints import unmet
from skerry.core.effects import Effect, Fenced, Note, Publish, Target
from skerry.core.facts import Claim, FactBody, SlotState
from skerry.core.field import Field, Order
from skerry.core.images import Images
from skerry.core.intent import App, Node, Pool, Service
from skerry.core.knowledge import Knowledge
from skerry.core.leases.apps import AppLeases
from skerry.core.leases.desk import Leases
from skerry.core.order import order_by_name, order_for, zones_of
from skerry.core.placing import Placing, numbered
from skerry.core.presence import Presence
from skerry.core.records import MachineSlot, Slot
from skerry.core.renting.keeping import Renting
from skerry.core.replicas import Replica, Replicas
from skerry.core.timing import Timing
from skerry.core.versions import NOTHING, AppWant, Want
from skerry.core.wishing import Wishing

if TYPE_CHECKING:
    from skerry.core.standing import Standing

_UNWANTED = AppWant(known=False)


class Failing(NamedTuple):
    """This node could not run a slot in a version; it tries again when the bar ends."""

    spec: str
    why: str
    until_s: float


class Unwell(msgspec.Struct, gc=False):
    """Since when this node sees a replica not healthy, whether it is now, whether it ever was, and since when it is."""

    spec: str
    since_s: float
    well: bool
    well_once: bool
    well_s: float


class Situation:
    def __init__(self, timing: Timing) -> None:
        self.timing = timing
        self.me = ""
        self.boot = 0
        self.agent = ""
        self.boot_s = 0.0
        self.clock = 0.0  # unix seconds at boot_s
        self.begun = False  # all that the disk held is in
        self.new = False  # not yet compared with anybody: no claim
        self.now = 0.0
        self.cpus = 0.0
        self.memory_bytes = 0
        self.known = Knowledge()
        self.binding: set[tuple[str, str]] = set()  # (kind, key) of facts of ours that are on their way to our disk
        self.unkept_s = float("-inf")  # when it was last told that one could not be written
        self.presence = Presence(timing)
        self.replicas = Replicas()
        self.images = Images()
        self.renting = Renting()
        self.wishing = Wishing()
        self.alerting = Alerting()
        self.leases = Leases(timing)
        self.app_leases = AppLeases(timing)
        self.fenced: dict[Slot, Fenced] = {}  # of exclusive slots: the newest lease that enough voters granted
        self.refused: tuple[str, ...] = ()  # addresses of their containers that another lease has overtaken
        self.fence_due = True
        self.guarded: dict[Slot, tuple[int, float]] = {}  # own: what the guard was told last, number and until
        self.bars = Bars(timing.bar_first_s, timing.bar_most_s)
        self.drops = Bars(
            timing.bar_first_s, timing.bar_most_s
        )  # of those who let go of what they held well, to nobody
        self.wants: dict[str, AppWant] = {}
        self.changed_s: dict[str, float] = {}  # app -> when its newest documents came
        self.failing: dict[Slot, Failing] = {}  # own
        self.evidence: dict[
            tuple[str, str, str], dict[str, str]
        ] = {}  # (app, service, spec) -> node -> why it failed there
        self.failed: set[tuple[str, str, str]] = set()  # versions with a verdict that counts here
        self.failed_slots: dict[tuple[str, str, str], set[Slot]] = {}  # the same: in which slots
        self.settled: set[tuple[str, str, str]] = set()  # versions whose rollout was once complete
        self.turned_s: dict[ServiceKey, float] = {}  # since when another version of it is wanted than before
        self.took_over_s: dict[ServiceKey, float] = {}  # the same, where it was in the midst of going to another one
        self.held_back: dict[ServiceKey, int] = {}  # slots from this number on stay with the version before for now
        self.vacant: dict[Slot, float] = {}  # since when nobody holds it
        self.homes: set[Slot] = set()  # slots whose data is here: a volume that is not disposable was made for them
        self.first_home: dict[Slot, str] = {}  # who is believed to have the slot's data
        self.unseen_then: dict[Slot, frozenset[str]] = {}  # who was not up when this node came by a slot's data
        self.republish: set[tuple[str, str]] = (
            set()
        )  # facts of an earlier life, to be said anew even if they are the same
        self.resume: set[Slot] = set()  # own claims of an earlier life whose containers are gone
        self.improvable: dict[Slot, float] = {}  # since when a better node than its holder could have it
        self.watching: dict[tuple[Slot, str], tuple[str, str]] = {}  # as a witness: (spec, address)
        self.verdicts_due: set[str] = set()  # apps
        self.unwell: dict[tuple[Slot, str], Unwell] = {}
        self.done: dict[Slot, tuple[str, float]] = {}  # (spec, since) held well in the wanted version
        self.standings: dict[Slot, Standing] = {}  # of every wanted slot, as last looked at
        self.whys: dict[Slot, str] = {}  # what a slot waits for, as last decided
        self.out: list[Effect] = []
        self.agenda = Agenda()
        self.concern = Concern()
        self.apps_due: set[str] = set()  # apps with a document that has not been looked at yet
        self.members_changed = False
        self.images_changed = False
        self.routes_due: set[str] = set()  # apps whose routes may have changed
        self.unheld: dict[Slot, None] = {}  # of `standings` those without a winner
        self.targets: dict[Slot, Target | None] = {}  # where routes lead
        self.slots: dict[ServiceKey, set[Slot]] = {}  # those in `standings`
        self.placing = Placing()  # what wishes and rules between services come to
        self._orders: dict[str, dict[Slot, Sequence[str]]] = {}  # by app
        self._fields: dict[str, dict[str, Field]] = {}  # app -> service
        self._waiting: dict[str, dict[str, list[str]]] = {}  # app -> service -> those that depend on it
        self._shared: dict[object, Field] = {}  # by what makes nodes eligible
        self._numbered: dict[str, dict[str, dict[int, str]]] = {}  # app -> service with a replica on every host
        self._active: dict[str, bool] = {}
        self._keeps: dict[str, dict[str, bool]] = {}  # app -> service -> whether this node keeps its images
        self._keeps_home: dict[Slot, bool] = {}

    # --- effects ------------------------------------------------------------------------------------------------------

    def publish(
        self, kind: str, key: str, body: FactBody | None, reason: str, *, sync: bool = False, to: tuple[str, ...] = ()
    ) -> None:
        """Publish unless it says nothing new. It counts for ourselves at once."""
        if self.known.about(kind, key).get(self.me) == body and (kind, key) not in self.republish:
            return
        self.republish.discard((kind, key))
        self.known.put(self.me, kind, key, body)
        if kind in ("claim", "slot", "decline"):
            slot = Slot.parse(key)
            self.agenda.mark_slot(slot)
            self.touch_ours(slot.app, slot.service)
        self.out.append(Publish(kind=kind, key=key, body=body, sync=sync, reason=reason, to=to))

    def bind(self, kind: str, key: str, body: FactBody, reason: str, *, to: tuple[str, ...] = ()) -> None:
        """Publish what must outlive a power cut. It counts for nobody, ourselves included, before it has come back from our disk."""
        self.binding.add((kind, key))
        self.out.append(Publish(kind=kind, key=key, body=body, sync=True, binding=True, reason=reason, to=to))

    def note(self, kind: str, subject: object, reason: str) -> None:
        self.out.append(Note(kind=kind, subject=str(subject), reason=reason))

    # --- what to look at again ----------------------------------------------------------------------------------------

    def touch_slot(self, slot: Slot) -> None:
        """Look at a slot anew; if it stands otherwise than before, those of its service that are our business are decided, too."""
        self.agenda.mark_slot(slot)
        self.touch_dependents(slot.app, slot.service)

    def touch_ours(self, app: str, service: str) -> None:
        """Decide anew about those slots of a service that are our business, and about what depends on it."""
        for slot in self.concern.of(app, service):
            self.agenda.mark_slot(slot)
        self.touch_dependents(app, service)

    def touch(self, app: str, service: str) -> None:
        """Look at a whole service anew, and decide about what depends on it."""
        self.agenda.mark(app, service)
        self.touch_dependents(app, service)

    def touch_dependents(self, app: str, service: str) -> None:
        """Containers of ours may wait for it; and others' places may follow from where it is."""
        for key in self.placing.followers(self.wants, app, service):
            self.agenda.mark(*key)
        waiting = self._waiting.get(app)
        if waiting is None:
            waiting = self._waiting[app] = {}
            for name, want in self.wants.get(app, _UNWANTED).services.items():
                for depends in want.service.depends_on:
                    waiting.setdefault(depends.service, []).append(name)
        for name in waiting.get(service, ()):
            for slot in self.own_of(app, name):
                self.agenda.mark_slot(slot)

    def touch_app(self, app: str) -> None:
        for service in self.wants.get(app, _UNWANTED).services:
            self.touch(app, service)
        for slot in (*self.replicas.slots(), *self.own_claims()):
            if slot.app == app:
                self.touch(app, slot.service)

    def touch_all(self) -> None:
        for app, want in self.wants.items():
            for service in want.services:
                self.agenda.mark(app, service)
        for slot in (*self.replicas.slots(), *self.own_claims()):
            self.agenda.mark(slot.app, slot.service)
        self.images_changed = True

    def touch_all_ours(self) -> None:
        """There is more room here, say."""
        for slot in (*self.concern.all(), *self.replicas.slots(), *self.own_claims()):
            self.agenda.mark_slot(slot)
        self.images_changed = True

    def later(self, slot: Slot, at_s: float) -> None:
        """Decide anew about the slot at that time; never at once, or rounding could make an endless loop."""
        self.agenda.later(slot, max(at_s, self.now + 0.001))

    # --- small questions ----------------------------------------------------------------------------------------------

    def want(self, slot: Slot) -> Want | None:
        """What the slot shall run; None: it is not wanted, or not known (see `is_known`)."""
        app = self.wants.get(slot.app, _UNWANTED)
        want = app.services.get(slot.service)
        if want is None or slot.index not in self.numbers(slot.app, slot.service):
            return None
        if slot.index >= self.held_back.get((slot.app, slot.service), slot.index + 1) and slot.service in app.before:
            claims = self.known.about("claim", str(slot)).values()
            if not any(isinstance(claim, Claim) and claim.spec == want.spec for claim in claims):
                return app.before[slot.service]  # what has gone on before this node started is not turned back by it
        return want

    def numbers(self, app: str, service: str) -> Collection[int]:
        """Of its wanted slots, in order: those below `replicas`, or, with one on every host, each host's own number."""
        want = self.wants.get(app, _UNWANTED).services.get(service)
        if want is None or not want.service.placement.every_node:
            return range(want.service.replicas if want is not None else 0)
        return self._hosts_of(app, service)

    def _hosts_of(self, app: str, service: str) -> dict[int, str]:
        of_app = self._numbered.setdefault(app, {})
        found = of_app.get(service)
        if found is None:
            nodes = {path: node for path, node in self.eligible(app, service).items() if self.is_active(path)}
            found = of_app[service] = numbered(nodes)
        return found

    def is_known(self, slot: Slot) -> bool:
        """False: documents are missing that would say whether the slot is wanted: leave it alone."""
        app = self.wants.get(slot.app, _UNWANTED)
        if not app.known or app.deleted or slot.service in app.services:
            return app.known
        body = self.known.body(f"app/{slot.app}", App)
        return body is None or slot.service not in body.services  # it is in there: its image is still under way

    def disposable(self, app: str) -> dict[str, bool]:
        body = self.known.body(f"app/{app}", App)
        return body.volumes if body is not None else {}

    def stays_with_data(self, app: str, service: Service) -> bool:
        """Whether its slots belong to where their volume is, never to a rented machine. Unlisted volumes aren't disposable."""
        if not service.volumes:
            return False
        from_app = self.disposable(app)
        return any(not from_app.get(mount.volume, False) for mount in service.volumes)

    def others_well(self, slot: Slot, spec: str) -> bool:
        """Whether another slot of the service is well in that version: then it is not the version that ails."""
        want = self.want(slot)
        for index in self.numbers(slot.app, slot.service) if want is not None else ():
            standing = self.standings.get(Slot(slot.app, slot.service, index)) if index != slot.index else None
            if standing is not None and standing.winner is not None and standing.winner.spec == spec:
                return True
        return False

    def paused(self, slot: Slot, want: Want) -> bool:
        """Whether the version failed and the service says to stop there."""
        failed = (slot.app, slot.service, want.spec) in self.failed
        return failed and want.service.update.failure_action == "pause"

    def newest_spec(self, slot: Slot) -> str:
        """What the newest documents make of the slot's service, "" if nothing: what a verdict can be about."""
        return self.wants.get(slot.app, _UNWANTED).newest.get(slot.service, "")

    def add_evidence(self, slot: Slot, spec: str, node: str, why: str) -> None:
        """A version failed on a node: whoever has seen it on enough nodes says so (see verdicts)."""
        self.evidence.setdefault((slot.app, slot.service, spec), {})[node] = why[:200]
        self.failed_slots.setdefault((slot.app, slot.service, spec), set()).add(slot)
        self.verdicts_due.add(slot.app)
        self.touch_ours(slot.app, slot.service)  # how many have failed may let others go on

    def wall(self, at_s: float) -> float:
        """Unix seconds of a time of our monotonic clock."""
        return round(self.clock + at_s - self.boot_s, 3)

    def service_of(self, slot: Slot, spec: str) -> Service | None:
        """The definition that makes that version, if a document that we hold does."""
        found = self.wants.get(slot.app, NOTHING).specs.get(spec)
        return found.service if found is not None else None

    def room(self, leaving_out: Replica | None = None) -> Room:
        return Room(self.cpus, self.memory_bytes, *self.replicas.reserved(leaving_out))

    def lacks(self, want: Want) -> str:
        """Why this node can't take a slot, "" if it can: no room for what it reserves, or for its image."""
        return self.room().lacks(want.service.needs) or self.images.too_large(want.images)

    def claim_of(self, node: str, slot: Slot) -> Claim | None:
        return self.known.of(node, "claim", str(slot), Claim)

    def state_of(self, node: str, slot: Slot) -> SlotState | None:
        return self.known.of(node, "slot", str(slot), SlotState)

    def own_claims(self) -> list[Slot]:
        return [slot for key in self.known.told_by(self.me, "claim") if (slot := Slot.read(key)) is not None]

    def own_slots(self) -> list[Slot]:
        """Slots about which we say anything: claimed, running, or their data is here."""
        keys = dict.fromkeys(key for kind in ("claim", "slot", "decline") for key in self.known.told_by(self.me, kind))
        return [slot for key in keys if (slot := Slot.read(key)) is not None]

    def own_by_service(self) -> dict[ServiceKey, set[Slot]]:
        """Those, and what runs here."""
        found: dict[ServiceKey, set[Slot]] = {}
        for slot in (*self.own_slots(), *self.replicas.slots()):
            found.setdefault((slot.app, slot.service), set()).add(slot)
        return found

    def own_of(self, app: str, service: str) -> set[Slot]:
        return {slot for slot in (*self.own_slots(), *self.replicas.slots()) if slot[:2] == (app, service)}

    @property
    def is_small(self) -> bool:
        """Whether the cloud is so small that every slot is everybody's business."""
        return len(self.known.nodes) <= self.timing.rank_all

    def is_active(self, node: str) -> bool:
        """A machine beyond its pool's bounds is draining by the operator's word, whatever its enrolment says."""
        found = self._active.get(node)
        if found is None:
            body = self.known.nodes.get(node)
            slot = MachineSlot.of_path(node)
            beyond = slot is not None and slot.is_beyond(self.known.body(f"pool/{slot.pool}", Pool))
            found = self._active[node] = body is not None and body.state == "active" and not beyond
        return found

    def barred_until(self, slot: Slot, node: str) -> float:
        """When the last bar of a node from a slot ends; 0.0 if there is none any more."""
        return max(self.bars.until(slot, node, self.now), self.drops.until(slot, node, self.now))

    def awake_s(self) -> float:
        """When this node may claim: its neighbours have told what they know by then, or it is alone."""
        if not any(node != self.me for node in self.known.nodes):
            return self.boot_s
        if self.new:
            return math.inf
        alone = self.boot_s + self.timing.resume_alone_s
        linked = self.presence.first_link_s
        return alone if linked is None else min(alone, linked + self.timing.resume_link_s)

    # --- orders, cached until enrolments or boxes change --------------------------------------------------------------

    def forget_orders(self, app: str = "") -> None:
        """Of one app, whose documents have changed; or all."""
        self.images.referring.forget(app)
        if app:
            self.placing.forget(app)
            self._orders.pop(app, None)
            self._fields.pop(app, None)
            self._waiting.pop(app, None)
            self._numbered.pop(app, None)
            self._keeps.pop(app, None)
            return
        self._orders.clear()
        self._fields.clear()
        self._shared.clear()
        self._numbered.clear()
        self._active.clear()
        self._keeps.clear()
        self._keeps_home.clear()

    def field(self, app: str, service: str) -> Field:
        """The nodes that satisfy the service's constraints and can read its secrets; draining ones too."""
        of_app = self._fields.setdefault(app, {})
        found = of_app.get(service)
        if found is None:
            want = self.wants.get(app, _UNWANTED).services.get(service)
            constraints = want.service.constraints if want is not None else ()
            stays = want is not None and self.stays_with_data(app, want.service)
            key = (constraints, stays, self.known.readers(app))
            found = self._shared.get(key)
            if found is None:
                nodes = {
                    path: node
                    for path, node in self.known.nodes.items()
                    if not node.voter_only
                    and not unmet(constraints, path, node)
                    and self.known.may_read(app, path)
                    and not (stays and MachineSlot.of_path(path))
                }
                found = self._shared[key] = Field(nodes, small=self.is_small)
            of_app[service] = found
        return found

    def eligible(self, app: str, service: str) -> dict[str, Node]:
        """Enrolled nodes that may run it."""
        return self.field(app, service).nodes

    def order(self, slot: Slot) -> Sequence[str]:
        """By signed documents alone. Wishes that depend on where others run come in later: placement.ranked."""
        of_app = self._orders.get(slot.app)
        if of_app is None:
            of_app = self._orders[slot.app] = {}
        order = of_app.get(slot)
        if order is None:
            order = of_app[slot] = self._order(slot)
        return order

    def _order(self, slot: Slot) -> Sequence[str]:
        name, want = f"{slot.app}.{slot.service}", self.wants.get(slot.app, _UNWANTED).services.get(slot.service)
        placement = want.service.placement if want is not None else None
        if placement is not None and placement.every_node:
            host = self._hosts_of(slot.app, slot.service).get(slot.index)
            return (host,) if host is not None else ()
        if placement is not None and placement.spread:
            nodes = self.eligible(slot.app, slot.service)
            return order_for(name, slot.index, nodes, zones_of(placement.spread))
        return Order(self.field(slot.app, slot.service), name, slot.index)

    def watchers(self, slot: Slot) -> Sequence[str]:
        """In which order nodes are asked to be witnesses of the slot."""
        want = self.wants.get(slot.app, _UNWANTED).services.get(slot.service)
        if want is None or not want.service.placement.every_node:
            return self.order(slot)
        return order_by_name(str(slot), self.known.nodes)

    def keeps_home(self, slot: Slot, most: int) -> bool:
        """Whether this node is one of those fixed ones that keep a word about where the slot's data is (homes.py)."""
        found = self._keeps_home.get(slot)
        if found is None:
            fixed = {path: node for path, node in self.known.nodes.items() if MachineSlot.of_path(path) is None}
            first = order_by_name(f"home of {slot}", fixed) if self.is_small else self.order(slot)
            found = self._keeps_home[slot] = self.me in first[:most] and self.me in fixed
        return found

    def before(
        self, order: Sequence[str], enough: int, counts: Callable[[str], bool], of: str = ""
    ) -> tuple[str, ...] | None:
        """So many nodes that come before this one (or `of`) in an order, and that count; None: it may be one of the first."""
        return order.before(of or self.me, enough, counts) if isinstance(order, Order) else None

    def keepers(self, app: str, service: str) -> tuple[str, ...]:
        """Who keeps the service's images: the first few of the order computed for its name."""
        nodes = self.eligible(app, service)
        fixed = {path: node for path, node in nodes.items() if MachineSlot.of_path(path) is None}
        return order_by_name(f"{app}.{service}", fixed or nodes)[: self.timing.image_keepers]

    def keeps(self, app: str, service: str) -> bool:
        """Whether this node is one of those."""
        of_app = self._keeps.setdefault(app, {})
        if service not in of_app:
            of_app[service] = self.field(app, service).keeps(self.me, f"{app}.{service}", self.timing.image_keepers)
        return of_app[service]
