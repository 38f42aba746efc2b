"""Inside a lab host, in place of its agent: starts by the agent and by hand, in turns. See start.py.

Releases come on standard input as JSON; the times go to standard output.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from skerry.agent.daemon import Agent
from skerry.agent.files import HostFiles
from skerry.agent.host import of_host, program
from skerry.core import effects as do
from skerry.core.events import ContainerStarted
from skerry.runtime import conmon

WITHIN_S = 20.0
LOOK_S = 0.005
PLACE = Path("/run/by-hand")
NFT = """table ip byhand
delete table ip byhand
table ip byhand {{
 chain pre {{ type nat hook prerouting priority dstnat; fib daddr type local tcp dport 8099 dnat ip to {address}:80; }}
 chain out {{ type nat hook output priority -100; fib daddr type local tcp dport 8099 dnat ip to {address}:80; }}
 chain post {{ type nat hook postrouting priority srcnat; ip saddr 127.0.0.0/8 oifname "byh*" snat to 10.99.0.1; }}
}}
"""


def first_answer_s(address: str) -> float:
    """When it first answered. Asked again at once, until it does."""
    end_s = time.perf_counter() + WITHIN_S
    while time.perf_counter() < end_s:
        with contextlib.suppress(OSError), socket.create_connection((address, 80), 1.0) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            if b" 200 " in connection.recv(64):
                return time.perf_counter()
        time.sleep(0.0005)
    raise TimeoutError(f"no answer of {address}")


class Ours:
    """The agent as it is; looked at where effects are carried out and where it tells core what came of them."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.begun_s = 0.0
        self.answers: asyncio.Queue[asyncio.Future[float]] = asyncio.Queue()
        carry, post = agent.loop.carriers[do.Start], agent.containers._post

        def start(effect: do.Start) -> Any:
            self.begun_s = time.perf_counter()
            return carry(effect)

        def posted(event: Any) -> None:
            if isinstance(event, ContainerStarted):
                loop = asyncio.get_running_loop()
                self.answers.put_nowait(loop.run_in_executor(None, first_answer_s, event.address))
            post(event)

        agent.loop.carriers[do.Start] = start
        agent.containers._post = posted

    async def start(self, release: bytes) -> float:
        self.agent.door.offer(release, from_client=True)
        answered_s = await (await self.answers.get())
        return answered_s - self.begun_s

    async def settled(self) -> None:
        """One container, healthy, in the wanted version."""
        end_s = time.monotonic() + WITHIN_S
        while time.monotonic() < end_s:
            rows = self.agent.loop.core.rows()
            if self.agent.containers.count() == 1 and len(rows) == 1 and rows[0].healthy and not rows[0].outdated:
                return
            await asyncio.sleep(LOOK_S)
        raise TimeoutError("the agent did not settle")


class ByHand:
    """The container that the agent runs now, once more, by one command after the other."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.runtime = agent.containers._runtime._binaries  # type: ignore[attr-defined]
        self.n = 0

    def start(self) -> float:
        self.n += 1
        id, address = f"byh{self.n}", f"10.99.0.{2 + self.n % 250}"
        (model,) = [path for path in self.agent.files.containers.iterdir() if (path / "made.json").exists()]
        config = json.loads((model / "config.json").read_text())
        tree = self.agent.images.root(self.agent.loop.core.rows()[0].image)
        bundle = PLACE / id
        begun_s = time.perf_counter()
        for name in ("root", "persist", "skeleton"):
            (bundle / name).mkdir(parents=True)
        config["root"]["path"] = str(bundle / "root")
        config["hostname"] = id
        config["linux"]["cgroupsPath"] = f"/byhand/{id}"
        for namespace in config["linux"]["namespaces"]:
            if namespace["type"] == "network":
                namespace["path"] = f"/run/netns/{id}"
        (bundle / "config.json").write_text(json.dumps(config))
        run("mount", "-t", "overlay", "-o", f"ro,lowerdir={bundle}/skeleton:{tree}", "overlay", f"{bundle}/root")
        run(program("ip"), "netns", "add", id)
        run(
            program("ip"), "-batch", "-",
            text=f"link add {id} type veth peer name eth0 netns {id}\nlink set {id} up\n"
            f"addr replace 10.99.0.1/32 dev {id}\nroute add {address}/32 dev {id} src 10.99.0.1\n",
        )  # fmt: skip
        run(
            program("ip"), "-n", id, "-batch", "-",
            text=f"link set lo up\naddr add {address}/32 dev eth0\nlink set eth0 up\n"
            "route add 10.99.0.1/32 dev eth0\nroute add default via 10.99.0.1\n",
        )  # fmt: skip
        run(program("nft"), "-f", "-", text=NFT.format(address=address))
        places = self.places(id)
        ours, its = os.pipe()
        os.set_inheritable(its, True)
        arguments = conmon.arguments(self.runtime.conmon, self.runtime.path(self.runtime.runtime), places, 1 << 20)
        subprocess.run(
            arguments, check=True, close_fds=False, env={**os.environ, "_OCI_SYNCPIPE": str(its)},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(its)
        with os.fdopen(ours) as pipe:
            word = json.loads(pipe.readline())
        if word["data"] <= 0:
            raise RuntimeError(word.get("message"))
        run(self.program, "--root", str(places.state), "start", id)
        return first_answer_s(address) - begun_s

    def end(self) -> None:
        """Not measured."""
        id = f"byh{self.n}"
        run(self.program, "--root", str(self.places(id).state), "delete", "--force", id)
        run(program("ip"), "link", "del", id)
        run(program("ip"), "netns", "del", id)
        run("umount", str(PLACE / id / "root"))

    @property
    def program(self) -> str:
        return str(self.runtime.path(self.runtime.runtime))

    def places(self, id: str) -> conmon.Places:
        for name in ("state", "exits"):
            (PLACE / name).mkdir(parents=True, exist_ok=True)
        return conmon.Places(
            id=id, bundle=PLACE / id, state=PLACE / "state", exits=PLACE / "exits", log=PLACE / id / "log"
        )


def run(*argv: str, text: str = "") -> None:
    subprocess.run(argv, input=text.encode(), check=True, close_fds=False, stdout=subprocess.DEVNULL)


async def main() -> None:
    releases = [base64.b64decode(text) for text in json.load(sys.stdin)]
    agent = Agent(HostFiles(Path("/var/lib/skerry")), of_host())
    await agent.start()
    ours, by_hand = Ours(agent), ByHand(agent)
    times = []
    try:
        await ours.settled()
        for release in releases:
            own = await ours.start(release)
            await ours.settled()
            other = await asyncio.to_thread(by_hand.start)
            await asyncio.to_thread(by_hand.end)
            times.append({"ours": own, "by_hand": other})
    finally:
        await agent.close()
    print(json.dumps(times))


asyncio.run(main())
