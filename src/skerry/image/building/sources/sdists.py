"""Python packages that come as source alone: found, fetched and read here, never run. Building them is the build stage's work.

pip can't hand over a source archive without running its code first. So pip is only asked where it would look (the links that it
passes over because sources aren't allowed, which it tells), and the file is fetched and opened here.
"""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import msgspec
from packaging.requirements import Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import InvalidSdistFilename, canonicalize_name, parse_sdist_filename
from packaging.version import InvalidVersion, Version

from skerry.image.building.pile import File, file_of, link_to
from skerry.image.building.sources.environment import environment
from skerry.image.building.sources.fetch import Gone, fetch_bytes
from skerry.image.building.sources.lock import Sdist, Wheel
from skerry.image.building.sources.needs.project import UNREADABLE
from skerry.image.building.sources.pip import pip_download
from skerry.image.contract import BuildRefused, DownloadRefused
from skerry.image.kept import read_checked, write_whole
from skerry.image.tars import BROKEN, open_tar
from skerry.image.zips import NO_ZIP, files_in

MAX_SDIST_BYTES = 256 << 20
MAX_UNPACKED_BYTES = 1 << 30
MAX_FILES = 50_000
PIP_TIMEOUT_S = 120
OLD_WAY = ("setuptools>=40.8.0", "setuptools.build_meta:__legacy__")  # without a pyproject.toml. Source: PEP 517
_PASSED_OVER = re.compile(
    r"Skipping link: No sources permitted for \S+: (\S+?)(?:#\S*)?(?: \(from \S+\))?(?: \(requires-python:([^)]*)\))?$",
    re.MULTILINE,
)


class Builder(Protocol):
    """Runs a source archive's own code, in the build stage."""

    def requires(self, sdist: Sdist) -> list[str]:
        """What else it asks for when it is asked (`get_requires_for_build_wheel`); its declared requirements are there."""
        ...

    def wheel(self, sdist: Sdist) -> Wheel:
        """Build it into the cache, where `wheel_path` finds it; the same again is taken from there."""
        ...


class BuildSystem(msgspec.Struct, frozen=True):
    """How an archive says that it is built. `backend`: "module:object"; `path`: where to import that from, below it."""

    requires: tuple[str, ...] = (OLD_WAY[0],)
    backend: str = OLD_WAY[1]
    path: tuple[str, ...] = ()


def find_sdist(need: Requirement, context: Path, cache: Path, even_if_wheel: bool = False) -> Sdist | None:
    """The newest source that meets a requirement, fetched; None where a wheel does, as that goes first. Raises Gone."""
    has_wheel, found = _links(need, context, cache)
    if has_wheel and not even_if_wheel:
        return None
    usable = []
    for url, wanted_python in found:
        file = unquote(urlsplit(url).path).rpartition("/")[2]
        try:
            name, version = parse_sdist_filename(file)
            fits = environment()["python_full_version"] in SpecifierSet(wanted_python)
        except (InvalidSdistFilename, InvalidVersion, InvalidSpecifier):
            continue
        if name == canonicalize_name(need.name) and fits:
            usable.append((version, file, url))
    good = list(need.specifier.filter((version for version, _, _ in usable)))
    if not good:
        raise Gone(
            f"{need} can't be had",
            "the index that pip uses has neither a wheel nor a source for it",
            "check name and version, or lock again to take what is there now",
        )
    version, file, url = max((one for one in usable if one[0] == max(good)), key=lambda one: one[1].endswith(".tar.gz"))
    return _fetch(canonicalize_name(need.name), version, file, url, cache)


def fetch_sdist(sdist: Sdist, context: Path, cache: Path) -> None:
    """Bring a locked source into the cache. Raises Gone, DownloadRefused, DownloadFailed."""
    if sdist_path(sdist, cache).is_file():
        return
    need = Requirement(f"{sdist.name}=={sdist.version}")
    for url, _ in _links(need, context, cache)[1]:
        if unquote(urlsplit(url).path).rpartition("/")[2] == sdist.file:
            found = _fetch(sdist.name, Version(sdist.version), sdist.file, url, cache)
            if found.sha256 != sdist.sha256:
                raise DownloadRefused(f"{sdist.file} was refused", "the index gives other bytes than the lock names")
            return
    raise Gone(f"{sdist.file} can't be had", "the index that pip uses no longer has it", "lock again: another version")


def sdist_path(sdist: Sdist, cache: Path) -> Path:
    return cache / "sdists" / sdist.sha256 / sdist.file


def build_system(files: list[File]) -> BuildSystem:
    """Raises BuildRefused."""
    project = next((file for file in files if file.path == "pyproject.toml"), None)
    try:
        table = tomllib.loads(project.load().decode("utf-8")).get("build-system", {}) if project else {}
        if not table:
            return BuildSystem()
        requires = msgspec.convert(table.get("requires", []), tuple[str, ...])
        backend = msgspec.convert(table.get("build-backend", OLD_WAY[1]), str)
        return BuildSystem(requires, backend, msgspec.convert(table.get("backend-path", []), tuple[str, ...]))
    except UNREADABLE as error:
        raise BuildRefused("a source archive can't be built", f"its pyproject.toml: {error}") from error


def sources_of(sdist: Sdist, cache: Path) -> list[File]:
    """The archive's files, without the one folder that holds them all. Raises DownloadRefused."""
    data = io.BytesIO(read_checked(sdist_path(sdist, cache), sdist.sha256, sdist.file))
    try:
        found = list(_zipped(data) if sdist.file.endswith(".zip") else _tarred(data))
        if len(found) > MAX_FILES or sum(member.size for member in found) > MAX_UNPACKED_BYTES:
            raise tarfile.ReadError("it has too many or too large files")
    except (OSError, *BROKEN, *NO_ZIP) as error:
        raise DownloadRefused(f"{sdist.file} was refused", f"it is not a source archive: {error}") from error
    return found


def _links(need: Requirement, context: Path, cache: Path) -> tuple[bool, list[tuple[str, str]]]:
    """Whether pip found a wheel; and (address, its `requires-python`) of each source that it sees."""
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="pip-") as temporary:
        done = pip_download(
            ["-vv", "--no-deps", f"{need.name}{need.specifier}"],
            Path(temporary),
            context=context,
            timeout_s=PIP_TIMEOUT_S,
            what=f"{need.name} could not be looked for",
        )
    return done.returncode == 0, _PASSED_OVER.findall(done.stdout + done.stderr)


def _fetch(name: str, version: Version, file: str, url: str, cache: Path) -> Sdist:
    parts = urlsplit(url)
    if parts.scheme == "file":
        local = Path(url2pathname(unquote(parts.path)))
        if local.stat().st_size > MAX_SDIST_BYTES:
            raise DownloadRefused(f"{file} was refused", f"it has more than {MAX_SDIST_BYTES >> 20} MiB")
        data = local.read_bytes()
    else:
        data = fetch_bytes(url, MAX_SDIST_BYTES, authorities=_authorities())
    sdist = Sdist(name, str(version), hashlib.sha256(data).hexdigest(), len(data), file)
    write_whole(sdist_path(sdist, cache), data)
    return sdist


def _authorities() -> str:
    """The file of certificate authorities that pip is told to use, "" for the usual ones."""
    command = [sys.executable, "-m", "pip", "config", "list", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, check=False)
    found = re.findall(r"^(?:global|:env:|user|site|install|download)\.cert='(.+)'$", done.stdout, re.MULTILINE)
    return found[-1] if found else ""


def _tarred(source: io.BytesIO) -> Iterator[File]:
    with open_tar(source, "r:*") as tar:
        total_bytes = 0
        for count, info in enumerate(tar):  # each is remembered: hard links look for them
            total_bytes += info.size
            if count > MAX_FILES or total_bytes > MAX_UNPACKED_BYTES:
                raise tarfile.ReadError("it has too many or too large files")
            place = _inside(info.name)
            if not place:
                continue
            if info.issym():
                if info.linkname.startswith("/") or ".." in info.linkname.split("/"):
                    raise tarfile.ReadError(f"{info.name!r} is a link out of its folder")
                yield link_to(place, info.linkname, "sdist")
            elif info.isreg() or info.islnk():
                content = tar.extractfile(info)
                yield file_of(place, content.read() if content else b"", "sdist")
            elif not info.isdir():
                raise tarfile.ReadError(f"{info.name!r} is a device")


def _zipped(source: io.BytesIO) -> Iterator[File]:
    with zipfile.ZipFile(source) as archive:
        infos = files_in(archive)
        if len(infos) > MAX_FILES or sum(info.file_size for info in infos) > MAX_UNPACKED_BYTES:
            raise zipfile.BadZipFile("it has too many or too large files")
        for info in infos:
            if place := _inside(info.filename):
                yield file_of(place, archive.read(info), "sdist")


def _inside(name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or name.startswith("/") or "\\" in name or "\0" in name:
        raise tarfile.ReadError(f"{name!r} leaves its folder")
    return "/".join(parts[1:])
