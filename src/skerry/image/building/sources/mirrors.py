"""Where Debian's packages come from: an option, the environment, this machine's apt, or Debian's own public name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

CODENAME = "bookworm"
DEFAULT_MIRROR = "http://deb.debian.org/debian"  # Debian's documented default; what comes from it is signed
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class Archive(msgspec.Struct, frozen=True):
    """One archive: `name` is "debian" or "debian-security", `url` its base (without a slash at the end), `suites` in
    it.
    """

    name: str
    url: str
    suites: tuple[str, ...]


def archives(mirror: str = "", apt: Path = Path("/etc/apt")) -> tuple[Archive, ...]:
    """The archives to use. `mirror` (or SKERRY_DEBIAN_MIRROR) is the base URL of Debian's; "-security" is added for
    the other.

    Without it, this machine's apt sources are used if they are for the same Debian release, else the default.
    """
    main = (mirror or os.environ.get("SKERRY_DEBIAN_MIRROR", "")).rstrip("/")
    if main:
        return _both(main, main + "-security")
    found = {suite: url for url, suite in _apt_sources(apt)}
    main = found.get(CODENAME, DEFAULT_MIRROR)
    return _both(main, found.get(f"{CODENAME}-security", main + "-security"))


def keyring() -> Path:
    """The keys that may sign the archive: SKERRY_DEBIAN_KEYRING, else where Debian's package puts them."""
    return Path(os.environ.get("SKERRY_DEBIAN_KEYRING", str(KEYRING)))


def _both(main: str, security: str) -> tuple[Archive, ...]:
    return (
        Archive("debian", main, (CODENAME, f"{CODENAME}-updates")),
        Archive("debian-security", security, (f"{CODENAME}-security",)),
    )


def _apt_sources(apt: Path) -> Iterator[tuple[str, str]]:
    """(URL, suite) of each plain http(s) source. Source: sources.list(5), both its styles."""
    for path in sorted([*apt.glob("sources.list"), *apt.glob("sources.list.d/*.list")]):
        for line in _read(path).splitlines():
            if found := re.match(r"deb\s+(?:\[[^]]*\]\s+)?(https?://\S+)\s+(\S+)", line.strip()):
                yield found[1].rstrip("/"), found[2]
    for path in sorted(apt.glob("sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", _read(path)):
            fields = dict(re.findall(r"^(\w[\w-]*):\s*(.*)$", stanza, re.MULTILINE))
            if "deb" in fields.get("Types", "").split() and fields.get("Enabled", "yes") != "no":
                for url in fields.get("URIs", "").split():
                    if url.startswith(("http://", "https://")):
                        yield from ((url.rstrip("/"), suite) for suite in fields.get("Suites", "").split())


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")[: 1 << 20]
    except OSError:
        return ""
