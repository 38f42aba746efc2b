"""The agent as systemd runs it: begun, told of as ready, ended when it is told to or when it broke."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import socket

from skerry.agent import upgrade
from skerry.agent.daemon import Agent
from skerry.agent.files import HostFiles
from skerry.agent.host import of_host

STOPS_WITHIN_S = 8.0  # below its unit's TimeoutStopSec, which a masked unit has no more


async def run(files: HostFiles) -> None:
    """Until SIGTERM or SIGINT. A bug in any task ends it with a traceback; systemd starts it anew, containers run on."""
    files.run.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.chdir(files.run)  # conmon leaves a file where it was started when a container runs out of memory
    agent = Agent(files, of_host())
    stop: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _finish, stop)
    try:
        await agent.start()
        notify("READY=1")
        agent.loop.spawn(upgrade.say_rejoined(files, lambda: bool(agent.mesh.neighbours())))
        await asyncio.wait({stop, agent.loop.broken}, return_when=asyncio.FIRST_COMPLETED)
        if agent.loop.broken.done():
            agent.loop.broken.result()
    finally:
        await agent.close()


def _finish(stop: asyncio.Future[None]) -> None:
    """Told to stop. What hangs then is told with its stack and not waited for: an agent may die at any moment anyway."""
    faulthandler.dump_traceback_later(STOPS_WITHIN_S, exit=True)
    if not stop.done():
        stop.set_result(None)


def notify(state: str) -> None:
    """Tell systemd (sd_notify(3)); nothing where it isn't listening."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect("\0" + path[1:] if path.startswith("@") else path)
        sock.send(state.encode())
