"""One agent put together: which room is handed to which. Read this to see what knows what on a host."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
from collections.abc import Callable
from typing import Any

import msgspec

import skerry
from skerry.agent import newcomer, upgrade
from skerry.agent.alerts.delivering import Alerts
from skerry.agent.auditing import Auditing
from skerry.agent.clock import Clock
from skerry.agent.containers import Containers
from skerry.agent.debugging.cores import cores_of
from skerry.agent.debugging.kits import Kits
from skerry.agent.debugging.sessions import Debugging
from skerry.agent.door import Door
from skerry.agent.ends import Overtaken, expelled
from skerry.agent.figures import Figures
from skerry.agent.files import HostFiles, NotJoined
from skerry.agent.guarding.guarded import Guarded
from skerry.agent.host import Parts
from skerry.agent.images.budget import ImageBudget
from skerry.agent.images.bundles import Bundles, Versions
from skerry.agent.images.fetch import Fetcher
from skerry.agent.images.giving import Giving
from skerry.agent.images.parts import FileParts
from skerry.agent.images.stock import Stocks
from skerry.agent.images.uploads import Uploads
from skerry.agent.images.vetting import Vetting
from skerry.agent.leases.carrying import LeasesHere
from skerry.agent.links import Links
from skerry.agent.logs.keeping import LogKeeping
from skerry.agent.logs.shipping import Shipping
from skerry.agent.looking.beginnings import Beginnings
from skerry.agent.looking.crashes import crashes_of, taking
from skerry.agent.loop import Author, Loop, Routes
from skerry.agent.metrics.joined import metrics_of
from skerry.agent.metrics.keeping import Metrics
from skerry.agent.renting.enrolling import Enrolling
from skerry.agent.renting.enrolments import Enrolments
from skerry.agent.renting.keeper import Keeper
from skerry.agent.serve import Server
from skerry.agent.streams import Streams
from skerry.agent.upkeep import Upkeep
from skerry.agent.volumes import Volumes
from skerry.agent.waking.leading import Activators, led
from skerry.core import effects as do
from skerry.core.events import Booted, Event, ProbeAnswered, RecordAccepted
from skerry.core.facts import FactBody, Up
from skerry.core.gossip import Gossip, heads_digest
from skerry.core.intent import Node
from skerry.core.node import NodeCore
from skerry.core.records import Fact, MachineSlot, Slot
from skerry.errors import SkerryError
from skerry.image.trees import Images
from skerry.mesh.links import Mesh, PeerAddress
from skerry.net.network import Network
from skerry.net.tunnel import TunnelPeer
from skerry.observe.events import EventLog
from skerry.observe.host import read_host
from skerry.observe.probes import Prober
from skerry.runtime.contract import Runtime
from skerry.store.disk import Reserve
from skerry.store.objects import ObjectStore
from skerry.store.records import RecordStore
from skerry.trust import seal
from skerry.trust.accept import Trusted
from skerry.trust.documents import sign_fact
from skerry.trust.identity import Signer

EVENTS_MAX_BYTES = 8 << 20
RESERVED_BYTES = 128 << 20  # of a host's memory: the system and the agent


class Agent:
    """All rooms of one host, joined. `start` brings it to life, `close` ends it; containers outlive it."""

    def __init__(self, files: HostFiles, parts: Parts) -> None:
        membership = files.membership()
        if membership is None:
            raise NotJoined("the agent can't run", f"{files.state} belongs to no cloud", "join it: skerry host add")
        self.me = membership.node
        self.files = files
        self.parts = parts
        reserve = Reserve(files.state)
        reserve.use()  # before anything is written
        self.clock = Clock(files.state)
        self.events = EventLog(files.state / "events", EVENTS_MAX_BYTES, now=self.clock.wall_s)
        self.records = RecordStore(
            files.state,
            on_damage=lambda damage: self.loop.fail(damage),
            on_waiting=lambda: self.upkeep.flush_soon(),
        )
        self.objects = ObjectStore(files.state, on_damage=self._damaged)
        self.images = Images(self.objects, files.images, spare_bytes=lambda: self.budget.spare_bytes())
        self.boot = self.records.next_boot()
        self.trusted = Trusted(membership.cloud)
        self.gossip = Gossip(self.me)
        self.loop = Loop(NodeCore(), together=self.records.together)
        self.signer = Signer(files.seed("signing"))
        self.door = Door(
            self.trusted,
            self.records,
            self.gossip,
            wall_s=self.clock.wall_s,
            now_s=self.loop.now_s,
            post=self._accepted,
            send=lambda sends: self.links.carry(sends),
            report=self.events.append,
        )
        self.author = Author(self._sign, self.boot, self.clock.wall_s, self.door.offer, self.loop.post)
        self.auditing = Auditing(self)
        self.alerts = Alerts(self)
        self.streams = Streams(self)
        self.debugging = Debugging(self)
        self.mesh = Mesh(
            self.me,
            files.certificate,
            files.private_pem(),
            files.state / "keys",
            on_link=lambda *change: self.links.changed(*change),
            on_frame=lambda peer, data: self.links.heard(peer, data),
            handlers=self.streams.handlers(),
        )
        self.bundles = Bundles(self.objects, self.mesh, self.loop.spawn, spare_bytes=lambda: self.budget.spare_bytes())
        self.links = Links(
            self.mesh,
            self.gossip,
            self.door,
            now_s=self.loop.now_s,
            wall_s=self.clock.wall_s,
            post=self.loop.post,
            note=self.events.append,
            spawn=self.loop.spawn,
            soon=lambda act: asyncio.get_running_loop().call_soon(act),
            bundle=self.bundles.heard,
        )
        self.vetting = Vetting(files.lint, self.images, self.objects, self.loop.post)
        self.stocks = Stocks(self.images, self.objects, FileParts(files.state / "parts"))
        self.versions = Versions(self.trusted)
        self.fetcher = Fetcher(
            self.me,
            self.images,
            files.images,
            self.stocks,
            self.bundles,
            self.mesh,
            self.vetting,
            self.loop.post,
            bases=lambda image: self.versions.here(image, self.images.held()),
            tell=self.links.tell,
        )
        self.giving = Giving(self.stocks, self.bundles, self.fetcher.met)
        self.budget = ImageBudget(
            files.state,
            self.images,
            self.fetcher.fetch,
            post=self.loop.post,
            signed_bytes=self._signed_budget,
            note=self.events.append,
        )
        self.uploads = Uploads(
            self.images, self.stocks, self.bundles, missing=self.budget.missing, ready=self._came_whole
        )
        self.kits = Kits(self.trusted, self.loop)
        self.upkeep = Upkeep(
            self.me,
            files.state,
            self.records,
            self.door,
            self.images,
            reserve,
            wall_s=self.clock.wall_s,
            post=self.loop.post,
            note=self.events.append,
        )
        self.prober: Prober[Slot] = Prober(self._probed, on_asked=lambda *told: self.metrics.probed(*told))
        self.waking: Activators
        self.enrolments = Enrolments(self)
        self.enrolling = Enrolling(self, self.enrolments)
        self._targets: dict[str, str] = {}  # container address -> node, of the routes in force
        self.runtime: Runtime  # these five need to wait or to know the enrolment: made by `start`
        self.network: Network
        self.containers: Containers
        self.metrics: Metrics
        self.volumes = Volumes(files.volumes)
        self.logs = LogKeeping(files.kept_logs)
        self.crashes, self.cores = crashes_of(self), cores_of(self)
        self.server: Server

    def _probed(self, slot: Slot, node: str, spec: str, ok: bool, detail: str) -> None:
        lines = self.containers.last_lines_of(slot, spec) if node == self.me and not ok else ""
        self.loop.post(ProbeAnswered(slot, node, spec, ok, detail, lines))

    async def start(self) -> None:
        """Core learns what the disk holds before it decides anything; links open last, when all can be carried out."""
        self.loop.begin()
        memory_bytes = self.parts.memory_bytes or read_host(self.files.state).memory.total_bytes - RESERVED_BYTES
        cpus, now_s, new = len(os.sched_getaffinity(0)), self.clock.wall_s(), newcomer.is_new(self)
        self.loop.post(Booted(self.me, self.boot, cpus, memory_bytes, skerry.__version__, now_s, new))
        self.door.load()
        if self.trusted.enrolled(self.me) is None:
            self.door.load_spare(self.upkeep.spare_members())
        if self.loop.broken.done():
            self.loop.broken.result()
        enrolment = self.trusted.enrolled(self.me)
        if enrolment is None and self.me in self.trusted.nodes:
            raise expelled(self.me)
        if enrolment is None:
            raise NotJoined("the agent can't run", f"no enrolment of {self.me} is here", "run skerry host add again")
        if self.records.damaged is not None:
            self.events.append("host", self.me, str(self.records.damaged))
        self.runtime = await self.parts.runtime(self.files)
        self.network = self.parts.network(self.files, enrolment)
        for line in await self.network.start():
            self.events.append("host", self.me, line)
        self.routes = Routes(self._route, self._others_told)
        self.waking = Activators(
            self.files.run,
            self.network.holder,
            upgrade.version_here(),
            post=self.loop.post,
            note=self.events.append,
            why=lambda slot: self.loop.core.explain(slot).awaits,
        )
        await self.waking.start()
        self.beginnings = Beginnings(self.files.beginnings)
        self.leases = LeasesHere(self.me, self.files.run, self.loop)
        guarded = Guarded(
            self.files.run,
            begin=self.parts.guard,
            cgroup=self.parts.cgroup_path,
            wire=self.network.host_end,
            note=self.events.append,
            now_s=self.loop.now_s,
        )
        self.containers = Containers(
            self.runtime,
            self.network,
            self.images,
            self.volumes,
            self.beginnings,
            guarded,
            scratch=self.files.scratch,
            boot=self.boot,
            post=self.loop.post,
            environment=self._environment,
            routed=self.routes.settled,
            crashed=taking(self),
            leaves_cores=self.cores.begins,
            leases=self.leases.doors,
        )
        self.metrics = metrics_of(self)
        self.figures = Figures(
            self.network,
            running=self.containers.addresses,
            cpu_s=self.metrics.sampler.cpu_s,
            subnets=self._subnets,
            wall_s=self.clock.wall_s,
            post=self.loop.post,
            spawn=self.loop.spawn,
            held=self.waking.passing,
            told=self.metrics.latest,
        )
        self.server = Server(self)
        self.loop.carriers = {**self._carriers(), do.Guard: guarded.carry}
        for image in self.images.held():
            with contextlib.suppress(SkerryError, OSError):  # one that can't be judged isn't here: it is fetched again
                await self.vetting.ready(image, self.images.age_s(image, self.clock.wall_s()))
        await self.containers.adopt()
        self.logs.begin(self.runtime)
        for work in (
            Shipping(self, self.logs.store, self._environment).run(),
            self.containers.watch_exits(),
            self.routes.run(),
            self.links.tick(),
            self._look(),
            self.upkeep.read_images(),
            self.upkeep.watch_clock(),
            self.enrolling.keep(),
            self.auditing.run(),
        ):
            self.loop.spawn(work)
        await self.mesh.serve(self.parts.address, self.parts.port)
        self.loop.live()
        self.waking.known()
        self.loop.spawn(self.network.begin_fence())
        if why := upgrade.turned_back(self.files.run):
            self.events.append("agent", self.me, why)
        if newcomer.is_new(self):
            self.loop.spawn(newcomer.compare(self))
        self.events.append("agent", self.me, f"started: skerry {skerry.__version__}, start {self.boot} of this host")

    async def close(self) -> None:
        """Containers, rules and tunnel run on."""
        await self.loop.close()
        await self.prober.close()
        await self.mesh.close()
        await self.debugging.close()
        if hasattr(self, "leases"):
            self.leases.doors.shut()
        if hasattr(self, "waking"):
            await self.waking.close()
        if hasattr(self, "network"):
            await self.network.close()
        await asyncio.to_thread(self.logs.close)
        if hasattr(self, "runtime"):
            await self.runtime.close()
        if hasattr(self, "metrics"):
            self.metrics.close()
        self.records.close()
        self.events.close()

    def health(self) -> dict[str, Any]:
        """Of this agent alone, for `status` and `doctor`."""
        disk = read_host(self.files.state)
        return {
            "node": self.me,
            "version": skerry.__version__,
            "bundle": upgrade.version_here(),
            "trial": upgrade.read_trial(self.files.run) is not None,
            "turned_back": upgrade.turned_back(self.files.run),
            "start": self.boot,
            "time": self.clock.wall_s(),
            "neighbours": sorted(self.mesh.neighbours()),
            "containers": self.containers.count(),
            "disk_free_bytes": disk.disk_free_bytes,
            "images": self.budget.figures(),
            "load": disk.load[0],
            "cores_unkept": self.cores.unkept,
        }

    async def upgrade(self, limit_s: float) -> str:
        """Have another agent take over: the one whose bundle our enrolment names. Gives its version, "" if it is ours."""
        enrolment = self.trusted.enrolled(self.me)
        digest = enrolment.bundle.removeprefix("sha256:") if enrolment is not None else ""
        if not digest:
            raise upgrade.NoBundleHere("the agent was not replaced", "its enrolment names no bundle", "skerry host add")
        linked = bool(self.mesh.neighbours())
        archive = self.objects.path(digest)
        version = await asyncio.to_thread(upgrade.begin, self.files, archive, digest, linked=linked, limit_s=limit_s)
        if not any(pool.bundle == digest for pool in self.enrolments.pools().values()):
            self.objects.remove(digest)
        if version:
            self.events.append("agent", self.me, f"trying agent {version} for {limit_s:.0f} s")
        return version

    async def _look(self) -> None:
        """Runs for ever: what nobody tells us of. One wake-up for all of it, as an idle host has little else to do."""
        self.upkeep.begin()
        while True:
            self.metrics.sample()
            self.upkeep.look_at_disk()
            self.enrolments.renew()
            for each in (self.alerts, self.crashes, self.cores, self.links.complaints):
                each.look()
            if self.budget.look():
                self.loop.spawn(self.budget.keep())
            await self.metrics.next_second()

    def _carriers(self) -> dict[type[do.Effect], Callable[[Any], Any]]:
        return {
            do.Publish: self.author.publish,
            do.Fetch: self.budget.fetch,
            do.Forget: self.budget.forget,
            do.MayGo: self.budget.may_go,
            do.Start: self.containers.start,
            do.Stop: self.containers.stop,
            do.Watch: lambda e: self.prober.watch(e.slot, e.node, e.spec, e.address, e.probe, e.own),
            do.Unwatch: lambda e: self.prober.unwatch(e.slot, e.node, e.spec),
            do.Route: self._route_wanted,
            do.Fence: lambda e: self.network.fence(e.refused),
            do.Measure: self.figures.measure,
            do.SendAlert: self.alerts.send,
            do.Peers: self._peers,
            do.ProbePeer: lambda e: self.links.ask_reach(e.peer, e.via),
            do.Note: lambda e: self.events.append(e.kind, e.subject, e.reason) and None,
            **Keeper(self).carriers(),
            **self.leases.carriers(),
        }

    async def _came_whole(self, image: str) -> None:
        """An operator has handed all of it over."""
        await self.fetcher.make(image)
        self.loop.spawn(self.budget.keep())

    def _signed_budget(self) -> int:
        enrolment = self.trusted.enrolled(self.me)
        return enrolment.image_budget_bytes if enrolment is not None else 0

    def _damaged(self, hash: str) -> None:
        """Found on whatever thread read the object."""
        self.loop.call(lambda: self.loop.spawn(self.upkeep.doubt(hash)))

    def _accepted(self, event: Event) -> None:
        """Who may open streams follows root and policy at once; everything else is core's to decide.

        Once we are expelled nothing is: nobody believes us, and what runs here is for whoever takes the host back.
        """
        if isinstance(event, RecordAccepted):
            record = event.record
            if record.kind in ("root", "policy"):
                self.mesh.set_clients(self.trusted.client_certificates())
            if record.kind in ("policy", "pool"):
                self.enrolling.changed()
            self.auditing.heard(event)
            if isinstance(record, Fact) and record.node == self.me and record.seq > self.author.newest:
                # What we say would be refused as old by all who heard us then: the agent begins anew, above that life.
                self.records.start_after(record.seq[0])
                self.loop.end(Overtaken(self.me, record.seq[0], self.boot))
                return
        if self.loop.is_live and self.trusted.enrolled(self.me) is None:
            self.loop.end(expelled(self.me))
            return
        self.loop.post(event)

    async def _peers(self, effect: do.Peers) -> None:
        self.mesh.set_peers(
            {
                p.node: PeerAddress(base64.b64decode(p.certificate), p.addresses, p.node in effect.dial)
                for p in effect.peers
            }
        )
        await self.network.set_peers(
            TunnelPeer(public_key=p.wireguard, endpoints=p.addresses, subnet=p.subnet) for p in effect.peers
        )

    def _route_wanted(self, effect: do.Route) -> None:
        """Who waits for a service is led there at once; the rules, for those who come later, take some milliseconds more."""
        self.waking.tell(effect.dormant, self.network.stand_in)
        self.routes.carry(effect)

    async def _others_told(self) -> None:
        """An agent that has just started takes nobody else for alive yet: what an earlier one led to them stays until it does.

        Else each restart would refuse, for as long as a link takes, who comes to this host for what runs on another.
        """
        self.figures.routed(self.network.leads)
        while self.network.leads and (rest_s := self.loop.core.awake_s() - self.loop.now_s()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(rest_s, 60.0)):
                    await self.loop.stepped()

    def _subnets(self) -> tuple[str, list[str]]:
        """This host's containers' network, and those of all hosts."""
        nodes = {path: held.body for path, held in self.trusted.nodes.items() if isinstance(held.body, Node)}
        return nodes[self.me].subnet, [node.subnet for node in nodes.values()]

    async def _route(self, effect: do.Route) -> None:
        """After the rules are replaced, flows to a host that is gone are cut: clients fail now, not at their time-out."""
        await self.waking.ready()
        names, asleep = led(dict(effect.names), effect.dormant, self.network.stand_in)
        await self.network.route(effect.ports, names, asleep, effect.members)
        self.figures.routed(effect.ports)
        self.network.free_stand_ins({of.name for of in effect.dormant})
        targets = {t.address: t.node for _, some in effect.ports for t in some}
        linked = {self.me, *self.mesh.neighbours()}
        gone = [a for a, node in self._targets.items() if a not in targets and node not in linked]
        self._targets = targets
        if gone:
            await self.network.forget(gone)

    def _sign(self, kind: str, key: str, seq: tuple[int, int], time_s: float, body: FactBody | None) -> bytes:
        if isinstance(body, Up):
            heads = heads_digest({path: head[2] for path, head in self.trusted.heads().items()})
            body = msgspec.structs.replace(body, heads=heads, clock=time_s)
        return sign_fact(self.signer, self.trusted.cloud, self.me, kind, key, seq, time_s, body)

    def _environment(self, app: str, sealed: dict[str, str]) -> dict[str, str]:
        if not sealed:
            return {}
        own = self.files.seed("sealing")
        enrolment = self.trusted.enrolled(self.me)
        if MachineSlot.of_path(self.me) is not None and enrolment is not None:
            return seal.open_values(seal.machine_key(own, app, enrolment), sealed)
        return seal.open_environment(own, self.me, self.trusted.document(f"secret/{app}"), sealed)
