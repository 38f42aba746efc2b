"""Keys by which SSH hosts are known: lines of known_hosts, fingerprints, and which key a host shows. `argv`: an ssh command."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from skerry.errors import BadInput

FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
ALGORITHMS = (
    "",
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "rsa-sha2-512",
)  # "": which ssh prefers itself; a host has several

LAX = ("no", "off", "false", "accept-new")  # values of StrictHostKeyChecking by which ssh takes a new key in silence
_SIGNS = {"ssh-rsa": "rsa-sha2-512"}  # a key's kind, and how it signs where that has another name


class HostKey(NamedTuple):
    """`line`: as known_hosts has it."""

    line: str
    kind: str
    fingerprint: str


def read_known(text: str) -> list[HostKey]:
    """What stands in a known_hosts file; lines that are none, or that revoke or vouch for others, are left out."""
    found = []
    for line in text.splitlines():
        parts = line.split()
        if len(parts) < 3 or line.startswith(("#", "@")):
            continue
        try:
            key = base64.b64decode(parts[2], validate=True)
        except ValueError:  # binascii.Error is one, and so is what isn't ASCII
            continue
        digest = base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
        found.append(HostKey(line, parts[1], f"SHA256:{digest}"))
    return found


def checked(fingerprints: Sequence[str]) -> tuple[str, ...]:
    """Raises BadInput for what is no fingerprint."""
    for text in fingerprints:
        if not FINGERPRINT.fullmatch(text):
            raise BadInput(
                f"{text!r} is no fingerprint of a host key",
                "it is SHA256: and 43 characters",
                "its provider shows it, or on the host: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
            )
    return tuple(fingerprints)


def shown(argv: Sequence[str], place: Path, algorithm: str, limit_s: float) -> tuple[list[HostKey], str]:
    """The keys that the host shows, without logging in, by way of the file `place`; and what ssh said."""
    place.unlink(missing_ok=True)
    options = {
        "UserKnownHostsFile": str(place),
        "GlobalKnownHostsFile": "none",
        "StrictHostKeyChecking": "accept-new",
        "HashKnownHosts": "no",
        "PreferredAuthentications": "none",
        "BatchMode": "yes",
    } | ({"HostKeyAlgorithms": algorithm} if algorithm else {})
    asked = [argv[0], *(word for key, value in options.items() for word in ("-o", f"{key}={value}")), *argv[1:]]
    ran = subprocess.run(
        asked, stdin=subprocess.DEVNULL, capture_output=True, env=english(), timeout=limit_s, check=False
    )
    found = read_known(place.read_text(errors="replace")) if place.exists() else []
    return found, ran.stderr.decode(errors="replace").strip()


def pin(key: HostKey, place: Path) -> list[str]:
    """Options by which a host has to have that key, which is written to the file `place`."""
    place.write_text(key.line + "\n")
    options = (f"UserKnownHostsFile={place}", "GlobalKnownHostsFile=none", "StrictHostKeyChecking=yes")
    signs = f"HostKeyAlgorithms={_SIGNS.get(key.kind, key.kind)}"
    return [word for option in (*options, signs) for word in ("-o", option)]


def remember(argv: Sequence[str], key: HostKey) -> None:
    """Where ssh itself would, so that the next command need not name it. A file that can't be written is no reason to stop."""
    place = Path(configured(argv, "userknownhostsfile").split(" ")[0]).expanduser()
    with contextlib.suppress(OSError):
        there = place.read_text(errors="replace") if place.is_file() else ""
        if place.is_absolute() and key.line not in there.splitlines() and (place.is_file() or not place.exists()):
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with place.open("a") as file:
                file.write(("\n" if there and not there.endswith("\n") else "") + key.line + "\n")


def configured(argv: Sequence[str], option: str) -> str:
    """What ssh's configuration says for this host."""
    asked = [argv[0], "-G", *argv[1:]]
    told = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, env=english(), check=False)
    lines = (line.partition(" ") for line in told.stdout.decode(errors="replace").splitlines())
    return next((value for name, _, value in lines if name == option), "")


def english() -> dict[str, str]:
    """ssh's messages in English, or their meaning can't be told."""
    return {**os.environ, "LC_ALL": "C"}
