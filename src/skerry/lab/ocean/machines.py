"""Droplets as lab hosts."""

from __future__ import annotations

import contextlib

from skerry.lab import state
from skerry.lab.errors import LabNotUp, LabUnknownHost
from skerry.lab.lab import Lab
from skerry.lab.ocean.droplets import Droplet


class LabMachines:
    """A droplet's host is called as it is; a second of the same name, and a name that no host can have, by its number."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._hosts: dict[int, str] = {}

    def boot(self, droplet: Droplet) -> str:
        taken = {host.name for host in state.load(self.lab.directory, self.lab.name).hosts} | set(self._hosts.values())
        fits = state.HOST.fullmatch(droplet.name) and droplet.name not in taken
        name = self._hosts[droplet.id] = droplet.name if fits else f"droplet-{droplet.id}"
        try:
            return self.lab.add_host(name, cloud=True).address
        except BaseException:
            del self._hosts[droplet.id]
            raise

    def power(self, droplet: Droplet, *, on: bool) -> None:
        if on:
            self.lab.boot(self._hosts[droplet.id])
        else:
            self.lab.kill(self._hosts[droplet.id])

    def remove(self, droplet: Droplet) -> None:
        name = self._hosts.get(droplet.id)
        if name is not None:
            with contextlib.suppress(LabUnknownHost, LabNotUp):
                self.lab.remove_host(name)
            del self._hosts[droplet.id]

    def who(self, address: str) -> int | None:
        """Asked while a host boots: the lab knows its address before anybody has been told."""
        lab = state.load(self.lab.directory, self.lab.name)
        name = next((host.name for host in lab.hosts if lab.address(host) == address), None)
        return next((number for number, host in list(self._hosts.items()) if host == name), None)
