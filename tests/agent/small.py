"""A small cloud in one process: real agents, real TLS links on loopback, containers in memory, no network of their own.

For what needs agents that talk, and no more. Whole machines: tests/e2e.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import ipaddress
import json
import secrets
import tarfile
import threading
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tests.ports import free_port

from skerry.agent.daemon import Agent
from skerry.agent.files import HostFiles, Membership
from skerry.agent.host import Parts
from skerry.agent.newcomer import MET
from skerry.agent.renting.asking import Answer, Question, Trouble
from skerry.client.home import CloudFile, CloudHome, Home
from skerry.client.identity import RootKeys, write_operator, write_root
from skerry.core.effects import Members, Target
from skerry.core.events import ImageReady
from skerry.core.intent import App, Node, Offer, Pool, Port, Release, Service
from skerry.image.archive import import_archive
from skerry.image.manifest import Entry, tree_of
from skerry.image.oci import ImageConfig, assemble
from skerry.machines.contract import Server
from skerry.net.flows import Open
from skerry.net.ports import Asleep
from skerry.net.veth import Attachment
from skerry.runtime.memory import MemoryRuntime
from skerry.sdk.beside import end_all
from skerry.store.records import RecordStore
from skerry.trust import envelope, genesis
from skerry.trust.documents import sign_document
from skerry.trust.identity import Signer
from skerry.trust.recovery import OperatorKeys

T = TypeVar("T")
DAY_S = 86400.0


class NoNetwork:
    """Keeps what it is told; containers get addresses that nobody can reach."""

    def __init__(self, subnet: str) -> None:
        self._subnet = ipaddress.ip_network(subnet)
        self.ports: Sequence[Any] = ()
        self.names: Mapping[str, Sequence[str]] = {}
        self.asleep = Asleep()
        self.holder = f"127.0.0.1:{free_port()}"
        self.flows: Callable[[], list[Open]] = list
        self.leads: Sequence[Any] = ()  # each start of an agent here is one after a boot
        self._next = 0

    async def start(self) -> list[str]:
        return []

    async def set_peers(self, peers: Iterable[Any]) -> None:
        pass

    async def attach(self, container_id: str, of: str = "") -> Attachment:
        self._next += 1
        return Attachment(netns="", address=str(self._subnet[1 + self._next]))

    async def detach(self, container_id: str) -> None:
        pass

    def adopt(self, container_id: str, address: str, of: str = "") -> None:
        pass

    def host_end(self, container_id: str) -> str:
        return ""

    def is_ours(self, interface: str) -> bool:
        return False

    def stand_in(self, service: str) -> str:
        return ""

    def free_stand_ins(self, keep: Iterable[str]) -> None:
        pass

    async def route(
        self,
        ports: Sequence[tuple[Port, Sequence[Target]]],
        names: Mapping[str, Sequence[str]],
        asleep: Asleep = Asleep(),  # noqa: B008 - frozen
        members: Sequence[Members] = (),
    ) -> None:
        self.ports, self.names, self.asleep = ports, names, asleep

    async def fence(self, addresses: Iterable[str]) -> None:
        self.refused = tuple(addresses)

    async def begin_fence(self) -> None:
        pass

    def resolv_conf(self, app: str) -> bytes:
        return b""

    def flows_to(self, addresses: Collection[int]) -> list[Open]:
        """`flows()`: what a test says that there is."""
        return [flow for flow in self.flows() if flow.target in addresses]

    async def close(self) -> None:
        pass


class SmallCloud:
    """`agents` by name (vps-1 …). Keys of the operator are at hand; of a second one too, if policy is to need two.

    `new`: hosts that have not yet compared with the others what they were given at their enrolment.
    """

    def __init__(self, directory: Path, hosts: int, *, two: bool = False, new: Iterable[str] = ()) -> None:
        self.directory = directory
        now_s = time.time() - 10
        self.operator_seed, sealing = secrets.token_bytes(32), secrets.token_bytes(32)
        self.operator = Signer(self.operator_seed)
        self.sealing = sealing
        person = genesis.operator("ann", self.operator_seed, sealing, 1)
        self.person = person
        self.root_seed = secrets.token_bytes(32)
        root = Signer(self.root_seed)
        self.second = Signer(secrets.token_bytes(32))
        people = [person, genesis.operator("ben", self.second.seed, secrets.token_bytes(32), 2)] if two else [person]
        needed = len(people)
        raw_root = genesis.first_root(
            [root], people, policy_threshold=needed, issued=now_s, expires=now_s + 3650 * DAY_S
        )
        self.cloud = genesis.cloud_of(raw_root)
        signers = [self.operator, self.second] if two else [self.operator]
        policy = genesis.first_policy(signers, self.cloud, issued=now_s, expires=now_s + 365 * DAY_S)
        self.files = {
            f"vps-{n}": HostFiles(directory / f"vps-{n}" / "state", directory / f"vps-{n}" / "run")
            for n in range(1, hosts + 1)
        }
        self.ports = {name: free_port() for name in self.files}
        self.records = [raw_root, policy, *(self._enrol(name, n + 1, now_s) for n, name in enumerate(self.files))]
        self.agents: dict[str, Agent] = {}
        self.enrol_ports = {name: free_port() for name in self.files}
        self.servers: list[Server] = []  # what the provider has, whichever pool asks
        self.asked: list[str] = []  # names that it was asked for
        self.runtimes: dict[str, MemoryRuntime] = {}
        for name, files in self.files.items():
            files.join(Membership(self.cloud, f"node/{name}"))
            store = RecordStore(files.state)
            for raw, id in zip(self.records, ["root", "policy", *(f"node/{n}" for n in self.files)], strict=True):
                store.put(id, raw, hash=envelope.parse(raw).hash, sync=True)
            if name not in new:
                store.set_meta(MET, b"1")
            store.close()

    def _enrol(self, name: str, n: int, now_s: float) -> bytes:
        files = self.files[name]
        files.state.mkdir(parents=True, exist_ok=True)
        keys = files.make_keys()
        body = Node(
            signing=keys.signing,
            sealing=keys.sealing,
            wireguard=keys.wireguard,
            certificate=keys.certificate,
            addresses=(f"127.0.0.1:{self.ports[name]}",),
            subnet=f"10.77.{n}.0/24",
            salt=secrets.token_hex(8),
        )
        return self.sign(f"node/{name}", body, 1, now_s=now_s)

    def sign(self, path: str, body: Any, version: int, *, prev: str = "", now_s: float | None = None) -> bytes:
        issued = time.time() if now_s is None else now_s
        return sign_document(
            self.operator,
            self.cloud,
            path,
            body,
            version=version,
            prev=prev,
            issued=issued,
            expires=issued + 90 * DAY_S,
        )

    async def start(self, *names: str) -> None:
        for name in names or self.files:
            runtime = self.runtimes.setdefault(name, MemoryRuntime())

            self.agents[name] = self.agent(name, runtime)
            await self.agents[name].start()

    def agent(self, name: str, runtime: MemoryRuntime) -> Agent:
        """One that is to be started."""

        async def own(files: HostFiles) -> MemoryRuntime:
            return runtime

        parts = Parts(
            runtime=own,
            network=lambda files, node: NoNetwork(node.subnet),
            address="127.0.0.1",
            port=self.ports[name],
            memory_bytes=1 << 30,
            enrol_port=self.enrol_ports[name],
            servers=self._servers,
            ask=_nobody,
        )
        return Agent(self.files[name], self.changed(name, parts))

    def changed(self, name: str, parts: Parts) -> Parts:
        """For clouds that stand on something else."""
        return parts

    async def _servers(self, pool: Pool | Offer, token: str, name: str) -> list[Server]:
        self.asked.append(name)
        return [server for server in self.servers if server.name == name]

    def home(self, directory: Path, name: str = "small") -> CloudHome:
        """The operator's machine: all that `skerry init` and `host add` would have written there."""
        cloud = Home(directory).new_cloud(name)
        text = [b64(raw) for raw in self.records]
        documents = dict(zip(["policy", *(f"node/{n}" for n in self.files)], text[1:], strict=True))
        write_operator(cloud, OperatorKeys("ann", self.operator_seed, self.sealing), "")
        write_root(cloud, RootKeys((self.root_seed,)), "")
        cloud.write(CloudFile(id=self.cloud, name=name, operator="ann", roots=(text[0],), documents=documents))
        Home(directory).select(name)
        return cloud

    def give_image(self, content: bytes, *names: str) -> str:
        """An image of one file, whole on these hosts (all). Gives its digest."""
        path = self.directory / "image.tar"
        archive(path, content)
        digest = ""
        for name in names or tuple(self.agents):
            agent = self.agents[name]
            digest = import_archive(path, agent.objects).digest
            agent.images.make(digest)
            agent.loop.post(ImageReady(digest))
        return digest

    def give_files(self, files: Mapping[str, bytes], *names: str) -> str:
        """An image of these files, whole on these hosts (all). Gives its digest."""
        digest = ""
        for name in names or tuple(self.agents):
            agent = self.agents[name]
            digest = put_image(agent.objects, files)
            agent.images.make(digest)
            agent.loop.post(ImageReady(digest))
        return digest

    def deploy(self, name: str, service: Service, image: str, host: str = "vps-1") -> None:
        """A new app of one service, signed by the operator and taken in by one host."""
        app = self.sign(f"app/{name}", App(services={name: service}), 1)
        release = self.sign(f"release/{name}", Release(images={name: image}, fits=1), 1)
        for raw in (release, app):
            self.agents[host].door.offer(raw, from_client=True)

    async def stop(self, *names: str) -> None:
        for name in names or tuple(self.agents):
            agent = self.agents.pop(name)
            await agent.close()
            if agent.loop.broken.done():
                agent.loop.broken.exception()  # what it ended by is the test's to look at, or nobody's


async def _nobody(asked: Question) -> Answer:
    """No provider of these clouds can be reached: what keepers want of it never comes."""
    return Answer(trouble=Trouble(code="provider-silent", why="there is none in a small cloud"))


def put_image(objects: Any, files: Mapping[str, bytes]) -> str:
    """Assemble an image of these files in a store. Gives its digest."""
    entries = [
        Entry(path, "f", 0o755 if path.startswith("usr/bin/") else 0o644, sha256=objects.put(data), size=len(data))
        for path, data in files.items()
    ]
    image = assemble(tree_of(entries), ImageConfig(entrypoint=("/usr/bin/app",)), objects.read)
    for document in (image.manifest, image.config, image.tree.encode()):
        objects.put(document)
    return image.digest


def archive(path: Path, content: bytes, *, layer: bytes = b"", labels: Mapping[str, str] = {}) -> None:
    """A docker-archive of one file, as other tools write them. `layer`: these bytes as its layer instead."""
    if not layer:
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w") as tar:
            info = tarfile.TarInfo("app")
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content))
        layer = made.getvalue()
    digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps(
        {
            "os": "linux",
            "architecture": "amd64",
            "config": {"Labels": dict(labels)} if labels else {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(path, "w") as tar:
        for name, data in (("manifest.json", manifest), ("config.json", config), ("layer.tar", layer)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


class Aside:
    """A small cloud on a loop of its own, in a thread: so that commands can be run beside it as people run them."""

    def __init__(self, cloud: SmallCloud, *, start: bool = True) -> None:
        self.cloud, self._start = cloud, start
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="small cloud")

    def __enter__(self) -> Aside:
        self._thread.start()
        if self._start:
            self.run(self.cloud.start())
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self.cloud.stop())
        self.run(end_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def look(self, see: Callable[[], T]) -> T:
        """Look at an agent from its own thread."""

        async def there() -> T:
            return see()

        return self.run(there())

    def wait(self, what: str, see: Callable[[], bool], timeout_s: float = 20.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not self.look(see):
            assert time.monotonic() < deadline_s, f"waited {timeout_s} s for {what}"
            time.sleep(0.02)
