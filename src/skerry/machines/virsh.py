"""libvirt's own client `virsh`, by argument lists and within time limits. What its words mean, as errors of the contract.

Over `…+ssh://` all goes through one SSH login for each call, files too: the hypervisor's host needs no other way in.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from skerry.errors import SkerryError
from skerry.machines.contract import NoCapacity, NoSuchServer, ProviderDenied, ProviderRefused, ProviderSilent

LIMIT_S = 30.0
OUTPUT_LIMIT_BYTES = 8 << 20
_PLAIN = re.compile(r"[A-Za-z0-9_./:-]+")
_FINAL = (
    "XML error",
    "unsupported configuration",
    "invalid argument",
    "already exists",
    "not supported",
    "already in use",
)


class VirshMissing(ProviderDenied):
    """The machine that rents has no virsh."""

    code = "virsh-missing"


class NotSupported(ProviderRefused):
    """This driver of libvirt can't do that."""

    code = "libvirt-not-supported"


class Virsh:
    """One libvirt. `key`: a private SSH key instead of this machine's own; `host_key`: a line of known_hosts for it."""

    def __init__(self, uri: str, key: str = "", host_key: str = "") -> None:
        self.uri = self.endpoint = uri
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if "+ssh" in uri.partition("://")[0]:
            self.uri += ("&" if "?" in uri else "?") + "&".join(["no_tty=1", *self._own_way(key, host_key)])

    def run(self, *argv: str, limit_s: float = LIMIT_S) -> str:
        """What it prints. Raises VirshMissing and what the contract of providers has."""
        return self._run(argv, limit_s)

    def each(self, commands: Sequence[Sequence[str]], limit_s: float = LIMIT_S) -> str:
        """Several commands in one call; what they say of a machine that has gone meanwhile is left out."""
        if not commands:
            return ""
        for word in (word for command in commands for word in command):
            if not _PLAIN.fullmatch(word):  # they travel in one word, which virsh takes apart itself
                raise ValueError(f"{word!r} would be read as something else")
        return self._run(["; ".join(" ".join(command) for command in commands)], limit_s, may_be_gone=True)

    def define(self, xml: str) -> None:
        with tempfile.TemporaryDirectory(prefix="skerry-") as folder:
            file = Path(folder) / "domain.xml"
            file.write_text(xml)
            self.run("define", str(file))

    def _run(self, argv: Sequence[str], limit_s: float, *, may_be_gone: bool = False) -> str:
        program = shutil.which("virsh")
        if program is None:
            raise VirshMissing(
                "machines can't be rented from here",
                "libvirt's client virsh is not on this machine, which does the renting",
                "install it here: apt install libvirt-clients",
            )
        process = subprocess.Popen(
            [program, "--quiet", "--connect", self.uri, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,  # its ssh ends with it
        )
        try:
            out, err = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise ProviderSilent(
                f"{self.endpoint} did not answer", f"virsh {argv[0][:60]} had not ended after {limit_s:.0f} s"
            ) from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        words = [line.removeprefix("error: ") for line in err.decode(errors="replace").splitlines() if line.strip()]
        if process.returncode and not (may_be_gone and words and all(_is_gone(line) for line in words)):
            raise meaning(f"virsh {argv[0][:60]} on {self.endpoint}", " ".join(words)[-2000:])
        if len(out) > OUTPUT_LIMIT_BYTES:
            raise ProviderSilent(f"{self.endpoint} said too much", f"virsh {argv[0][:60]} printed {len(out)} bytes")
        return out.decode(errors="replace")

    def _own_way(self, key: str, host_key: str) -> list[str]:
        """Parameters of the URI by which its ssh takes these keys."""
        if not key and not host_key:
            return []
        self._folder = tempfile.TemporaryDirectory(prefix="skerry-", ignore_cleanup_errors=True)
        folder, given = Path(self._folder.name), []
        if key:
            (folder / "key").touch(mode=0o600)
            (folder / "key").write_text(key.rstrip("\n") + "\n")
            given.append(f"keyfile={folder / 'key'}")
        if host_key:
            (folder / "known").write_text(f"{host_key}\n")
            known = folder / "known"
            (folder / "ssh").write_text(
                f'#!/bin/sh\nexec ssh -o UserKnownHostsFile="{known}" -o GlobalKnownHostsFile=none "$@"\n'
            )
            (folder / "ssh").chmod(0o700)
            given.append(f"command={folder / 'ssh'}")
        return given


def _is_gone(words: str) -> bool:
    return "failed to get domain" in words or "Domain not found" in words or "no domain with matching" in words


def meaning(what: str, words: str) -> SkerryError:
    if _is_gone(words):
        return NoSuchServer(f"{what} failed", words, "it is gone: nothing to do")
    if "not supported by the connection driver" in words:
        return NotSupported(f"{what} failed", words, "use another driver of libvirt")
    if any(sign in words for sign in ("Permission denied", "authentication failed", "Host key verification failed")):
        return ProviderDenied(
            f"{what} failed", words, "try it there: virsh --connect URI list, with the same user and keys"
        )
    if any(sign in words for sign in ("Cannot allocate memory", "cannot set up guest memory", "No space left")):
        return NoCapacity(f"{what} failed", words)
    if "no connection driver available" in words or "control file" in words or "driver is not active" in words:
        return ProviderDenied(
            f"{what} failed", words, "this libvirt, or this host, has no such driver: check the endpoint"
        )
    if any(sign in words for sign in _FINAL):
        return ProviderRefused(f"{what} failed", words, "check the pool's options")
    return ProviderSilent(f"{what} failed", words or "it said nothing")
