"""What an agent stands on: containers and a network, real ones by the programs beside our own Python, or a test's."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from skerry.agent.debugging.cores import pattern_of
from skerry.agent.files import HostFiles
from skerry.agent.guarding import asking as guarding
from skerry.agent.handover import held
from skerry.agent.renting.asking import Answer, Question
from skerry.agent.waking import leading as waking
from skerry.core.intent import Node, Offer, Pool
from skerry.machines.contract import Server
from skerry.machines.userdata import ENROL_PORT
from skerry.net import commands
from skerry.net.network import Network
from skerry.net.nft import Nft
from skerry.observe.cgroups import Cgroup
from skerry.runtime.contract import Runtime
from skerry.runtime.cores.pattern import CorePattern
from skerry.runtime.oci import CGROUPS, Binaries, OciRuntime
from skerry.runtime.probe import find_runtime

PORT = 7077


async def servers_of(pool: Pool | Offer, token: str, name: str) -> list[Server]:
    """The machines of this name, as the pool's provider gives them now. Raises what providers raise."""
    from skerry.agent.renting.asking import servers

    return await servers(pool, token, name)


async def ask_provider(asked: Question) -> Answer:
    """In a child process."""
    from skerry.agent.renting.asking import ask

    return await ask(asked)


class Parts(msgspec.Struct):
    """What an agent stands on, made by the host's own (`of_host`) or by a test."""

    runtime: Callable[[HostFiles], Awaitable[Runtime]]
    network: Callable[[HostFiles, Node], Network]
    address: str = "0.0.0.0"
    port: int = PORT
    memory_bytes: int = 0  # 0: what the host has
    cgroup: Callable[[str], Cgroup] = lambda id: Cgroup(f"{CGROUPS}/{id}")  # of a container
    cgroup_path: Callable[[str], str] = lambda id: f"{CGROUPS}/{id}"
    guard: Callable[[Path], Awaitable[None]] = guarding.begin  # has the guard of exclusive slots run
    core_pattern: Callable[[HostFiles], CorePattern] = pattern_of
    enrol_port: int = ENROL_PORT
    servers: Callable[[Pool | Offer, str, str], Awaitable[list[Server]]] = servers_of
    ask: Callable[[Question], Awaitable[Answer]] = ask_provider


def of_host() -> Parts:
    """Real containers and a real network, by the programs beside our own Python, else by those on the PATH."""

    async def runtime(files: HostFiles) -> Runtime:
        binaries = Binaries(conmon=Path(program("conmon")), crun=Path(program("crun")), runc=Path(program("runc")))
        working, _ = await find_runtime(binaries, files.containers, files.run)
        return OciRuntime(files.containers, files.run, files.logs, working)

    return Parts(runtime=runtime, network=network_of)


def network_of(files: HostFiles, node: Node) -> Network:
    return Network(
        files.net,
        files.run,
        subnet=node.subnet,
        wireguard_private_key=files.seed("wireguard").hex(),
        port=PORT,
        binaries=commands.Binaries(
            ip=program("ip"), nft=program("nft"), wg=program("wg"), wireguard_go=program("wireguard-go")
        ),
    )


def program(name: str) -> str:
    """A program of the bundle, else of the host."""
    own = Path(sys.executable).parent / name
    return str(own) if own.exists() else shutil.which(name) or name


async def purge(files: HostFiles) -> None:
    """End all containers and take our network away; the state directory is the caller's to remove."""
    runtime = await of_host().runtime(files)
    assert isinstance(runtime, OciRuntime)
    await runtime.purge()
    nft = Nft(program("nft"))
    await guarding.end(nft)
    nft.close()
    await runtime.close()
    waking.purge(files.run)
    pattern_of(files).put_back()
    membership = files.membership()
    enrolment = held(files, membership.cloud).nodes.get(membership.node) if membership else None
    if enrolment is not None and isinstance(enrolment.body, Node):
        await network_of(files, enrolment.body).purge()
