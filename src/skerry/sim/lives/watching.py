"""What must hold after every step of a life, one checker a promise (design section 7). None looks at more than what has just happened.

A checker is a class in CHECKERS. It hears of each effect, of each record that an honest machine takes, of each start of one, and once
a second of a tick; what is wrong it says in sentences. Captured machines are not held to anything.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

from skerry.core import effects as do
from skerry.core.facts import Claim, SlotState
from skerry.core.intent import App
from skerry.core.records import Document, Fact, Record, Slot
from skerry.sim.checkers import EffectChecker
from skerry.sim.lives.host import Host
from skerry.sim.machine import Machine
from skerry.sim.still import Container
from skerry.trust.quotas import FACTS_BYTES, FACTS_MAX

if TYPE_CHECKING:
    from skerry.sim.lives.life import Life

C = TypeVar("C", bound="Checker")
SAID_MOST = 20  # sentences of one checker: the first say it all


class Checker:
    def __init__(self, life: Life) -> None:
        self.life = life
        self.wrong: list[str] = []

    def effect(self, host: Host, effect: do.Effect) -> None:
        """Something that an honest host is about to do."""

    def record(self, host: Host, record: Record, source: str) -> None:
        """Something that an honest host has just taken."""

    def booted(self, host: Host) -> None:
        """An honest host has just started."""

    def tick(self) -> None:
        """Once a virtual second."""

    def say(self, what: str) -> None:
        if len(self.wrong) < SAID_MOST:
            self.wrong.append(f"{self.life.cluster.clock.now_s:.2f}: {what}")


class Reasons(Checker):
    """No move without a reason; a slot starts where its data is, and no version of it twice on a machine."""

    def __init__(self, life: Life) -> None:
        super().__init__(life)
        self.of_effects = EffectChecker(life.cluster)
        self.of_effects.wrong = self.wrong
        life.cluster.watchers.remove(self.of_effects.see)

    def effect(self, host: Host, effect: do.Effect) -> None:
        self.of_effects.see(host, effect)


class Signed(Checker):
    """Nothing runs but images of releases and services of apps that operators signed (sentence 1)."""

    def effect(self, host: Host, effect: do.Effect) -> None:
        if not isinstance(effect, do.Start):
            return
        if effect.image not in self.life.office.images:
            self.say(f"{host.path} starts {effect.slot} with {effect.image[:24]}, which no operator signed")
        own = host.trusted.document(host.path)
        if own is None or host.trusted.enrolled(host.path) is None:
            self.say(f"{host.path} starts {effect.slot} and is not of the cloud")
        app = host.trusted.document(f"app/{effect.slot.app}")
        body = app.body if app is not None else None
        if not isinstance(body, App) or effect.slot.service not in body.services:
            self.say(f"{host.path} starts {effect.slot}, and its app has no such service")


class Believed(Checker):
    """What a host takes was signed by who it says; and no document ever gives way to an older one (sentences 1 and 2)."""

    def __init__(self, life: Life) -> None:
        super().__init__(life)
        self.newest: dict[tuple[str, str], tuple[int, int, float, str]] = {}

    def record(self, host: Host, record: Record, source: str) -> None:
        if isinstance(record, Fact):
            author = self.life.cluster.machines.get(record.node)
            honest = isinstance(author, Host) and not author.ever_captured
            if honest and record.hash not in self.life.cluster.made.get(record.node, ()):
                self.say(f"{host.path} believes a {record.kind} of {record.node} which it never signed")
            return
        if record.hash not in self.life.office.signed:
            self.say(f"{host.path} believes {record.path} {record.version}, which no operator signed")
        self._look(host, record.path)

    def _look(self, host: Host, path: str) -> None:
        held = host.trusted.document(path)
        before = self.newest.get((host.path, path))
        if held is None or (before is not None and held.order < before):
            self.say(f"{host.path} held version {before[1] if before else 0} of {path}, and now an older one")
        else:
            self.newest[host.path, path] = held.order

    def booted(self, host: Host) -> None:
        for of, path in list(self.newest):
            if of == host.path:
                self._look(host, path)

    def forget(self, host: Host) -> None:
        """Its records were damaged: it asks others for what is newest."""
        self.newest = {key: order for key, order in self.newest.items() if key[0] != host.path}


class Bounded(Checker):
    """No author, neighbour or flood makes a host keep more than the bounds (design section 6)."""

    def tick(self) -> None:
        if int(self.life.cluster.clock.now_s) % 5:
            return
        for host in self.life.honest():
            for node, author in host.trusted._authors.items():
                if len(author.marks) > FACTS_MAX or author.size_bytes > FACTS_BYTES:
                    self.say(f"{host.path} keeps {len(author.marks)} facts and {author.size_bytes} bytes of {node}")
            waiting = max((len(raws) for raws in host.door._waiting.values()), default=0)
            if waiting > 64:
                self.say(f"{host.path} has put {waiting} records of one neighbour aside")
            if len(host._events) > 10_000:
                self.say(f"{host.path} has {len(host._events)} events to come")


class Moves(Checker):
    """A slot goes to a new version only when fewer than `parallelism` of lower number have not been well in it yet.

    What is not well on its host serves nobody: that may go at once.
    """

    def __init__(self, life: Life) -> None:
        super().__init__(life)
        self.well: set[tuple[Slot, str]] = set()  # was healthy in that version, by its own holder's word
        self.until_s: dict[
            tuple[str, Slot], float
        ] = {}  # (host, slot) -> until when it said so; facts come before what is done

    def effect(self, host: Host, effect: do.Effect) -> None:
        if isinstance(effect, do.Publish) and effect.kind == "slot" and effect.body is not None:
            state = effect.body
            if isinstance(state, SlotState) and (slot := Slot.read(effect.key)) is not None:
                place, now_s = (host.path, slot), self.life.cluster.clock.now_s
                self.until_s[place] = math.inf if state.healthy else min(now_s, self.until_s.get(place, -1.0))
                if state.healthy:
                    self.well.add((slot, state.spec))
        if not isinstance(effect, do.Note) or effect.kind != "moved" or host.core is None or self.life.ever_hostile:
            return
        slot = Slot.read(effect.subject)
        want = host.core._s.want(slot) if slot is not None else None
        if slot is None or want is None or want.service.update.failure_action == "continue":
            return
        if self.until_s.get((host.path, slot), -1.0) < self.life.cluster.clock.now_s:
            return
        s, behind = host.core._s, []
        for index in range(slot.index):
            lower = Slot(slot.app, slot.service, index)
            vacant = s.vacant.get(lower)
            long_empty = vacant is not None and s.now - vacant > s.timing.takeover_after_s
            if (lower, want.spec) not in self.well and not long_empty:
                behind.append(str(lower))
        if len(behind) >= want.service.update.parallelism:
            self.say(f"{host.path} moves {slot}, and {', '.join(behind)} never were well in that version")


class Alone(Checker):
    """Losing everybody stops nothing that is healthy (sentence 6)."""

    QUIET_S = 30.0

    def __init__(self, life: Life) -> None:
        super().__init__(life)
        self.alone_s: dict[str, float] = {}
        self.told_s: dict[str, float] = {}  # its newest document

    def tick(self) -> None:
        now_s = self.life.cluster.clock.now_s
        for host in self.life.honest():
            if host.linked:
                self.alone_s.pop(host.path, None)
            else:
                self.alone_s.setdefault(host.path, now_s)

    def record(self, host: Host, record: Record, source: str) -> None:
        if isinstance(record, Document):
            self.told_s[host.path] = self.life.cluster.clock.now_s

    def effect(self, host: Host, effect: do.Effect) -> None:
        now_s = self.life.cluster.clock.now_s
        if not isinstance(effect, do.Stop) or host.linked:
            return
        since_s = max(self.alone_s.get(host.path, now_s), self.told_s.get(host.path, 0.0), host.booted_s)
        container = host.containers.get(effect.container)
        well = container is not None and container.running and container.answers_s <= now_s - 5.0
        if well and now_s - since_s > self.QUIET_S:
            self.say(f"{host.path} is alone since {since_s:.0f} s and stops {effect.slot}: {effect.reason}")


class Claims(Checker):
    """Who claims a slot says which version and image: one that operators wanted."""

    def effect(self, host: Host, effect: do.Effect) -> None:
        if (
            isinstance(effect, do.Publish)
            and isinstance(effect.body, Claim)
            and effect.body.image not in self.life.office.images
        ):
            self.say(f"{host.path} claims {effect.key} for {effect.body.image[:24]}, which no operator signed")


class OneHolder(Checker):
    """Of an exclusive slot one container at a time, by what really runs: what core believes is not asked.

    A machine that stood still as a whole counts no more by its containers, but by the numbers that it lets through. With a
    captured voter nothing is promised.
    """

    def __init__(self, life: Life) -> None:
        super().__init__(life)
        self._fences: dict[tuple[str, int, Slot], int] = {}  # (host, its life, slot) -> the highest number that it knew
        self._holders: dict[tuple[Slot, int], str] = {}
        life.cluster.begins.append(self._begun)

    def _promised(self) -> bool:
        voting = self.life.voting
        return voting is not None and not voting.ever & self.life.captured

    def _begun(self, machine: Machine, container: Container) -> None:
        """Two at once are two from the moment in which the later one begins."""
        if not container.fencing or not self._promised():
            return
        found = sorted(
            (host.path, c.fencing)
            for host in self.life.cluster.hosts()
            for c in host.containers.values()
            if c.slot == container.slot and c.running and not host.captured and not host.stood_still
        )
        if len(found) > 1:
            self.say(f"{container.slot} runs more than once: {found}")

    def effect(self, host: Host, effect: do.Effect) -> None:
        if isinstance(effect, do.Fence):
            for fenced in effect.leases if self._promised() else ():
                place = host.path, host.life, fenced.slot
                if fenced.number < self._fences.get(place, 0):
                    self.say(f"{host.path} goes back to lease {fenced.number} of {fenced.slot}")
                self._fences[place] = fenced.number
        elif isinstance(effect, do.Start) and effect.service.exclusive:
            if not effect.fencing:
                self.say(f"{host.path} starts {effect.slot} without a lease")
            other = self._holders.setdefault((effect.slot, effect.fencing), host.path)
            if other != host.path and self._promised():
                self.say(f"{other} and {host.path} both had lease {effect.fencing} of {effect.slot}")
            guard = host.guards.get(effect.slot)
            if guard is None or guard.number != effect.fencing or guard.until_s <= host.now_s():
                self.say(f"{host.path} starts {effect.slot} before its guard knows")


CHECKERS: tuple[type[Checker], ...] = (Reasons, Signed, Believed, Bounded, Moves, Alone, Claims, OneHolder)


class Watchers:
    """All checkers of one life, told by the cluster."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.checkers = [kind(life) for kind in CHECKERS]
        self._of_effects = [c.effect for c in self.checkers if type(c).effect is not Checker.effect]
        self._of_records = [c.record for c in self.checkers if type(c).record is not Checker.record]
        cluster = life.cluster
        cluster.watchers.append(self._effect)
        cluster.believers.append(self._record)
        cluster.booters.append(self._booted)
        cluster.clock.after(1.0, self._tick)

    def of(self, kind: type[C]) -> C:
        return next(checker for checker in self.checkers if isinstance(checker, kind))

    def wrong(self) -> list[str]:
        return [what for checker in self.checkers for what in checker.wrong]

    def _effect(self, machine: Machine, effect: do.Effect) -> None:
        if type(effect) is not do.Wake and isinstance(machine, Host) and not machine.captured:
            for tell in self._of_effects:
                tell(machine, effect)

    def _record(self, host: Host, record: Record, source: str) -> None:
        if not host.captured:
            for tell in self._of_records:
                tell(host, record, source)

    def _booted(self, host: Host) -> None:
        if not host.captured:
            for checker in self.checkers:
                checker.booted(host)

    def _tick(self) -> None:
        for checker in self.checkers:
            checker.tick()
        self.life.cluster.clock.after(1.0, self._tick)
