"""Python's packages: chosen and fetched by pip, then read straight from the wheels. pip never runs inside an image,
and no foreign code runs here: only wheels are taken, no sources.

Which index is used is pip's own matter, as the operator has configured it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import re
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from skerry.errors import Refusal
from skerry.image.building.pile import File
from skerry.image.building.sources.fetch import Gone
from skerry.image.building.sources.lock import Wheel
from skerry.image.building.sources.markers import plain_name, unmet
from skerry.image.building.sources.pip import pip_download
from skerry.image.contract import BuildRefused, DownloadRefused
from skerry.image.kept import CacheDamaged, keep, kept, read_checked
from skerry.image.zips import NO_ZIP, files_in

PIP_TIMEOUT_S = 300
MAX_ROUNDS = 4
MAX_FILES = 100_000
MAX_WHEEL_BYTES = 2 << 30
_NAME = re.compile(r"([A-Za-z0-9_.]+)-([A-Za-z0-9_.!+]+)(?:-\d\w*)?-[\w.]+-[\w.]+-[\w.]+\.whl\Z")


def lock_wheels(
    requirements: str,
    python_version: str,
    context: Path,
    cache: Path,
    progress: Callable[[str], None],
    built: Sequence[Wheel] = (),
) -> tuple[Wheel, ...]:
    """Choose and fetch the wheels for a requirements text and a Python ("3.11.2"). `built`: wheels that no index has, in the
    cache. Raises BuildRefused, DownloadFailed.
    """
    if not requirements.strip():
        return ()
    progress("choosing wheels")
    asked = requirements
    if " --hash=" in requirements:
        return _as_locked(requirements, python_version, context, cache, built)
    exactly = "".join(f"{wheel.name}=={wheel.version}\n" for wheel in built)
    beside = tuple(f"--find-links={wheel_path(wheel, cache).parent.absolute()}" for wheel in built)
    for _ in range(MAX_ROUNDS):
        found = _download(asked, context, cache, beside, exactly)
        try:
            lacking = unmet((wheel_path(wheel, cache) for wheel in found), asked, python_version)
        except zipfile.BadZipFile as error:
            raise DownloadRefused("the wheels were refused", f"one of them is not a wheel: {error}") from error
        if not lacking:
            return tuple(sorted(found))
        asked += "".join(f"\n{need}" for need in lacking)
    raise BuildRefused("the wheels can't be had", f"the image's Python also needs {', '.join(lacking)}")


def _as_locked(
    pinned: str, python_version: str, context: Path, cache: Path, built: Sequence[Wheel]
) -> tuple[Wheel, ...]:
    """What another tool has locked, as it is. Nothing is chosen, so nothing may be missing."""
    names = {wheel.name for wheel in built}
    lines = [line for line in pinned.splitlines() if plain_name(re.split(r"[\s=\[;]", line)[0]) not in names]
    options = ("--no-deps", "--require-hashes")
    found = [*(_download("\n".join(lines), context, cache, options) if "".join(lines).strip() else ()), *built]
    try:
        lacking = unmet((wheel_path(wheel, cache) for wheel in found), pinned, python_version)
    except zipfile.BadZipFile as error:
        raise DownloadRefused("the wheels were refused", f"one of them is not a wheel: {error}") from error
    if lacking:
        raise BuildRefused(
            "the locked requirements are not whole", f"they also need {', '.join(lacking)}", "lock again, for Linux too"
        )
    return tuple(sorted(found))


def fetch_wheels(wheels: Iterable[Wheel], cache: Path, progress: Callable[[str], None]) -> None:
    """Bring the wheels of a lock into the cache, where `wheel_path` finds them. Raises DownloadRefused,
    DownloadFailed.
    """
    lacking = [wheel for wheel in wheels if not wheel_path(wheel, cache).is_file()]
    if not lacking:
        return
    progress(f"fetching {len(lacking)} wheels")
    text = "".join(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in lacking)
    _download(text, cache, cache, ("--no-deps", "--require-hashes"))
    for wheel in lacking:
        if not wheel_path(wheel, cache).is_file():
            raise DownloadRefused(f"{wheel.file} can't be had", "the index gave another file", "remove the lock file")


def wheel_path(wheel: Wheel, cache: Path) -> Path:
    return cache / "wheels" / wheel.sha256 / wheel.file


def unpack_wheel(wheel: Wheel, cache: Path, site: str) -> list[File]:
    """A wheel's files as installed below `site` (a path in the image), programs in /usr/bin, no scripts. Source: PEP 427.

    Raises DownloadRefused for anything that would land elsewhere.
    """
    path = wheel_path(wheel, cache)
    listing = cache / "unpacked" / f"{wheel.sha256}.2.msgpack"
    members = kept(listing, list[tuple[str, str, str, int]])
    if members is None:
        whole = io.BytesIO(read_checked(path, wheel.sha256, wheel.file))
        try:
            members = _list(whole)
        except NO_ZIP as error:
            raise DownloadRefused(f"{wheel.file} was refused", f"it is not a wheel: {error}") from error
        keep(listing, members)
    archive: list[zipfile.ZipFile] = []

    def load(member: str, sha256: str) -> bytes:
        """A wheel was whole when it was listed: what can't be read now, the disk has changed."""
        with contextlib.suppress(*NO_ZIP):
            if not archive:
                archive.append(zipfile.ZipFile(path))
            data = archive[0].read(member)
            if hashlib.sha256(data).hexdigest() == sha256:
                return data
        path.unlink(missing_ok=True)
        raise CacheDamaged(path, wheel.file)

    origin = f"{wheel.name} {wheel.version}"
    return [
        File(
            to[1:] if to.startswith("/") else f"{site}/{to}",
            "f",
            "",
            sha,
            size,
            origin,
            functools.partial(load, member, sha),
        )
        for member, to, sha, size in members
    ]


def _list(whole: io.BytesIO) -> list[tuple[str, str, str, int]]:
    """(member, path below site or an absolute one, sha256, size) of what is installed."""
    found = []
    with zipfile.ZipFile(whole) as archive:
        infos = files_in(archive)
        if len(infos) > MAX_FILES or sum(info.file_size for info in infos) > MAX_WHEEL_BYTES:
            raise zipfile.BadZipFile("it has too many or too large files")
        for info in infos:
            parts = info.filename.split("/")
            if info.filename.startswith("/") or {"", ".", ".."} & set(parts) or "\\" in info.filename:
                raise zipfile.BadZipFile(f"{info.filename!r} leaves its folder")
            data = archive.read(info)
            if parts[0].endswith(".data"):
                if len(parts) == 3 and parts[1] == "scripts" and data[:4] == b"\x7fELF":
                    parts = ["", "usr", "bin", parts[2]]  # kept by a recipe that names it
                elif len(parts) < 3 or parts[1] not in ("purelib", "platlib"):
                    continue  # scripts, headers, data: nothing that an import needs
                else:
                    parts = parts[2:]
            found.append((info.filename, "/".join(parts), hashlib.sha256(data).hexdigest(), len(data)))
    return found


def _download(
    requirements: str, context: Path, cache: Path, options: tuple[str, ...], constraints: str = ""
) -> list[Wheel]:
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="pip-") as temporary:
        file = Path(temporary) / "requirements.txt"
        file.write_text(requirements, "utf-8")
        asked = [*options, "--quiet", "-r", str(file)]
        if constraints:
            limits = file.with_name("constraints.txt")
            limits.write_text(constraints, "utf-8")
            asked.append(f"--constraint={limits}")
        wheels, what = Path(temporary) / "wheels", "the wheels could not be fetched"
        done = pip_download(asked, wheels, context=context, timeout_s=PIP_TIMEOUT_S, what=what)
        if done.returncode:
            raise refused_by_pip(done.stderr, temporary, "--require-hashes" in options)
        return [_keep(path, cache) for path in sorted(wheels.glob("*.whl"))]


def refused_by_pip(said: str, temporary: str, hashed: bool = False) -> Refusal:
    """pip's own words, without our folders and with the end of a long list of versions."""
    if "No module named pip" in said:
        return BuildRefused(
            "the wheels can't be had",
            "pip, which fetches them, is not installed beside skerry",
            f"{sys.executable} -m ensurepip; or install skerry by pipx or pip",
        )
    if "DO NOT MATCH THE HASHES" in said:
        return DownloadRefused(
            "the wheels were refused",
            "the index gives other bytes than the lock names: " + _package_in(said),
            "lock again if they were meant to change; else find out who changed them",
        )
    gone = re.search(r"No matching distribution found for (\S+==\S+)", said)
    if gone and hashed:
        return Gone(
            f"{gone[1]} can't be had",
            "the lock names it by hash, and the index that pip uses has no such file (any more)",
            "lock again to take what is there now, or name an index that has it to pip",
        )
    lines = [line for line in said.splitlines() if line.startswith("ERROR")] or [said[-400:]]
    words = " ".join(line.removeprefix("ERROR: ") for line in lines[-2:]).replace(f"{temporary}/", "")
    words = re.sub(r"\(from versions: .{200,}?((?:, [^,)]+){5})\)", r"(from versions: …\1)", words)
    fix = "choose versions that have wheels for Linux x86-64 and Python 3.11, or allow the build stage to build them from source"
    named = re.search(r"No matching distribution found for ([A-Za-z0-9._-]+)", said)
    fix += f": build: {{sdists: [{named[1] if named else 'NAME'}]}}"
    if "Invalid requirement" in words:
        fix = "mend that line of the requirements"
    elif "from versions: none" in words:
        fix = f"check the name; {fix}"
    return BuildRefused("the wheels can't be had", f"pip says: {words[:600]}", fix)


def _package_in(said: str) -> str:
    found = re.search(r"^\s+(\S+) from \S+", said, re.MULTILINE)
    return found[1] if found else "see pip's own words with the same file"


def _keep(path: Path, cache: Path) -> Wheel:
    named = _NAME.match(path.name)
    if not named:
        raise BuildRefused(f"{path.name} can't be used", "it does not have a wheel's name")
    data = path.read_bytes()
    wheel = Wheel(plain_name(named[1]), named[2], hashlib.sha256(data).hexdigest(), len(data), path.name)
    place = wheel_path(wheel, cache)
    place.parent.mkdir(parents=True, exist_ok=True)
    path.replace(place)
    return wheel
