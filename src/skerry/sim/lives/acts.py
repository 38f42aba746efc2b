"""What may happen in a life: each act of a plan is a method here, which says in words what it did."""

from __future__ import annotations

import functools
import random
from typing import TYPE_CHECKING

import msgspec

from skerry.core.intent import App, Node, Policy, Pool, Release, Service, init_of
from skerry.sim import documents as docs
from skerry.sim.lives.host import Host
from skerry.sim.lives.plan import Act, scale
from skerry.sim.lives.renting import NAME
from skerry.sim.machine import Machine
from skerry.sim.scenario import give_image
from skerry.sim.still import Container
from skerry.trust import envelope
from skerry.trust.identity import Signer

if TYPE_CHECKING:
    from skerry.sim.lives.life import Life

MOST_HOSTS = 14


class Acts:
    def __init__(self, life: Life) -> None:
        self.life = life
        self.versions = 0  # of the app's images, so that each deploy brings new ones
        self.stepped = ""  # the host whose wall clock is wrong by much
        self.expelled: set[str] = set()

    def go(self, act: Act) -> None:
        getattr(self, f"do_{act.do}")(act)

    # --- who it is about ----------------------------------------------------------------------------------------------

    def _host(self, number: int, *, on: bool | None = True) -> Host | None:
        """One of the honest hosts that are of the cloud; `on` None: on or off."""
        hosts = [host for host in self.life.members() if on is None or (host.on and not host.paused) == on]
        return hosts[number % len(hosts)] if hosts else None

    def _say(self, what: str) -> None:
        self.life.say(what)

    # --- faults ---------------------------------------------------------------------------------------------------------

    def do_cut_power(self, act: Act) -> None:
        if host := self._host(act.who):
            self._say(f"{_name(host)} loses power")
            host.power_cut()

    def do_boot(self, act: Act) -> None:
        off = [host for host in self.life.members() if not host.on]
        if off:
            host = off[act.who % len(off)]
            self._say(f"{_name(host)} boots")
            host.boot()

    def do_restart_agent(self, act: Act) -> None:
        if host := self._host(act.who):
            self._say(f"the agent of {_name(host)} ends, and starts anew {act.span_s} s later")
            host.end_agent()
            self._boot_later(host, act.span_s)

    def _boot_later(self, host: Host, after_s: float) -> None:
        life = host.life
        self.life.cluster.clock.after(after_s, lambda: host.boot() if not host.on and host.life == life else None)

    def do_kill_container(self, act: Act) -> None:
        host = self._host(act.who)
        if host is not None and host.containers:
            container = sorted(host.containers.values(), key=lambda c: c.id)[act.n % len(host.containers)]
            self._say(f"{container.slot} on {_name(host)} ends")
            host.kill(container.id, (0, 1, 137)[act.n % 3], oom=act.n % 3 == 2)

    def do_part(self, act: Act) -> None:
        names = self.life.names()
        one = {name for i, name in enumerate(names) if act.n >> i & 1}
        self._say(f"{sorted(one)} can't reach the others")
        self.life.cluster.wires.part(one, set(names) - one)

    def do_cut_one_way(self, act: Act) -> None:
        names = self.life.names()
        a, b = names[act.who % len(names)], names[act.other % len(names)]
        if a != b:
            self._say(f"what {a} sends never reaches {b}")
            self.life.wires.cut(a, b)

    def do_heal(self, act: Act) -> None:
        self._say("all wires are whole")
        self.life.cluster.wires.heal()

    def do_pause(self, act: Act) -> None:
        if host := self._host(act.who):
            self._say(f"the agent of {_name(host)} is stopped for {act.span_s} s")
            host.pause(act.span_s, frozen=False)

    def do_freeze(self, act: Act) -> None:
        if host := self._host(act.who):
            self._say(f"all of {_name(host)} stands still for {act.span_s} s")
            host.pause(act.span_s, frozen=True)

    def do_step_clock(self, act: Act) -> None:
        """By much only of one host, and only where enough others know better."""
        host = self._host(act.who, on=None)
        if host is None:
            return
        by_s = (-3600.0, -1.3, -0.4, 0.4, 1.3, 3600.0)[act.n % 6]
        if abs(by_s) > 60:
            if len(self.life.names()) < 3 or self.stepped not in ("", host.path) or self.life.plan.captured:
                return
            self.stepped = host.path
        host.skew_s = by_s
        self._say(f"the clock of {_name(host)} is set to be {by_s} s off")

    def do_lose_records(self, act: Act) -> None:
        """Its database is damaged: it starts anew with the spare copy of who belongs to the cloud."""
        host = self._host(act.who)
        others = [other for other in self.life.members() if other.on and other is not host]
        if host is None or not others:
            return  # then nobody could give back what only it had
        self._say(f"the records of {_name(host)} are damaged, and its agent starts anew")
        host.end_agent()
        self.life.office.loses(host)
        host.lose_records()
        self.life.forgot(host)
        self._boot_later(host, 0.5)

    def do_lose_disk(self, act: Act) -> None:
        """It burns down, at most one does; an operator expels it later on."""
        host = self._host(act.who, on=None)
        if host is None or len(self.life.members()) < 3 or self.life.office.burnt:
            return
        self._say(f"{_name(host)} burns down")
        self.life.office.loses(host)
        host.lose_disk()
        self.life.office.burnt.add(host.path)

    # --- operators ------------------------------------------------------------------------------------------------------

    def _laptop(self, act: Act, *, fresh: bool = True) -> tuple[Host, int] | None:
        """A host to talk to, and which laptop does. Most commands ask first how things stand."""
        host = self._host(act.other)
        if host is None:
            return None
        index = act.who % len(self.life.office.laptops)
        if fresh and act.n % 4:
            self.life.office.refresh(self.life.office.laptops[index], host)
        return host, index

    def sign(self, host: Host, laptop: int, path: str, body: Node | App | Release | Pool | Policy) -> bool:
        why = self.life.office.hand_over(self.life.office.laptops[laptop], host, path, body)
        if why:
            self._say(f"  refused by {_name(host)}: {why}")
        return not why

    def do_refresh(self, act: Act) -> None:
        if found := self._laptop(act, fresh=False):
            host, index = found
            self.life.office.refresh(self.life.office.laptops[index], host)

    def do_deploy(self, act: Act, *, bad: bool = False) -> None:
        if found := self._laptop(act):
            self.deploy(*found, bad=bad)

    def do_deploy_bad(self, act: Act) -> None:
        self.do_deploy(act, bad=True)

    def deploy(self, host: Host, laptop: int, *, bad: bool = False) -> None:
        life, self.versions = self.life, self.versions + 1
        word = f"{'bad' if bad else 'v'}{self.versions}"
        self._say(f"laptop {laptop + 1} deploys {word} at {_name(host)}")
        images = {service: f"{service}{word}" for service in life.services}
        if bad:
            life.cluster.bad_life |= {("", image): 0.1 for image in images.values()}
            life.cluster.bad_health |= {("", image) for image in images.values()}
        if "store" in life.services:
            images[init_of("store")] = f"init{word}"
        for image in images.values():
            give_image(life.cluster, _name(host), image)
        life.office.images |= {docs.image_of(image) for image in images.values()}
        seen = life.office.laptops[laptop].heads
        good = life.good.get(seen["release/shop"].hash, "") if "release/shop" in seen else ""
        if "app/shop" not in seen and not self.sign(host, laptop, "app/shop", self.app(life.services)):
            return
        fits = seen["app/shop"].version if "app/shop" in seen else 1
        digests = {name: docs.image_of(image) for name, image in images.items()}
        if self.sign(host, laptop, "release/shop", Release(images=digests, fits=fits, fallback=good)):
            hash = seen["release/shop"].hash
            life.good[hash] = good if bad else hash
            life.newest = (hash, bad)

    def do_scale(self, act: Act) -> None:
        found, chance = self._laptop(act), random.Random(act.n)
        if found is None:
            return
        service = self.life.services["web"]
        if service.scale is not None:
            changed = msgspec.structs.replace(service, scale=scale(chance))
            words = f"{changed.scale.min} to {changed.scale.max}"  # type: ignore[union-attr]
        else:
            changed = msgspec.structs.replace(service, replicas=1 + act.n % 6)
            words = f"{changed.replicas}"
        self._say(f"laptop {found[1] + 1} wants {words} of web, at {_name(found[0])}")
        services = {**self.life.services, "web": changed}
        if self.sign(*found, "app/shop", self.app(services)):
            self.life.services = services

    def app(self, services: dict[str, Service]) -> App:
        return App(services=dict(services), volumes={"data": False}, pools=(NAME,) if self.life.plan.keepers else ())

    def do_change_voters(self, act: Act) -> None:
        host = self._host(act.who)
        if host is not None and self.life.voting is not None:
            self.life.voting.change(host, act.n)

    def do_to_the_holder(self, act: Act) -> None:
        """Something happens to who runs an exclusive slot."""
        holders = [
            h for h in self.life.members() if h.on and not h.paused and any(map(_is_leased, h.containers.values()))
        ]
        if not holders:
            return
        host = holders[act.who % len(holders)]
        what = ("power", "agent", "stop", "freeze", "part", "out", "in")[act.n % 7]
        self._say(f"{_name(host)} holds an exclusive slot: {what}")
        others = [name for name in self.life.names() if name != _name(host)]
        if what == "power":
            host.power_cut()
        elif what == "agent":
            host.end_agent()
            self._boot_later(host, act.span_s)
        elif what in ("stop", "freeze"):
            host.pause(act.span_s, frozen=what == "freeze")
        elif what == "part":
            self.life.cluster.wires.part({_name(host)}, set(others))
        for other in others if what in ("out", "in") else ():
            self.life.wires.cut(*((_name(host), other) if what == "out" else (other, _name(host))))

    def do_cut_provider(self, act: Act) -> None:
        """A keeper doesn't reach it for a while."""
        host, rented = self._host(act.who), self.life.rented
        if host is not None and rented is not None:
            self._say(f"{_name(host)} does not reach the provider for {act.span_s} s")
            rented.provider.cut.add(host.path)
            self.life.cluster.clock.after(act.span_s, lambda: rented.provider.cut.discard(host.path))

    def do_forget_machine(self, act: Act) -> None:
        """A machine with our tag that nobody knows of."""
        if self.life.rented is not None:
            self._say("a forgotten machine bears our tag")
            self.life.rented.provider.add(f"{NAME}/7" if act.n % 2 else "", ours=True)

    def do_set_pool(self, act: Act) -> None:
        found = self._laptop(act)
        if found is not None and self.life.rented is not None:
            self._say(
                f"laptop {found[1] + 1} says that the pool has {act.n % 4} machines at most, at {_name(found[0])}"
            )
            self.life.rented.sign(*found, max=act.n % 4)

    def do_tide(self, act: Act) -> None:
        level = (0, 10, 60, 130, 260, 1000)[act.n % 6]
        for name, service in self.life.services.items():
            if service.scale is not None:
                self._say(f"{level} connections to {name}")
                self.life.cluster.loads["shop", name] = functools.partial(lambda level, now_s: level, level)

    def do_drain(self, act: Act) -> None:
        self._set_state(act, "draining")

    def do_undrain(self, act: Act) -> None:
        self._set_state(act, "active")

    def _set_state(self, act: Act, state: str) -> None:
        found, of = self._laptop(act), self._host(act.n, on=None)
        if found is not None and of is not None:
            self._say(f"laptop {found[1] + 1} says at {_name(found[0])} that {_name(of)} is {state}")
            self.set_state(*found, of, state)

    def set_state(self, host: Host, laptop: int, of: Host, state: str) -> bool:
        held = host.trusted.document(of.path)
        if held is None or not isinstance(held.body, Node):
            return False
        if state == "expelled":  # in the very moment others may take its slots and give up its data
            self.life.expelled(of)
        if self.sign(host, laptop, of.path, msgspec.structs.replace(held.body, state=state)):
            return True
        self.life.readmitted(of)
        return False

    def do_expel(self, act: Act) -> None:
        """One that works, and is cut off: what it ran is run elsewhere, and its data is given up. It is never admitted again."""
        found, of = self._laptop(act), self._host(act.n, on=None)
        if found is None or of is None or of is found[0] or len(self.life.members()) < 4:
            return
        self._say(f"laptop {found[1] + 1} expels {_name(of)}, at {_name(found[0])}")
        self.set_state(*found, of, "expelled")

    def do_enrol(self, act: Act) -> None:
        found, life = self._laptop(act), self.life
        if found is None or len(life.cluster.machines) >= MOST_HOSTS:
            return
        host, laptop = found
        name = f"vps-{len(life.cluster.machines) + 1}"
        document = docs.node(name)
        assert isinstance(document.body, Node)
        self._say(f"laptop {laptop + 1} enrols {name}, at {_name(host)}")
        if not self.sign(host, laptop, document.path, life.cluster.operator.enrol(document.path, document.body)):
            return
        self.add(name, host).boot()

    def add(self, name: str, giver: Host, *, signer: Signer | None = None, boots: int = 0) -> Host:
        """As `host add` sets it up: it is given who belongs to the cloud, and will ask for the rest once it boots."""
        machine: Machine = self.life.cluster.add(name)
        assert isinstance(machine, Host)
        machine.signer, machine.boots, machine.life = signer or machine.signer, boots, 100 * boots
        self.life.forgot(machine)
        for raw in giver.door.members():
            hash = envelope.parse(raw).hash
            record = giver.trusted.named(hash)
            if record is not None and giver.trusted.heads().get(record.path, ("", "", ""))[2] != hash:
                machine.records.keep(hash, raw)
        for path, head in giver.trusted.heads().items():
            raw_held = giver.records.get(path)
            if path.partition("/")[0] in ("root", "policy", "node") and raw_held is not None:
                machine.records.put(path, raw_held, hash=str(head[2]), sync=True)
        machine.new = True
        return machine


def _is_leased(container: Container) -> bool:
    return bool(container.fencing and container.running)


def _name(machine: Machine) -> str:
    return machine.path.removeprefix("node/")
