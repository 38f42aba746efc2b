"""The node's mind: events in, effects out. Gathering, deciding and acting live in the files beside this one.

The caller owns clock, disk and network. Its loop:

    core = NodeCore()
    effects = core.step(Booted(...), now)                    # then, in one go, before anything else:
    for record in disk: effects += core.step(RecordAccepted(record, from_disk=True), now)
    for container in adopted: effects += core.step(ContainerFound(...), now)
    for image in held: effects += core.step(ImageReady(image), now)
    while True: carry_out(effects); effects = core.step(next_event(), now)

Nothing is decided before the first event that is none of these four (a Timer: the answer to each asks for one at once).
"""

from __future__ import annotations

from collections.abc import Callable

from skerry.core import exclusive, tending, turns, view, wishing
from skerry.core.alerting import alerting
from skerry.core.constraints import name_of
from skerry.core.deciding import decide_service
from skerry.core.effects import Effect, Peers, ProbePeer, Stop, Wake
from skerry.core.events import Booted, ContainerFound, Event, ImageReady, LinkUp, RecordAccepted
from skerry.core.facts import Decline, FactBody, Have, Lost, Up, Verdict
from skerry.core.gathering import awaken, fell_or_rose, gather
from skerry.core.peers import neighbours
from skerry.core.records import Slot
from skerry.core.renting import keeping
from skerry.core.renting import view as machine_view
from skerry.core.routes import Routes
from skerry.core.situation import Situation
from skerry.core.timing import Timing
from skerry.core.verdicts import review_verdicts
from skerry.core.versions import wanted
from skerry.core.words import told_of

_PASSES = 8  # deciding settles in two or three; more is a bug, and the next timer goes on
_FOREVER = float("inf")


class NodeCore:
    """One node's decisions. Deterministic: the same events at the same times give the same effects.

    Facts that it publishes count for itself at once; their echo (RecordAccepted from "") is welcome and changes nothing.
    The caller fills `heads` and `clock` of the fact `up` when it signs it.
    """

    def __init__(self, timing: Timing | None = None) -> None:
        self._s = Situation(timing or Timing())
        self._alive = False
        self._up_s = 0.0
        self._wake_s = _FOREVER
        self._routes = Routes()
        self._peers: Peers | None = None

    def step(self, event: Event, now: float) -> list[Effect]:
        """What to do about `event`. `now`: seconds of a monotonic clock, never less than at the step before."""
        s = self._s
        s.now = s.presence.now_s = now
        gather(s, event)
        if not self._alive:
            if isinstance(event, Booted | ContainerFound | ImageReady) or (
                isinstance(event, RecordAccepted) and event.from_disk
            ):
                return [Wake(at_s=now, reason="decide once all that the disk held is in")]
            self._alive = True
            self._refresh_apps()
            awaken(s)
            exclusive.begin(s)
            s.app_leases.begin(s)
        self._review_presence()
        wishing.review(s)
        self._refresh_apps()
        wishing.measure(s)
        exclusive.review(s)
        self._decide()
        exclusive.review(s)
        s.app_leases.review(s)
        if s.agenda:
            self._decide()  # a vote of our own, or nobody needed for one
        self._publish_up(at_once=isinstance(event, LinkUp))
        return self._effects()

    def rows(self) -> list[view.Row]:
        """For `ps`: every wanted slot and every one that somebody still runs."""
        return view.rows(self._s)

    def hosts(self) -> list[view.Host]:
        """For `host ls`: every enrolled node as this one sees it."""
        return view.hosts(self._s)

    def hosts_with(self, image: str) -> list[str]:
        """Names of the hosts that hold this image whole, as they say."""
        held = self._s.known.about("object", image).items()
        return sorted(name_of(node) for node, have in held if isinstance(have, Have))

    def image_here(self, image: str) -> tuple[bool, bool, str]:
        """Of an image that somebody waits for here: whether it is here, whether it is on its way, and else why not."""
        images = self._s.images
        here = images.holds(image)
        return here, images.is_coming(image), "" if here else images.trouble(image)

    def said(self, kind: str, key: str) -> dict[str, FactBody]:
        """What nodes say now under this kind and key: node -> body."""
        return dict(self._s.known.about(kind, key))

    def machines(self) -> list[machine_view.MachineRow]:
        """For `machine ls`: every machine slot of which something is said."""
        return machine_view.machines(self._s)

    def pools(self) -> list[machine_view.PoolRow]:
        """For `machine pool ls`: how many are wanted and there, and what they cost."""
        return machine_view.pools(self._s)

    def alerts(self) -> list[alerting.AlertRow]:
        """For `alert ls`: what fires, as this node sees it."""
        return alerting.rows(self._s)

    def awake_s(self) -> float:
        """When its neighbours have told what they know, or it is alone; infinite for a new one that has not heard of them yet."""
        return self._s.awake_s()

    def measured(self) -> frozenset[str]:
        """Names of figures that rules of alerts ask for."""
        rules = self._s.alerting.settings.rules.values()
        return frozenset(rule.measure.metric for rule in rules if rule.measure is not None)

    def all_said(self, kind: str) -> dict[str, dict[str, FactBody]]:
        """Everything of a kind: key -> node -> body."""
        return {key: dict(about) for key, about in self._s.known.facts.get(kind, {}).items()}

    def explain(self, slot: Slot) -> view.Explanation:
        """For `explain`: the slot's order, each node's answer, and what is awaited."""
        return view.explain(self._s, slot)

    def scalings(self) -> list[view.Scaling]:
        """For `explain --scale`: of each service that follows the load its figures, wishes, bounds and number."""
        return view.scalings(self._s)

    # --- in order: who lives, what is wanted, what to do ---------------------------------------------------------------

    def _review_presence(self) -> None:
        s = self._s
        if s.members_changed:
            s.members_changed = False
            s.presence.next_s = s.now
            peers = neighbours(s.me, s.known.nodes, everyone=s.timing.link_everyone, links=s.timing.links)
            if peers != self._peers:
                self._peers = peers
                s.out.append(peers)
        if s.now < s.presence.next_s:
            return
        changes, asks = s.presence.review(s.known.nodes, s.known.facts.get("lost", {}), s.now)
        for change in changes:
            fell_or_rose(s, change)
        s.out.extend(ProbePeer(peer=node, via=via, reason="this node has missed it") for node, via in asks)
        votes = s.presence.lost(s.known.nodes, s.now)
        for node, about in list(s.known.facts.get("lost", {}).items()):
            if s.me in about and node not in votes:
                s.publish("lost", node, None, "it is back")
        for node, vote in votes.items():
            held = s.known.of(s.me, "lost", node, Lost)
            if held is None or (held.boot, held.beat) != (vote.boot, vote.beat):
                s.publish("lost", node, vote, vote.why)

    def _refresh_apps(self) -> None:
        """Recompute what is wanted of apps whose documents, verdicts or numbers of replicas have changed."""
        s = self._s
        while s.apps_due or s.verdicts_due or s.wishing.due:
            for app in sorted(s.apps_due | s.verdicts_due | s.wishing.due):
                documents = app in s.apps_due
                s.apps_due.discard(app)
                if documents or app in s.wishing.due:
                    s.wishing.due.discard(app)
                    self._refresh(app, documents=documents)
                if app in s.verdicts_due or documents:
                    s.verdicts_due.discard(app)
                    if review_verdicts(s, app):
                        self._refresh(app, documents=False)

    def _refresh(self, app: str, *, documents: bool) -> None:
        s, before = self._s, self._s.wants.get(app)
        now = wishing.with_numbers(s, app, wanted(app, s.known, _failed(s, app)))
        if documents and before is not None and before.newest != now.newest:
            s.bars.forget(app)
            s.drops.forget(app)
            s.failing = {slot: failing for slot, failing in s.failing.items() if slot.app != app}
        newest = {(app, service, spec) for service, spec in now.newest.items()}
        s.evidence = {key: seen for key, seen in s.evidence.items() if key[0] != app or key in newest}
        s.failed_slots = {key: seen for key, seen in s.failed_slots.items() if key[0] != app or key in newest}
        # What is newly wanted is judged anew, also if it ran well here once; of what no document makes any more nothing is known.
        anew = newest if before is None else {key for key in newest if before.newest.get(key[1]) != key[2]}
        s.settled = {key for key in s.settled if key[0] != app or (key[2] in now.specs and key not in anew)}
        if before == now:
            return
        s.wants[app] = now
        if documents:
            self._gather_evidence(app)
        s.changed_s[app] = s.now if documents else s.changed_s.get(app, s.now)
        s.forget_orders(app)
        s.known.lodging.moved.add(app)  # its routes, and who belongs to it
        s.fence_due = True
        for service, want in now.services.items():
            old = before.services.get(service) if before is not None else None
            if old is not None and old.spec != want.spec:
                turns.turned(s, app, service)
                s.note("turned-back" if now.turned_back else "rollout", f"{app}.{service}",
                       now.turned_back or f"version {want.versions[0]}.{want.versions[1]} is wanted")  # fmt: skip
        for replica in s.replicas:
            if replica.slot.app == app:
                tending.learn(s, replica)
        s.touch_app(app)
        for service in before.services if before is not None else ():
            s.touch(app, service)
        s.images_changed = True

    def _gather_evidence(self, app: str) -> None:
        """Declines that came before the documents that they are about."""
        s = self._s
        for key, about in s.known.facts.get("decline", {}).items():
            slot = Slot.read(key)
            if slot is None or slot.app != app:
                continue
            for node, decline in about.items():
                if isinstance(decline, Decline) and decline.failed and s.newest_spec(slot) == decline.spec:
                    s.add_evidence(slot, decline.spec, node, decline.reason)

    def _decide(self) -> None:
        s = self._s
        for slot in s.agenda.due(s.now):
            s.touch_slot(slot)
            s.touch_ours(slot.app, slot.service)
        for _ in range(_PASSES):
            if not s.agenda:
                break
            own = s.own_by_service()
            for (app, service), slots in s.agenda.take():
                decide_service(s, app, service, slots, own.get((app, service), ()))
            self._refresh_apps()
        else:
            for app, service in s.agenda.services():
                s.later(Slot(app, service, 0), s.now + 0.1)
        if s.images_changed or s.now >= s.images.next_s:
            s.images_changed = False
            s.images.review(s)
        keeping.review(s)
        alerting.review(s)
        if s.routes_due or s.known.lodging.moved:
            route = self._routes.review(s)
            if route is not None:
                s.out.append(route)

    def _publish_up(self, *, at_once: bool) -> None:
        """Each second; and on a new link, whose other end waits for it to believe our other facts."""
        s = self._s
        if s.now < self._up_s and not at_once:
            return
        self._up_s = s.now + s.timing.up_every_s
        if not s.presence.any_linked():
            return
        room = s.room()
        body = Up(
            root=s.known.version("root"), policy=s.known.version("policy"), heads="", uptime_s=round(s.now - s.boot_s, 3),
            cpus=s.cpus, memory_bytes=s.memory_bytes, free_cpus=round(max(0.0, room.cpus - room.used_cpus), 3),
            free_memory_bytes=max(0, room.memory_bytes - room.used_memory_bytes), agent=s.agent, clock=s.wall(s.now),
        )  # fmt: skip
        s.publish("up", "", body, "this node lives")

    def _effects(self) -> list[Effect]:
        """All effects of this step. Stops last: what stops has left the routes before."""
        s = self._s
        out, s.out = s.out, []
        if any(isinstance(effect, Stop) for effect in out):
            out.sort(key=lambda effect: isinstance(effect, Stop))
        wake = min(
            self._up_s,
            s.presence.next_s,
            s.images.next_s,
            s.renting.next_s,
            s.wishing.next_s,
            s.alerting.next_s,
            s.leases.next_s,
            s.app_leases.next_s,
            s.agenda.next_s(),
        )
        wake = max(wake, s.now)
        if wake != self._wake_s or wake <= s.now + s.timing.up_every_s:
            self._wake_s = wake
            out.append(Wake(at_s=wake))
        return out


def _failed(s: Situation, app: str) -> Callable[[str, str], str]:
    """Why a version of a service is to be turned back, "" if it isn't."""

    def why(service: str, spec: str) -> str:
        if (app, service, spec) not in s.failed:
            return ""
        seen = s.evidence.get((app, service, spec), {})
        own = s.known.of(s.me, "verdict", f"{app}.{service}", Verdict)
        if own is not None and own.spec == spec:
            seen = {**own.evidence, **seen}
        return told_of({name_of(node): reason for node, reason in seen.items()}) or "others say so"

    return why
