"""What the host needs beneath tunnel and veths:

forwarding, the gateway address, and walls around the containers' networks.

The gateway address sits on `lo`: it must stay when the tunnel or a container goes. Its scope is `host`, so that the
host never chooses it as a source by itself. The unreachable routes make packets to containers that aren't there fail
at once, instead of leaving through the host's default route.
"""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from skerry.net.commands import Binaries, CommandFailed, run, write_setting
from skerry.net.interfaces import OUR_ROUTES

_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")


class Forwarding:
    """`note`: a file that remembers that forwarding was off before us."""

    def __init__(self, binaries: Binaries, *, gateway: str, subnet: str, cloud_net: str, note: Path) -> None:
        self._binaries, self._gateway, self._note = binaries, gateway, note
        self._walls = [f"unreachable {net} metric 4000 proto {OUR_ROUTES}" for net in (subnet, cloud_net)]

    @property
    def is_there(self) -> bool:
        """Whether the gateway address is this host's."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((self._gateway, 0))
            return True
        return False

    async def start(self) -> list[str]:
        lines = [f"addr replace {self._gateway}/32 dev lo scope host"]
        lines += [f"route replace {wall}" for wall in self._walls]
        await run([self._binaries.ip, "-batch", "-"], "\n".join(lines) + "\n")
        return ["switched IPv4 forwarding on (net.ipv4.ip_forward)"] if self._switch_on() else []

    async def purge(self) -> None:
        for line in (f"addr del {self._gateway}/32 dev lo", *(f"route del {wall}" for wall in self._walls)):
            with contextlib.suppress(CommandFailed):  # gone already
                await run([self._binaries.ip, *line.split()])
        self._switch_back()

    def _switch_on(self) -> bool:
        if _FORWARD.read_text().strip() == "1":
            return False
        self._note.write_text("was off\n")
        write_setting("net/ipv4/ip_forward", "1")
        return True

    def _switch_back(self) -> None:
        if self._note.exists():
            write_setting("net/ipv4/ip_forward", "0")
            self._note.unlink()
