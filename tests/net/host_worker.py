"""An agent's part for the tests: one `Network` in a process of its own, told what to do by lines of JSON.

Started inside of a host that is a set of namespaces (see bench.py). Also does what a client there would do.
"""

from __future__ import annotations

import asyncio
import ctypes
import http.client
import ipaddress
import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
from dnslib import QTYPE, DNSRecord
from msgspec.structs import replace

from skerry.agent.waking import leading as waking
from skerry.agent.waking.leading import Activators, led
from skerry.core.effects import Dormant, Members, Target
from skerry.core.intent import Port
from skerry.core.records import Slot
from skerry.errors import SkerryError
from skerry.net.network import Network
from skerry.net.tunnel import TunnelPeer

_libc = ctypes.CDLL(None, use_errno=True)


def inside(netns: str, work: Any) -> Any:
    """Run `work` in a thread that is in the network namespace at this path ("" for our own)."""
    result: list[Any] = []

    def body() -> None:
        try:
            if netns:
                handle = os.open(netns, os.O_RDONLY)
                if _libc.setns(handle, 0x40000000):
                    raise OSError(ctypes.get_errno(), "setns")
                os.close(handle)
            result.append((True, work()))
        except Exception as e:
            result.append((False, f"{type(e).__name__}: {e}"))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    ok, value = result[0]
    if not ok:
        raise RuntimeError(value)
    return value


def get(address: str, port: int, timeout_s: float) -> str:
    connection = http.client.HTTPConnection(address, port, timeout=timeout_s)
    connection.request("GET", "/")
    return connection.getresponse().read().decode()


def ask(server: str, name: str, kind: str, tcp: bool) -> dict[str, Any]:
    reply = DNSRecord.parse(DNSRecord.question(name, kind).send(server, 53, tcp=tcp, timeout=10))
    return {"rcode": reply.header.rcode, "found": [str(r.rdata) for r in reply.rr if r.rtype == QTYPE.A]}


def udp(address: str, port: int, source: int) -> str:
    with socket.socket(type=socket.SOCK_DGRAM) as asking:
        asking.settimeout(10)
        asking.bind(("", source))
        asking.sendto(b"?", (address, port))
        return asking.recv(100).decode()


class Upstream(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        question = DNSRecord.parse(data)
        self.transport.sendto(question.replyZone(f"{question.q.qname} 60 A 192.0.2.1").pack(), addr)


class Load:
    """Requests one after the other until told to stop: a new connection each, 1 s time-out, no second try."""

    def __init__(self, addresses: list[str], port: int, netns: str) -> None:
        self.done, self.failed, self.stopped = 0, [], threading.Event()
        self.threads = [
            threading.Thread(target=inside, args=(netns, lambda a=a: self.body(a, port))) for a in addresses
        ]
        for thread in self.threads:
            thread.start()

    def body(self, address: str, port: int) -> None:
        while not self.stopped.is_set():
            try:
                get(address, port, 1.0)
            except (OSError, http.client.HTTPException) as e:
                self.failed.append(f"{type(e).__name__}: {e}")
            self.done += 1

    def stop(self) -> dict[str, Any]:
        self.stopped.set()
        for thread in self.threads:
            thread.join()
        return {"done": self.done, "failed": self.failed}


class Worker:
    def __init__(self) -> None:
        self.network: Network | None = None
        self.load: Load | None = None
        self.flow: tuple[socket.socket, Any] | None = None
        self.held: list[socket.socket] = []

    async def do(self, call: str, a: dict[str, Any]) -> Any:
        n = self.network
        match call:
            case "new":
                self.network = Network(
                    Path(a["directory"]), Path("/run/skn"), subnet=a["subnet"], wireguard_private_key=a["key"],
                    tunnel_name="skn0", veth_prefix="sknv",
                )  # fmt: skip
            case "start":
                return await n.start()
            case "peers":
                await n.set_peers([TunnelPeer(**{**p, "endpoints": tuple(p["endpoints"])}) for p in a["peers"]])
            case "attach":
                found = await n.attach(a["id"], a.get("of", "shop.web"))
                return {"netns": found.netns, "address": found.address}
            case "detach":
                await n.detach(a["id"])
            case "adopt":
                n.adopt(a["id"], a["address"], a.get("of", "shop.web"))
            case "route":
                routes = [
                    (Port(**port), [Target(slot=Slot("a", "s", 0), node="node/x", address=x) for x in addresses])
                    for port, addresses in a["ports"]
                ]
                dormant = [Dormant(of.pop("app", "shop"), name, **of) for name, of in a.get("dormant", {}).items()]
                dormant = [replace(of, ports=tuple(Port(**port) for port in of.ports)) for of in dormant]
                if dormant:
                    self.waking.tell(dormant, n.stand_in)
                    await self.waking.ready()
                began = time.perf_counter()
                members = [msgspec.convert(of, Members) for of in a.get("members", [])]
                await n.route(routes, *led(dict(a.get("names", {})), dormant, n.stand_in), members)
                return time.perf_counter() - began
            case "wake":  # the agent's side of the activator
                self.knocks: list[Any] = []
                self.waking = Activators(
                    Path("/run/skn"),
                    n.holder,
                    a.get("version", "v1"),
                    post=self.knocks.append,
                    note=lambda *_: None,
                    why=str,
                    linger_s=0.0,
                )
                await self.waking.start()
            case "sleep":  # for ever: nothing is left to wake
                waking.purge(Path("/run/skn"))
                await self.waking.close()
                n.free_stand_ins(())
            case "known":  # this agent has learnt all that its disk holds
                self.waking.known()
            case "let_be":  # what an agent does that is told to end
                await self.waking.close()
            case "knocks":
                return [[knock.service, knock.n] for knock in self.knocks]
            case "passing":
                return self.waking.passing("shop", a["service"])
            case "activator":
                return [pid for _, pid in self.waking._all.values()]
            case "fence":
                await n.fence(a["addresses"])
            case "forget":
                await n.forget(a["addresses"])
            case "resolv_conf":
                return n.resolv_conf(a["app"]).decode()
            case "look_after":
                await n.look_after(wider=a.get("wider", False))
            case "purge":
                await n.purge()
            case "get":
                return await asyncio.to_thread(
                    inside, a.get("netns", ""), lambda: get(a["to"], a["port"], a.get("timeout_s", 10))
                )
            case "ask":
                return await asyncio.to_thread(
                    inside,
                    a.get("netns", ""),
                    lambda: ask(a["server"], a["name"], a.get("kind", "A"), a.get("tcp", False)),
                )
            case "load":
                self.load = Load(a["to"], a["port"], a.get("netns", ""))
            case "loaded":
                return self.load.done
            case "unload":
                return await asyncio.to_thread(self.load.stop)
            case "upstream":  # a name server of the world outside, which knows one name
                loop = asyncio.get_running_loop()
                await loop.create_datagram_endpoint(Upstream, local_addr=(a["address"], 53))
            case "udp":
                work = lambda: udp(a["to"], a["port"], a.get("source", 0))  # noqa: E731
                return await asyncio.to_thread(inside, a.get("netns", ""), work)
            case "flow":  # a connection that stays, to the echo port
                self.flow = socket.create_connection((a["to"], a["port"]), timeout=10)
                return self.say("hello")
            case "hang_up":
                self.flow.close()
            case "hold":  # connections that stay until they are let go
                address = (a["to"], a["port"])
                work = lambda: [socket.create_connection(address, timeout=10) for _ in range(a.get("times", 1))]  # noqa: E731
                self.held += await asyncio.to_thread(inside, a.get("netns", ""), work)
            case "let_go":
                for held in self.held:
                    held.close()
                self.held.clear()
            case "flows":
                found = n.flows_to({int(ipaddress.IPv4Address(address)) for address in a["to"]})
                return [list(flow) for flow in found]
            case "say":
                self.flow.settimeout(a.get("timeout_s", 10))
                return self.say(a["text"])
            case "measure":
                return await self.measure(a["times"], a["targets"])
            case "python":
                return await asyncio.to_thread(inside, a.get("netns", ""), lambda: eval(a["expression"]))
            case _:
                raise ValueError(call)
        return None

    def say(self, text: str) -> str:
        self.flow.sendall(text.encode())
        return self.flow.recv(100).decode()

    async def measure(self, times: int, targets: list[str]) -> dict[str, list[float]]:
        """Milliseconds of attach, of route, and of detach, one after the other."""
        spent: dict[str, list[float]] = {"attach": [], "route": [], "detach": []}
        addresses = list(targets)
        for i in range(times):
            began = time.perf_counter()
            found = await self.network.attach(f"m{i}")
            attached = time.perf_counter()
            addresses.append(found.address)
            goals = [Target(slot=Slot("a", "s", 0), node="node/x", address=x) for x in addresses]
            await self.network.route([(Port(target=80, published=9000), goals)], {"s.a.internal": addresses})
            spent["attach"].append((attached - began) * 1e3)
            spent["route"].append((time.perf_counter() - attached) * 1e3)
        for i in range(times):
            began = time.perf_counter()
            await self.network.detach(f"m{i}")
            spent["detach"].append((time.perf_counter() - began) * 1e3)
        return spent


async def main() -> None:
    worker = Worker()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        order = json.loads(line)
        try:
            answer = {"ok": True, "value": await worker.do(order.pop("call"), order)}
        except SkerryError as e:
            answer = {"ok": False, "error": f"{e.code}: {e} {e.fix}"}
        except Exception as e:
            answer = {"ok": False, "error": f"{type(e).__name__}: {e}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
