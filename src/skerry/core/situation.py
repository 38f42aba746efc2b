"""All that a node holds while it decides: records, presence, own containers, memory of failures; and the effects so far.

One mutable value that the deciding files share. It answers small questions; the rules are in the files that ask them.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from skerry.core.alerting.alerting import Alerting
from skerry.core.bars import Bars
from skerry.core.claims import Room
from skerry.core.constraints import unmet
from skerry.core.effects import Effect, Note, Publish
from skerry.core.facts import Claim, FactBody, SlotState
from skerry.core.images import Images
from skerry.core.intent import App, Node, Pool, Service
from skerry.core.knowledge import Knowledge
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

ServiceKey = tuple[str, str]  # (app, service)
_UNWANTED = AppWant(known=False)


class Failing(NamedTuple):
    """This node could not run a slot in a version; it tries again when the bar ends."""

    spec: str
    why: str
    until_s: float


class Unwell(msgspec.Struct):
    """Since when this node sees a replica not healthy, whether it is now, and whether it ever was."""

    spec: str
    since_s: float
    well: bool
    well_once: bool


class Situation:
    def __init__(self, timing: Timing) -> None:
        self.timing = timing
        self.me = ""
        self.boot = 0
        self.agent = ""
        self.boot_s = 0.0
        self.clock = 0.0  # unix seconds at boot_s
        self.new = False  # not yet compared with anybody: no claim
        self.now = 0.0
        self.cpus = 0.0
        self.memory_bytes = 0
        self.known = Knowledge()
        self.presence = Presence(timing)
        self.replicas = Replicas()
        self.images = Images()
        self.renting = Renting()
        self.wishing = Wishing()
        self.alerting = Alerting()
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
        self.settled: set[tuple[str, str, str]] = set()  # versions whose rollout was once complete
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
        self.dirty: set[ServiceKey] = set()
        self.due: dict[ServiceKey, float] = {}
        self.apps_due: set[str] = set()  # apps with a document that has not been looked at yet
        self.members_changed = False
        self.images_changed = False
        self.routes_changed = False
        self.placing = Placing()  # what wishes and rules between services come to
        self._orders: dict[tuple[str, str, int], tuple[str, ...]] = {}
        self._eligible: dict[ServiceKey, dict[str, Node]] = {}
        self._numbered: dict[ServiceKey, dict[int, str]] = {}  # of services with a replica on every host

    # --- effects ------------------------------------------------------------------------------------------------------

    def publish(self, kind: str, key: str, body: FactBody | None, reason: str, *, sync: bool = False) -> None:
        """Publish unless it says nothing new. It counts for ourselves at once."""
        if self.known.about(kind, key).get(self.me) == body and (kind, key) not in self.republish:
            return
        self.republish.discard((kind, key))
        self.known.put(self.me, kind, key, body)
        if kind in ("claim", "slot", "decline"):
            slot = Slot.parse(key)
            self.touch(slot.app, slot.service)
        self.out.append(Publish(kind=kind, key=key, body=body, sync=sync, reason=reason))

    def note(self, kind: str, subject: object, reason: str) -> None:
        self.out.append(Note(kind=kind, subject=str(subject), reason=reason))

    # --- what to look at again ----------------------------------------------------------------------------------------

    def touch(self, app: str, service: str) -> None:
        """Decide anew about a service, and about those of its app that depend on it."""
        self.dirty.add((app, service))
        self.routes_changed = True
        self.touch_dependents(app, service)

    def touch_dependents(self, app: str, service: str) -> None:
        self.dirty |= self.placing.followers(self.wants, app, service)
        for name, want in self.wants.get(app, _UNWANTED).services.items():
            if any(depends.service == service for depends in want.service.depends_on):
                self.dirty.add((app, name))

    def touch_app(self, app: str) -> None:
        for service in self.wants.get(app, _UNWANTED).services:
            self.touch(app, service)
        for slot in (*self.replicas.slots(), *self.own_claims()):
            if slot.app == app:
                self.touch(app, slot.service)
        self.routes_changed = True

    def touch_all(self) -> None:
        for app in self.wants:
            self.touch_app(app)
        for slot in (*self.replicas.slots(), *self.own_claims()):
            self.touch(slot.app, slot.service)
        self.images_changed = True

    def later(self, slot: Slot, at_s: float) -> None:
        """Decide anew about the slot's service at that time; never at once, or rounding could make an endless loop."""
        key = (slot.app, slot.service)
        at_s = max(at_s, self.now + 0.001)
        self.due[key] = min(at_s, self.due.get(key, at_s))

    # --- small questions ----------------------------------------------------------------------------------------------

    def want(self, slot: Slot) -> Want | None:
        """What the slot shall run; None: it is not wanted, or not known (see `is_known`)."""
        want = self.wants.get(slot.app, _UNWANTED).services.get(slot.service)
        return want if want is not None and slot.index in self.numbers(slot.app, slot.service) else None

    def numbers(self, app: str, service: str) -> Collection[int]:
        """Of its wanted slots, in order: those below `replicas`, or, with one on every host, each host's own number."""
        want = self.wants.get(app, _UNWANTED).services.get(service)
        if want is None or not want.service.placement.every_node:
            return range(want.service.replicas if want is not None else 0)
        return self._hosts_of(app, service)

    def _hosts_of(self, app: str, service: str) -> dict[int, str]:
        found = self._numbered.get((app, service))
        if found is None:
            nodes = {path: node for path, node in self.eligible(app, service).items() if self.is_active(path)}
            found = self._numbered[app, service] = numbered(nodes)
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
        self.verdicts_due.add(slot.app)

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
        return [Slot.parse(key) for key, about in self.known.facts.get("claim", {}).items() if self.me in about]

    def own_slots(self) -> list[Slot]:
        """Slots about which we say anything: claimed, running, or their data is here."""
        facts = self.known.facts
        keys = {
            key
            for kind in ("claim", "slot", "decline")
            for key, about in facts.get(kind, {}).items()
            if self.me in about
        }
        return [Slot.parse(key) for key in keys]

    def is_active(self, node: str) -> bool:
        """A machine beyond its pool's bounds is draining by the operator's word, whatever its enrolment says."""
        body = self.known.nodes.get(node)
        slot = MachineSlot.of_path(node)
        if slot is not None and slot.is_beyond(self.known.body(f"pool/{slot.pool}", Pool)):
            return False
        return body is not None and body.state == "active"

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

    def forget_orders(self) -> None:
        self._orders.clear()
        self._eligible.clear()
        self._numbered.clear()
        self.placing.forget()

    def eligible(self, app: str, service: str) -> dict[str, Node]:
        """Enrolled nodes that satisfy the service's constraints and can read its secrets; draining ones too."""
        found = self._eligible.get((app, service))
        if found is None:
            want = self.wants.get(app, _UNWANTED).services.get(service)
            constraints = want.service.constraints if want is not None else ()
            found = {
                path: node
                for path, node in self.known.nodes.items()
                if not unmet(constraints, path, node)
                and self.known.may_read(app, path)
                and not (want is not None and MachineSlot.of_path(path) and self.stays_with_data(app, want.service))
            }
            self._eligible[app, service] = found
        return found

    def order(self, slot: Slot) -> tuple[str, ...]:
        """By signed documents alone. Wishes that depend on where others run come in later: placement.ranked."""
        order = self._orders.get(slot)
        if order is None:
            order = self._orders[slot] = self._order(slot)
        return order

    def _order(self, slot: Slot) -> tuple[str, ...]:
        want = self.wants.get(slot.app, _UNWANTED).services.get(slot.service)
        if want is not None and want.service.placement.every_node:
            host = self._hosts_of(slot.app, slot.service).get(slot.index)
            return (host,) if host is not None else ()
        levels = zones_of(want.service.placement.spread if want is not None else ())
        return order_for(f"{slot.app}.{slot.service}", slot.index, self.eligible(slot.app, slot.service), levels)

    def watchers(self, slot: Slot) -> tuple[str, ...]:
        """In which order nodes are asked to be witnesses of the slot."""
        want = self.wants.get(slot.app, _UNWANTED).services.get(slot.service)
        if want is None or not want.service.placement.every_node:
            return self.order(slot)
        place = (slot.app, slot.service, -2 - slot.index)
        order = self._orders.get(place)
        if order is None:
            order = self._orders[place] = order_by_name(str(slot), self.known.nodes)
        return order

    def keepers(self, app: str, service: str) -> tuple[str, ...]:
        """Who keeps the service's images: the first few of the order computed for its name."""
        place = (app, service, -1)
        order = self._orders.get(place)
        if order is None:
            nodes = self.eligible(app, service)
            fixed = {path: node for path, node in nodes.items() if MachineSlot.of_path(path) is None}
            order = order_by_name(f"{app}.{service}", fixed or nodes)[: self.timing.image_keepers]
            self._orders[place] = order
        return order
