"""Debian's archive: its signed index, and its packages into the download cache. Any operating system will do.

Nothing is believed but what the archive's keys signed: InRelease names the hash of each Packages file, which names
those of the packages. Which packages are taken is `resolve.py`'s matter, what is in them `unpack.py`'s.
"""

from __future__ import annotations

import contextlib
import hashlib
import lzma
import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from skerry.image.building.sources.fetch import Wanted, fetch_all, fetch_bytes
from skerry.image.building.sources.lock import Deb
from skerry.image.building.sources.mirrors import Archive, keyring
from skerry.image.building.sources.resolve import Package
from skerry.image.contract import DownloadRefused
from skerry.image.kept import keep, kept, write_whole

ARCHITECTURE = "amd64"
INDEX_MAX_AGE_S = 3600.0  # how long a fetched InRelease is used again
MAX_RELEASE_BYTES = 4 << 20
MAX_INDEX_BYTES = 256 << 20
_FIELD = re.compile(r"^(Package|Version|Depends|Pre-Depends|Provides|Filename|Size|SHA256): (.*)$", re.MULTILINE)


def read_index(archives: Sequence[Archive], cache: Path, progress: Callable[[str], None]) -> list[Package]:
    """All packages of the archives' main sections, verified. Raises DownloadFailed, DownloadRefused."""
    packages: list[Package] = []
    for archive in archives:
        for suite in archive.suites:
            packages += _read_suite(archive, suite, cache, progress)
    return packages


def fetch_debs(debs: Iterable[Deb], archives: Sequence[Archive], cache: Path, progress: Callable[[str], None]) -> None:
    """Bring the packages of a lock into the cache, where `deb_path` finds them."""
    urls = {archive.name: archive.url for archive in archives}
    count = fetch_all(
        Wanted(f"{urls[deb.archive]}/{deb.path}", deb_path(deb, cache), deb.sha256, deb.size) for deb in debs
    )
    if count:
        progress(f"fetched {count} Debian packages")


def deb_path(deb: Deb, cache: Path) -> Path:
    return cache / "debs" / f"{deb.sha256}.deb"


def verify_release(signed: bytes, keys: Path) -> str:
    """The text of an InRelease file that one of `keys` signed. Raises DownloadRefused."""
    import pysequoia  # 10 MB of library that only this line needs

    if not keys.is_file():
        raise DownloadRefused(
            "Debian's archive can't be trusted yet",
            f"there are no keys at {keys}",
            "install debian-archive-keyring, or name the file by SKERRY_DEBIAN_KEYRING",
        )
    try:
        certificates = pysequoia.Cert.split_file(str(keys))
        verified = pysequoia.verify(signed, store=lambda key_ids: certificates)
        return bytes(verified.bytes or b"").decode()
    except Exception as error:  # the library raises plain Exception for every kind of failure
        raise DownloadRefused("Debian's index was refused", f"its signature does not hold: {error}") from error


def _read_suite(archive: Archive, suite: str, cache: Path, progress: Callable[[str], None]) -> list[Package]:
    release = _release(archive, suite, cache)
    # The suite's own name is signed too: a mirror can't give one suite for another.
    if not re.search(rf"^(Suite|Codename): {re.escape(suite)}$", release, re.MULTILINE):
        raise DownloadRefused("Debian's index was refused", f"what {archive.url} calls {suite} is another suite")
    name = f"main/binary-{ARCHITECTURE}/Packages.xz"
    found = re.search(rf"^ ([0-9a-f]{{64}}) +(\d+) {re.escape(name)}$", release, re.MULTILINE)
    if not found:
        raise DownloadRefused("Debian's index was refused", f"{suite} names no {name}")
    sha256, size = found[1], int(found[2])
    parsed = cache / "index" / f"{sha256}.{archive.name}.msgpack"
    if (before := kept(parsed, list[Package])) is not None:
        return before
    progress(f"fetching Debian's index of {suite}")
    data = fetch_bytes(f"{archive.url}/dists/{suite}/main/binary-{ARCHITECTURE}/by-hash/SHA256/{sha256}", size)
    if len(data) != size or hashlib.sha256(data).hexdigest() != sha256:
        raise DownloadRefused("Debian's index was refused", f"{name} of {suite} is not the one that was signed")
    packages = parse_packages(lzma.LZMADecompressor().decompress(data, MAX_INDEX_BYTES).decode(), archive.name)
    keep(parsed, packages)
    return packages


def _release(archive: Archive, suite: str, cache: Path) -> str:
    """The text of the suite's InRelease, whose signature holds."""
    url = f"{archive.url}/dists/{suite}/InRelease"
    path = cache / "index" / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.{suite}.InRelease"
    if path.is_file() and 0 <= time.time() - path.stat().st_mtime < INDEX_MAX_AGE_S:
        with contextlib.suppress(DownloadRefused):  # damaged on this disk: fetched anew
            return verify_release(path.read_bytes(), keyring())
    data = fetch_bytes(url, MAX_RELEASE_BYTES)
    release = verify_release(data, keyring())
    write_whole(path, data)
    return release


def parse_packages(text: str, archive: str) -> list[Package]:
    """A Packages file. Stanzas that lack a name, version, file, size or hash are left out."""
    packages = []
    for stanza in text.split("\n\n"):
        fields = dict(_FIELD.findall(stanza))
        if not {"Package", "Version", "Filename", "Size", "SHA256"} <= fields.keys() or not fields["Size"].isdigit():
            continue
        depends = ", ".join(fields[key] for key in ("Pre-Depends", "Depends") if key in fields)
        packages.append(
            Package(
                name=fields["Package"],
                version=fields["Version"],
                depends=depends,
                provides=fields.get("Provides", ""),
                archive=archive,
                path=fields["Filename"],
                size=int(fields["Size"]),
                sha256=fields["SHA256"],
            )
        )
    return packages
