"""Bring the agent onto a host over one SSH session, and take it off again. Every step may be repeated.

Steps look first and change only what differs, so that a second run changes nothing and mends what is broken.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from skerry.machines.ssh import Ssh


class Install:
    """The agent on one host. `progress` is called with one short line before each thing that is done.

    The order of a first join: bundle, keys, (the operator signs), join, unit, start.
    """

    def __init__(self, ssh: Ssh, progress: Callable[[str], None] = lambda line: None) -> None:
        self.ssh = ssh
        self.progress = progress

    def bundle(self, path: Path) -> bool:
        """Put `skerry-agent-<version>.tar.gz` to /opt/skerry/<version>. False: the same was there already."""
        raise NotImplementedError

    def keys(self, version: str) -> dict[str, Any]:
        """Public keys of the host, made there at the first call: signing, sealing, wireguard, certificate ..."""
        raise NotImplementedError

    def join(self, version: str, records: bytes) -> dict[str, Any]:
        """Hand over the signed records (JSON) that make it a node; returns the agent's answer."""
        raise NotImplementedError

    def unit(self, version: str) -> bool:
        """Write skerry.service and point /opt/skerry/current to `version`. False: both were so already."""
        raise NotImplementedError

    def start(self, timeout_s: float = 30.0) -> None:
        """Enable, start (restart if unit or version changed) and wait until the agent says that it is ready."""
        raise NotImplementedError

    def status(self) -> dict[str, str]:
        """`active` (systemd's word), `version` and `since`; all "" where nothing is installed."""
        raise NotImplementedError

    def rm(self, *, purge: bool = False) -> list[str]:
        """Take it all off; `purge` also removes keys, records and volumes in /var/lib/skerry. Says what was removed."""
        raise NotImplementedError
