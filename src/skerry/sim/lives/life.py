"""One life of one cloud, as its plan says: it begins, things happen, there is peace, and then it has to be as it should be.

`run` gives what was wrong, in sentences; none is good. `log` tells what was done and what hosts did about it.
"""

from __future__ import annotations

import functools
import traceback
from collections import Counter
from typing import cast

import msgspec

from skerry.core import effects as do
from skerry.core.intent import Release
from skerry.core.records import MachineSlot, Slot
from skerry.sim import documents as docs
from skerry.sim.lives import ending
from skerry.sim.lives.acts import Acts
from skerry.sim.lives.host import Host, LiveCluster
from skerry.sim.lives.hostile import Hostile
from skerry.sim.lives.office import Office
from skerry.sim.lives.plan import ACTS_S, Plan
from skerry.sim.lives.renting import TIMING, Rented
from skerry.sim.lives.tokens import signatures
from skerry.sim.lives.voting import Voting
from skerry.sim.lives.watching import Believed, Reasons, Watchers
from skerry.sim.lives.wires import OneWayWires
from skerry.sim.machine import CLOCK_AT_ZERO
from skerry.sim.scenario import give_image
from skerry.sim.signing import Operator
from skerry.trust import envelope

LOOK_S = 12.0
QUIET_S = 150.0  # bars double: what failed a few times while the cloud was in pieces needs this long at most
LIES_S = 46.0  # quiet but for captured hosts; a death shows after 40 s without their vote
STILL_S = 24.0  # and in so long nothing happens any more
SPREAD_S = 15.0  # images, before machines are gone for good
REBOOT_S = 45.0


class Life:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.log: list[str] = []
        self.services = dict(plan.services)
        self.good: dict[str, str] = {}  # release's hash -> hash of the one to turn back to after it
        self.newest = ("", False)
        self.out: set[str] = set()  # machines that are expelled or captured
        self.captured: set[str] = set()
        self.held_when_captured: set[Slot] = set()
        self.ever_hostile = bool(plan.captured)
        self.voting: Voting | None = None

    def run(self) -> list[str]:
        with signatures(real=self.plan.real):
            self.begin()
            self._happen()
            self._peace()
            return self._look()

    # --- what acts ask ---------------------------------------------------------------------------------------------------

    def say(self, what: str) -> None:
        self.log.append(f"{self.cluster.clock.now_s:7.2f} {what}")

    def members(self) -> list[Host]:
        """Honest fixed hosts that are of the cloud, on or off."""
        return [h for h in self._of_the_cloud() if MachineSlot.of_path(h.path) is None]

    def honest(self) -> list[Host]:
        """Those of them that are on, and machines of pools."""
        return [h for h in self._of_the_cloud() if h.core is not None]

    def _of_the_cloud(self) -> list[Host]:
        return [h for h in self.cluster.hosts() if h.path not in self.out and h.path not in self.office.burnt]

    def names(self) -> list[str]:
        return [path.removeprefix("node/") for path in self.cluster.machines]

    @property
    def wires(self) -> OneWayWires:
        return cast(OneWayWires, self.cluster.wires)

    def forgot(self, host: Host) -> None:
        self.watchers.of(Believed).forget(host)

    def expelled(self, host: Host) -> None:
        self.out.add(host.path)
        self.watchers.of(Reasons).of_effects.given_up.add(host.path)

    def readmitted(self, host: Host) -> None:
        """Its expulsion was refused."""
        if host.path not in self.captured:
            self.out.discard(host.path)
        self.watchers.of(Reasons).of_effects.given_up.discard(host.path)

    # --- the life --------------------------------------------------------------------------------------------------------

    def begin(self, *, deploy: bool = True) -> None:
        """Hosts boot and link; then the first deploy."""
        plan = self.plan
        operator = Operator(CLOCK_AT_ZERO)
        self.cluster = LiveCluster(plan.seed, plan.world, TIMING if plan.keepers else None, operator, OneWayWires)
        self.office = Office(self.cluster, plan.laptops)
        self.watchers = Watchers(self)
        self.acts = Acts(self)
        self.rented: Rented | None = None
        enrolments = [docs.node(f"vps-{i}") for i in range(1, plan.nodes + 1)]
        first = operator.first | {d.path: operator.sign(d, prev="", issued=CLOCK_AT_ZERO - 40) for d in enrolments}
        self.office.signed |= {envelope.parse(raw).hash for raw in first.values()}
        for i in range(1, plan.nodes + 1):
            host = cast(Host, self.cluster.add(f"vps-{i}"))
            host.rate = plan.rates[i - 1] if plan.rates else 1.0
            for path, raw in first.items():
                host.records.put(path, raw, hash=envelope.parse(raw).hash, sync=True)
            host.boot()
        self.cluster.run(self.plan.age_s)
        for laptop in self.office.laptops:
            self.office.refresh(laptop, self.honest()[0])
        if plan.keepers:
            self.rented = Rented(self)
            self.rented.sign(self.honest()[0], 0)
        if plan.voters:
            self.voting = Voting(self)
            self.voting.begin(self.honest()[0])
        if deploy:
            self.acts.deploy(self.honest()[0], 0)
            self.cluster.run(5.0)

    def _happen(self) -> None:
        begun_s = self.cluster.clock.now_s
        for act in self.plan.acts:
            self.cluster.clock.at(begun_s + act.at_s, functools.partial(self.acts.go, act))
        if self.plan.captured:
            self.cluster.clock.at(begun_s + 0.6 * ACTS_S, self._capture)
        self.cluster.run(ACTS_S)

    def _capture(self) -> None:
        """The last ones of the list are taken, so that leaving acts out changes little."""
        for host, tricks in zip(reversed(self.members()), self.plan.captured, strict=False):
            if len(self.captured) + 1 > max(1, (len(self.members()) - 1) // 2):
                return
            if not host.on or host.paused:
                host.wake()
                if not host.on:
                    host.boot()
            self.say(f"{host.path} is captured: {', '.join(tricks)}")
            for row in host.core.rows() if host.core is not None else ():
                if f"node/{row.node}" == host.path or host.path in row.claims:
                    self.held_when_captured.add(Slot.parse(row.slot))
            self.office.loses(host)
            host.ever_captured = True
            self.captured.add(host.path)
            self.out.add(host.path)
            Hostile(self, host, tricks)

    def _peace(self) -> None:
        """All is whole again; but some machines may be gone for good (design section 7, sentence 4)."""
        self.say("peace")
        self.cluster.wires.heal()
        for host in self.members():
            host.wake()
        self.cluster.run(1.0)
        for host in self.members():
            if not host.on:
                host.boot()
        self._lose_some()
        self.cluster.run(5.0)
        if self.rented is not None:
            self.rented.peace()
            self.cluster.run(self.rented.provider.revive_after_s or 0.0)
        self._mend()

    def _lose_some(self) -> None:
        """Once images had the time to spread: each is on three, one of which has to live."""
        members = self.members()
        most = min(self.plan.gone, (len(members) - 1) // 2, 1 if self.office.burnt or self.captured else 2)
        if most > 0:
            self.cluster.run(SPREAD_S)
        for host in members[:most]:
            self.say(f"{host.path} is gone")
            host.power_cut()

    def _mend(self) -> None:
        """What an operator does who looks: drained hosts are let back, burnt ones expelled, bad versions replaced."""
        if not self.honest():
            return
        via, laptop = self.honest()[0], self.office.laptops[0]
        self.office.refresh(laptop, via)
        for path in sorted(self.office.burnt - self.out):
            if self.acts.set_state(via, 0, self.cluster.host(path), "expelled"):
                self.say(f"{path} is expelled")
        for host in self.members():
            held = via.trusted.document(host.path)
            if held is not None and getattr(held.body, "state", "") == "draining":
                self.acts.set_state(via, 0, host, "active")
        if self.rented is not None:  # all that is wanted has room without the pool, which is to be empty
            web = msgspec.structs.replace(
                self.services["web"], replicas=max(1, sum(host.on for host in self.members()))
            )
            self.services["web"] = web
            self.acts.sign(via, 0, "app/shop", self.acts.app(self.services))
            self.rented.sign(via, 0, max=0)
        if self.voting is not None:
            self.voting.settle(via)
        held = via.trusted.document("release/shop")
        body = held.body if held is not None else None
        if not isinstance(body, Release):
            self.acts.deploy(via, 0)
            return
        bad = any("bad" in docs.word_of(image) for image in body.images.values())
        if bad and (not body.fallback or self.plan.gone or self.office.burnt or self.plan.captured):
            self.acts.deploy(via, 0)
            return
        for image in body.images.values():
            if not any(image in host.images for host in self.honest()):
                self.say("an image of the newest release is nowhere: it is deployed again")
                give_image(self.cluster, via.path.removeprefix("node/"), docs.word_of(image))

    # --- looking ----------------------------------------------------------------------------------------------------------

    def _look(self) -> list[str]:
        wrong: list[str] = []
        if self.captured:
            self.cluster.run(LIES_S)
            if len(self.captured) == 1:
                wrong += ending.served_beside_a_liar(self)
            self._expel_the_captured()
        wrong += self._always()
        if wrong:
            return wrong
        wrong = self._quiet()
        if not wrong and self.plan.reboot and not self.captured:
            wrong = self._reboot()
        return wrong

    def _quiet(self) -> list[str]:
        """Until all is as wanted and nothing is done for some time; that has to come within QUIET_S."""
        until_s, still_s = self.cluster.clock.now_s + QUIET_S * (2 if self.rented is not None else 1), 0.0
        while True:
            since, frames = len(self.cluster.history), self.wires.frames
            self.cluster.run(LOOK_S)
            wrong = ending.all_as_wanted(self) or ending.busy(self, since)
            wrong = wrong or (self.rented.left() if self.rented is not None else [])
            wrong = wrong or ending.few_messages(self, self.wires.frames - frames, LOOK_S)
            still_s = 0.0 if wrong else still_s + LOOK_S
            if still_s >= STILL_S or self.cluster.clock.now_s >= until_s:
                return [*wrong, *self._always()]

    def _always(self) -> list[str]:
        return [*self.watchers.wrong(), *self.office.wrong, *(self.rented.wrong() if self.rented is not None else ())]

    def _expel_the_captured(self) -> None:
        via, laptop = self.honest()[0], self.office.laptops[0]
        for path in sorted(self.captured):
            self.office.refresh(laptop, via)
            self.say(f"{path} is expelled")
            self.acts.set_state(via, 0, self.cluster.host(path), "expelled")
        if self.voting is not None:
            self.cluster.run(5.0)
            self.voting.settle(via)

    def _reboot(self) -> list[str]:
        """All power goes at once and comes back by and by: nothing starts twice and nothing moves."""
        self.say("all power goes")
        hosts = self.honest()
        held = ending.holders(hosts)
        before: Counter[Slot] = Counter(self.watchers.of(Reasons).of_effects.starts)
        for host in hosts:
            host.power_cut()
        for number, host in enumerate(hosts):
            self.cluster.clock.after(1.5 * number % 7, host.boot)
        self.cluster.run(REBOOT_S)
        now = self.watchers.of(Reasons).of_effects.starts
        return [*ending.started_once(self, held, before, now), *ending.all_as_wanted(self), *self._always()]

    def story(self) -> list[str]:
        """What hosts said that they did, between what was done to them."""
        notes = [
            f"{h.at_s:7.2f}   {h.node.removeprefix('node/')} {h.effect.kind} {h.effect.subject}: {h.effect.reason}"
            for h in self.cluster.history
            if isinstance(h.effect, do.Note)
        ]
        return sorted([*self.log, *notes], key=lambda line: float(line[:7]))


def run(plan: Plan) -> tuple[list[str], Life]:
    life = Life(plan)
    try:
        return life.run(), life
    except Exception as error:
        return [f"{type(error).__name__}: {error}", *traceback.format_exception(error)[-4:]], life
