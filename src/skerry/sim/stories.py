"""Stories: text files that say what happens to a simulated cloud, and the transcript that it must give.

A line that begins with `> ` is a command, one that begins with `#` is prose; what stands between is what the cloud told since
the command before it. `tell` runs the commands and gives the whole text anew: a test compares, a flag rewrites.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Literal

import msgspec

from skerry.core import effects as do
from skerry.core import events as ev
from skerry.core.alerting.sending import ROUNDS_A_DAY
from skerry.core.intent import (
    Alert,
    CanaryStep,
    Depends,
    Needs,
    Port,
    Probe,
    Receiver,
    Restart,
    Scale,
    Service,
    Silence,
    Update,
    VolumeMount,
    init_of,
)
from skerry.core.records import Document, Slot
from skerry.sim import documents as docs
from skerry.sim.cluster import Cluster
from skerry.sim.machine import CLOCK_AT_ZERO
from skerry.sim.scenario import cluster_of, give_image


def tell(text: str) -> str:
    """The story with the transcript that it gives now."""
    story, lines = _Story(), []
    for line in text.splitlines():
        if line.startswith("> "):
            lines += [line, *(f"  {said}" for said in story.do(line[2:]))]
        elif line.startswith("#") or not line.strip():
            lines.append(line)
    return "\n".join(lines).rstrip() + "\n"


_CONDITIONS: dict[str, Literal["healthy", "completed"]] = {"depends": "healthy", "after": "completed"}


class _Story:
    def __init__(self) -> None:
        self.cluster = Cluster()
        self.services: dict[str, Service] = {}
        self.inits: set[str] = set()  # services with an init image
        self.apps: list[Document] = []
        self.releases: list[Document] = []
        self.versions: dict[str, int] = {}
        self.told = 0

    def do(self, command: str) -> list[str]:
        word, *rest = shlex.split(command)
        handler: Callable[..., list[str] | None] = getattr(self, f"do_{word}")
        return self._news() + (handler(*rest) or []) + self._news()

    def _news(self) -> list[str]:
        news, self.told = self.cluster.history[self.told :], len(self.cluster.history)
        return [
            f"{life.at_s:7.2f} {_name(life.node)} {life.effect.kind} {_short(life.effect.subject)}: {_short(life.effect.reason)}"
            for life in news
            if isinstance(life.effect, do.Note) and life.effect.kind != "rollout"
        ]

    # --- commands -----------------------------------------------------------------------------------------------------

    def do_nodes(self, count: str, *zones: str) -> None:
        """So many nodes, vps-1 and on, linked and up for 25 s; in these zones by turns: `nodes 4 a b`."""
        self.cluster = cluster_of(int(count), zones=zones or ("",))
        self.told = len(self.cluster.history)

    def do_service(self, name: str, *settings: str) -> None:
        """Part of the app from the next deploy on: `service web replicas=3 probe port=8000 volume=data depends=db`.

        `job`: ends by itself; `after=job`: waits until it has ended well; `init`: has an init image; `canary=25%:60s`."""
        given = dict(setting.partition("=")[::2] for setting in settings)
        if "init" in given:
            self.inits.add(name)
        self.services[name] = Service(
            replicas=int(given.get("replicas", "1")),
            probe=Probe(kind="tcp", port=80, interval_s=1.0, start_period_s=float(given["probe"] or 60))
            if "probe" in given
            else None,
            ports=(Port(target=80, published=int(given["port"])),) if "port" in given else (),
            volumes=(VolumeMount(volume=given["volume"], target="/data"),) if "volume" in given else (),
            needs=Needs(reserve_memory_bytes=int(given.get("memory", "0")) << 20),
            depends_on=tuple(
                Depends(service=given[word], condition=condition)
                for word, condition in _CONDITIONS.items()
                if word in given
            ),
            restart=Restart(condition="on-failure" if "job" in given else "any"),
            init="init" in given,
            exclusive="exclusive" in given,
            constraints=tuple(filter(None, given.get("only", "").split(","))),
            scale=_scale(given),
            update=Update(
                order="start-first" if "start-first" in given else "stop-first",
                parallelism=int(given.get("parallelism", "1")),
                failure_action="pause" if "pause" in given else "rollback",
            ),
            canary=tuple(_step(word) for word in filter(None, given.get("canary", "").split(","))),
        )

    def do_deploy(self, version: str, via: str = "", node: str = "vps-1") -> None:
        """Push images, sign, hand to one node: `deploy v2 via vps-3`."""
        images = {service: f"{service}-{version}" for service in self.services}
        images |= {init_of(service): f"init-{version}" for service in self.inits}
        for word in images.values():
            give_image(self.cluster, node, word)
        app = docs.app(
            "shop", self.services, version=len(self.apps) + 1, fallback=self.apps[-1].hash if self.apps else ""
        )
        if self.apps and self.apps[-1].body == msgspec.structs.replace(app.body, fallback=self.apps[-1].body.fallback):  # type: ignore[union-attr]
            app = self.apps[-1]
        else:
            self.apps.append(app)
        self.releases.append(
            docs.release(
                "shop", images, version=len(self.releases) + 1,
                fits=app.version, fallback=self.releases[-1].hash if self.releases else "",
            )
        )  # fmt: skip
        self.cluster.accept(node, self.releases[-1], app)

    def do_voters(self, *names: str) -> None:
        """Who grants leases from now on: `voters vps-1 vps-2 vps-3`, and with whom before: `voters vps-4 before vps-1`."""
        turn = names.index("before") if "before" in names else len(names)
        now, before = names[:turn], names[turn + 1 :]
        self.versions["policy"] = version = self.versions.get("policy", 0) + 1
        self.cluster.accept(self._any(), docs.policy(*now, before=before, version=version, voting=version - 1))

    def do_leases(self, node: str = "") -> list[str]:
        """Who holds what, as a node sees it, and what really runs."""
        core = self.cluster[node or self._any()].core
        assert core is not None
        running = {(c.slot, c.fencing): _name(m.path) for m in self.cluster.machines.values() for c in m.containers.values()
                   if c.running and c.fencing}  # fmt: skip
        return [f"{_short(row.slot)} {row.leased_to} by lease {row.lease}" for row in core.rows() if row.lease] + [
            f"running: {_short(slot)} on {host} with number {number}"
            for (slot, number), host in sorted(running.items())
        ]

    def do_scale(self, service: str, replicas: str) -> None:
        self.services[service] = msgspec.structs.replace(self.services[service], replicas=int(replicas))
        self.apps.append(docs.app("shop", self.services, version=len(self.apps) + 1))
        self.cluster.accept(self._any(), self.apps[-1])

    def do_load(self, service: str, connections: str) -> None:
        """From now on so many connections at once, spread over its replicas."""
        self.cluster.loads["shop", service] = lambda now_s: float(connections)

    def do_wishes(self, service: str, node: str = "") -> list[str]:
        """What each keeper wishes for, and the number that this node goes by."""
        core = self.cluster[node or self._any()].core
        assert core is not None
        told = next(row for row in core.scalings() if row.service == service)
        lines = [f"{wish.node} wishes {wish.replicas} ({wish.why})" for wish in told.wishes]
        return [*lines, f"{told.replicas} of {told.min} to {told.max}: {told.why}"]

    def do_rm(self) -> None:
        self.apps.append(docs.app("shop", {}, version=len(self.apps) + 1, deleted=True))
        self.cluster.accept(self._any(), self.apps[-1])

    def do_run(self, seconds: str) -> None:
        self.cluster.run(float(seconds))

    def do_cut(self, *names: str) -> None:
        """Power cut."""
        for name in names:
            self.cluster[name].power_cut()

    def do_boot(self, *names: str) -> None:
        for name in names:
            self.cluster[name].boot()

    def do_agent(self, what: str, name: str) -> None:
        """`agent stop vps-1`, `agent start vps-1`: containers run on."""
        machine = self.cluster[name]
        machine.end_agent() if what == "stop" else machine.boot()

    def do_part(self, *names: str) -> None:
        """Cut these off from all others."""
        others = {_name(path) for path in self.cluster.machines} - set(names)
        self.cluster.wires.part(set(names), others)

    def do_join(self) -> None:
        """All wires are whole again."""
        self.cluster.wires.heal()

    def do_kill(self, slot: str, exit_code: str = "1") -> None:
        """The container of a slot ends by itself."""
        for machine in self.cluster.machines.values():
            for container in list(machine.containers.values()):
                if str(container.slot) == f"shop.{slot}":
                    machine.kill(container.id, int(exit_code), oom=exit_code == "oom")

    def do_ill(self, image: str, on: str = "", node: str = "") -> None:
        """Containers of this image never answer: `ill web-v2 on vps-1`, or everywhere."""
        self.cluster.bad_health.add((f"node/{node}" if node else "", image))

    def do_bad(self, image: str, *why: str) -> None:
        """Containers of this image can't start, or, an init image, end badly: `bad init-v1 no password`; without words: mended."""
        self.cluster.bad_start[("", image)] = " ".join(why)

    def do_dies(self, image: str, seconds: str) -> None:
        """Containers of this image end by themselves after so long: `dies web-v2 20`."""
        self.cluster.bad_life["", image] = float(seconds)

    def do_hang(self, slot: str) -> None:
        """The container of a slot runs on and answers no more."""
        for machine in self.cluster.machines.values():
            for container in machine.containers.values():
                if str(container.slot) == f"shop.{slot}":
                    container.answers_s = 1e9

    def do_knock(self, service: str, node: str, n: str = "1") -> None:
        """So many connections to it wait there now: `knock web vps-3`, `knock web vps-3 0`."""
        self.cluster[node].step(ev.Knocked("shop", service, int(n)))

    def do_drain(self, name: str, state: str = "draining") -> None:
        self.versions[name] = self.versions.get(name, 1) + 1
        self.cluster.accept(self._any(), docs.node(name, state=state, version=self.versions[name]))

    def do_undrain(self, name: str) -> None:
        self.do_drain(name, "active")

    def do_forget(self, name: str, volume: str, *left: str) -> None:
        """An operator had a volume removed on a machine: `forget vps-1 data`, or `forget vps-1 data logs` where logs stays."""
        self.cluster[name].step(ev.VolumeGone(app="shop", volume=volume, left=left))

    def do_expel(self, name: str) -> None:
        self.do_drain(name, "expelled")

    def do_ps(self, node: str = "") -> list[str]:
        core = self.cluster[node or self._any()].core
        assert core is not None
        return [
            f"{_short(row.slot)} {row.node or 'nobody'} {row.state}{' healthy' if row.healthy else ''} {row.version}"
            + (f" ({_short(row.why)})" if row.why else "")
            for row in core.rows()
        ]

    def do_explain(self, slot: str, node: str = "") -> list[str]:
        core = self.cluster[node or self._any()].core
        assert core is not None
        told = core.explain(Slot.parse(f"shop.{slot}"))
        lines = [f"rank {a.rank}: {a.node} {a.answer}{f' ({_short(a.why)})' if a.why else ''}" for a in told.order]
        return [*lines, f"wanted: {told.wanted or 'nothing'}; awaits: {_short(told.awaits) or 'nothing'}"]

    def do_receiver(self, name: str, *rest: str) -> None:
        """Alerts are told to it from now on; `receiver ops deaf`, `receiver ops hears`: whether it takes them."""
        if rest:
            (self.cluster.deaf.add if rest[0] == "deaf" else self.cluster.deaf.discard)(name)
            return
        self.cluster.accept(self._any(), docs.document(f"alert/{name}", Alert(receiver=Receiver(kind="webhook"))))

    def do_silence(self, rule: str, subject: str, seconds: str) -> None:
        self.versions["alert/rules"] = self.versions.get("alert/rules", 0) + 1
        until = CLOCK_AT_ZERO + self.cluster.clock.now_s + float(seconds)
        body = Alert(silences=(Silence(until=until, rule=rule, subject=subject),))
        self.cluster.accept(self._any(), docs.document("alert/rules", body, self.versions["alert/rules"]))

    def do_fatal(self, name: str, when: str) -> None:
        """Its power goes when it next sends a letter: `fatal vps-1 before`, or `after`, but before it has said so."""
        self.cluster.fatal[f"node/{name}"] = when

    def do_letters(self) -> list[str]:
        """What receivers have got."""
        return [
            f"{at_s:7.2f} {_name(node)} to {','.join(e.to)}: {'over: ' if e.over else ''}{e.rule} {_short(e.subject)}, "
            f"round {e.round % ROUNDS_A_DAY}, seen by {e.seen_by} of {e.fixed}: {_short(e.why)}"
            for at_s, node, e in self.cluster.letters
        ]

    def do_alerts(self, node: str = "") -> list[str]:
        """What fires, as a node sees it."""
        core = self.cluster[node or self._any()].core
        assert core is not None
        return [
            f"{row.rule} {_short(row.subject)}: first {row.first}; told "
            + (", ".join(f"{','.join(names)} by {host}" for host, names in row.sent.items()) or "nobody")
            for row in core.alerts()
        ]

    def do_routes(self, node: str) -> list[str]:
        route = self.cluster[node].route
        assert route is not None
        return [
            f"{port.published} -> {', '.join(f'{_short(t.slot)} on {_name(t.node)}' for t in targets) or 'nobody'}"
            for port, targets in route.ports
        ] + [
            f"{_short(of.app)}.{of.service} may sleep: {', '.join(of.targets or of.rising) or 'who knocks is held'}"
            for of in route.dormant
        ]

    def _any(self) -> str:
        return next(_name(path) for path, machine in self.cluster.machines.items() if machine.on)


def _scale(given: dict[str, str]) -> Scale | None:
    """`scale=1-6 per=50 step=10 down=60 up=0 idle=60`: so many replicas, one for each so many connections."""
    if "scale" not in given:
        return None
    low, _, high = given["scale"].partition("-")
    return Scale(
        min=int(low), max=int(high), connections=float(given.get("per", "0")), step_s=float(given.get("step", "60")),
        down_s=float(given.get("down", "60")), up_s=float(given.get("up", "0")), idle_s=float(given.get("idle", "60")),
    )  # fmt: skip


def _step(word: str) -> CanaryStep:
    """ "25%:60s"."""
    share, _, hold = word.partition(":")
    return CanaryStep(share=float(share.rstrip("%")) / 100, hold_s=float(hold.rstrip("s")))


def _name(path: str) -> str:
    return path.removeprefix("node/")


def _short(text: object) -> str:
    return str(text).replace("shop.", "")
