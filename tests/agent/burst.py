"""A pool in a small cloud: its keepers, what the provider gives, and machines that ask to be let in."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import msgspec

from agent.small import Aside, SmallCloud
from skerry.agent.daemon import Agent
from skerry.agent.files import HostFiles
from skerry.core.events import Timer
from skerry.core.facts import Machine
from skerry.core.intent import Pool, Role
from skerry.core.records import MachineSlot
from skerry.machines.contract import Server, name_of
from skerry.machines.userdata import MeetingPoint
from skerry.mesh.tls import fingerprint
from skerry.trust import joining, seal
from skerry.trust.identity import Signer

POOL = "burst"
BUNDLE = b"an agent, all of it"


class Burst:
    """Pool `burst` of `most` machines, kept by `keepers`; signed by the operator and taken in by the first host."""

    def __init__(self, cloud: SmallCloud, keepers: tuple[str, ...] = ("vps-1", "vps-2"), **changes: Any) -> None:
        self.cloud = cloud
        self.keepers = keepers
        keys = {f"node/{name}": cloud.files[name].keeper().key for name in keepers}
        first = next(iter(cloud.agents.values()))
        self.bundle = first.objects.put(BUNDLE)
        held = first.trusted.policy
        assert held is not None
        role = Role(name=f"keeper-{POOL}", keys=tuple(keys.values()), kinds=("node",), paths=(f"node/{POOL}/*",))
        self.policy = msgspec.structs.replace(held.body, roles=(*held.body.roles, role))  # type: ignore[attr-defined]
        tokens = {
            f"node/{name}": seal.make_box(
                b"token", cloud.files[name].public_keys().sealing, secrets.token_bytes(32)
            )
            for name in keepers
        }  # fmt: skip
        self.pool = Pool(
            **{
                "provider": "digitalocean", "max": 4, "network": "10.77.128.0/22", "size": "s-1vcpu-1gb", "weight": 50,
                "regions": ("ams3", "fra1"), "labels": {"kind": "rented"}, "keepers": keys, "tokens": tokens,
                "bundle": self.bundle, **changes,
            }
        )  # fmt: skip
        first.door.offer(cloud.sign("policy", self.policy, held.version + 1, prev=held.hash), from_client=True)
        first.door.offer(cloud.sign(f"pool/{POOL}", self.pool, 1), from_client=True)

    def expect(self, index: int, *, by: str = "vps-1", address: str = "127.0.0.1", **changes: Any) -> str:
        """A keeper has rented machine `index`: its fact, and the provider's word. Gives the one-time token."""
        token = secrets.token_hex(16)
        slot = MachineSlot(POOL, index)
        name = name_of(self.cloud.cloud, slot)
        fact = Machine(
            **{
                "state": "booting", "id": f"{index}00", "name": name, "token": joining.token_hash(token),
                "token_until": time.time() + 60, **changes,
            }
        )  # fmt: skip
        self.cloud.servers.append(Server(f"{index}00", name, "active", (address,), region="fra1"))
        say(self.cloud.agents[by], str(slot), fact)
        return token

    def meet(self, *names: str) -> list[MeetingPoint]:
        return [
            MeetingPoint(f"127.0.0.1:{self.cloud.enrol_ports[name]}", fingerprint(self.cloud.files[name].certificate))
            for name in names or self.keepers
        ]

    def node(self, index: int, at: str = "vps-1") -> Any:
        """The enrolment of a machine as a host holds it, None if there is none."""
        return self.cloud.agents[at].trusted.enrolled(f"node/{POOL}/{index}")


def say(agent: Agent, slot: str, fact: Machine | None) -> None:
    """What the host's core would say of a machine slot that it holds."""
    agent.loop.core._s.publish("machine", slot, fact, "a test")
    agent.loop.post(Timer())


class Guest:
    """A machine before it belongs to anything, or somebody who says to be one. `source`: its address."""

    def __init__(self, directory: Path, cloud: str, source: str = "127.0.0.1") -> None:
        self.files = HostFiles(directory / "state", directory / "run")
        self.files.state.mkdir(parents=True, exist_ok=True)
        own = self.files.make_keys()
        self.keys = joining.Keys(own.signing, own.sealing, own.wireguard, own.certificate)
        self.signer = Signer(self.files.seed("signing"))
        self.cloud, self.source = cloud, source

    def asking(self, slot: str, token: str, nonce: str, door: str, **changes: Any) -> joining.Line:
        made = joining.ask(self.signer, self.cloud, slot, self.keys, token=token, secret="", nonce=nonce, door=door)
        return joining.Line(enrol=msgspec.structs.replace(made, **changes))

    def enrol(self, point: MeetingPoint, slot: str, token: str, **changes: Any) -> dict[str, Any]:
        """One try at one host: its answer."""
        with self.line(point) as file:
            nonce = json.loads(file.readline())["nonce"]
            file.write(msgspec.json.encode(self.asking(slot, token, nonce, point.fingerprint, **changes)) + b"\n")
            file.flush()
            return dict(json.loads(file.readline() or b"{}"))

    def fetch(self, point: MeetingPoint, hash: str, slot: str, token: str) -> tuple[dict[str, Any], bytes]:
        with self.line(point) as file:
            file.readline()
            file.write(msgspec.json.encode(joining.Line(bundle=joining.Wanted(hash, slot, token))) + b"\n")
            file.flush()
            answer = json.loads(file.readline())
            return answer, file.read(answer.get("size", 0))

    def line(self, point: MeetingPoint) -> Any:
        host, _, port = point.address.rpartition(":")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection((host, int(port)), 10, source_address=(self.source, 0))
        line = context.wrap_socket(plain)
        plain.close()
        return _File(line)


class _File:
    """A TLS line as a file that closes both."""

    def __init__(self, line: ssl.SSLSocket) -> None:
        self._line = line
        self._file = line.makefile("rwb")

    def __enter__(self) -> Any:
        return self._file

    def __exit__(self, *_: object) -> None:
        self._line.close()


async def beside(work: Any, *args: Any, **more: Any) -> Any:
    """A blocking guest, while the hosts' own loop goes on."""
    return await asyncio.to_thread(work, *args, **more)


def at_once(aside: Aside, directory: Path, index: int, keeper: str) -> Guest:
    """A machine of the pool that this keeper has rented and lets in, where the pool came by the command line."""
    cloud = aside.cloud
    token = secrets.token_hex(16)
    slot = MachineSlot(POOL, index)
    name = name_of(cloud.cloud, slot)
    fact = Machine(
        state="booting", id=f"{index}00", name=name, token=joining.token_hash(token), token_until=time.time() + 60
    )
    cloud.servers.append(Server(f"{index}00", name, "active", ("127.0.0.1",)))
    agent = cloud.agents[keeper]
    aside.wait("its door", lambda: bool(agent.enrolling.port))
    aside.look(lambda: say(agent, str(slot), fact))
    guest = Guest(directory, cloud.cloud)
    point = MeetingPoint(f"127.0.0.1:{cloud.enrol_ports[keeper]}", fingerprint(cloud.files[keeper].certificate))
    answer = guest.enrol(point, str(slot), token)
    assert "join" in answer, answer
    return guest
