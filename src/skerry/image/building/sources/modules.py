"""Node's packages: which of them a package-lock.json names for this image, fetched by their hash, read straight from the tarballs.

npm never runs in an image, and no script of a package runs anywhere. Which registry is used is npm's own matter, as the
operator has configured it; neither its name nor the lock file's `resolved` is kept.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import posixpath
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from skerry.image.building.pile import File
from skerry.image.building.sources.fetch import Gone, Sealed, fetch_sealed
from skerry.image.building.sources.lock import Module
from skerry.image.contract import BuildRefused, DownloadFailed, DownloadRefused
from skerry.image.kept import CacheDamaged, keep, kept, read_checked, write_whole
from skerry.image.tars import BROKEN, open_tar
from skerry.image.tars import members as members_of
from skerry.outside import UNREADABLE

_T = TypeVar("_T")
LOCK = "package-lock.json"
MAX_TARBALL_BYTES = 256 << 20
MAX_FILES = 100_000
NPM_TIMEOUT_S = 120
_HERE = {"os": "linux", "cpu": "x64", "libc": "glibc"}


class _Package(msgspec.Struct):
    """An entry of package-lock.json that is of interest. Source: npm, package-lock.json(5)."""

    version: str = ""
    name: str = ""
    integrity: str = ""
    resolved: str | bool = ""
    dev: bool = False
    optional: bool = False
    extraneous: bool = False
    link: bool = False
    inBundle: bool = False
    os: str | list[str] = []
    cpu: str | list[str] = []
    libc: str | list[str] = []
    dependencies: dict[str, str] = {}
    optionalDependencies: dict[str, str] = {}
    workspaces: list[str] | dict[str, object] = []


class _LockFile(msgspec.Struct):
    lockfileVersion: int = 1
    packages: dict[str, _Package] = {}


def read_package_lock(context: Path) -> tuple[Module, ...]:
    """What package-lock.json names for running on Linux: no development packages, none for other platforms. Raises BuildRefused."""
    file = _load(context / LOCK, _LockFile)
    if file.lockfileVersion not in (2, 3):
        raise _refused(
            context, f"it has version {file.lockfileVersion}", "write it anew: npm install --lockfile-version 3"
        )
    project = _load(context / "package.json", _Package)
    if project.workspaces:
        raise _refused(
            context, "the project is made of workspaces", "give each service a folder with its own package-lock.json"
        )
    root = file.packages.get("", _Package())
    if (root.dependencies, root.optionalDependencies) != (project.dependencies, project.optionalDependencies):
        raise _refused(context, "package.json asks for other packages than it was made for", "run npm install")
    paths: dict[tuple[str, str, str], list[str]] = {}
    for path, package in file.packages.items():
        if path and (module := _module(context, path, package)):
            paths.setdefault(module, []).append(path)
    return tuple(Module(*module, paths=tuple(sorted(at))) for module, at in sorted(paths.items()))


def dependencies_of(context: Path) -> str:
    """What package.json asks for, as text, for a project without a lock file; "" for nothing. Raises BuildRefused."""
    path = context / "package.json"
    if not path.is_file():
        return ""
    project = _load(path, _Package)
    for other in ("yarn.lock", "pnpm-lock.yaml", "bun.lock", "bun.lockb"):
        if (context / other).is_file():
            raise BuildRefused(
                f"{other} can't be used", "Skerry reads package-lock.json", "make one: npm install --package-lock-only"
            )
    wanted = {"dependencies": project.dependencies, "optionalDependencies": project.optionalDependencies}
    return json.dumps(wanted, sort_keys=True) if any(wanted.values()) else ""


def lock_modules(dependencies: str, context: Path, progress: Callable[[str], None]) -> tuple[Module, ...]:
    """Let npm choose versions for what package.json asks for. Runs no scripts, changes nothing of the project."""
    progress("choosing packages by npm")
    with tempfile.TemporaryDirectory(prefix="skerry-npm-") as temporary:
        folder = Path(temporary)
        (folder / "package.json").write_text(dependencies, "utf-8")
        if (context / ".npmrc").is_file():
            (folder / ".npmrc").write_bytes((context / ".npmrc").read_bytes())
        _npm(["install", "--package-lock-only", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
        return read_package_lock(folder)


def fetch_modules(modules: Iterable[Module], context: Path, cache: Path, progress: Callable[[str], None]) -> None:
    """Bring the tarballs of a lock into the cache, where `module_path` finds them. Raises DownloadRefused, DownloadFailed."""
    lacking = [module for module in modules if not module_path(module, cache).is_file()]
    if not lacking:
        return
    progress(f"fetching {len(lacking)} packages of npm")
    registries = {scope: _registry(context, scope) for scope in {_scope(module.name) for module in lacking}}
    try:
        fetch_sealed(
            Sealed(
                f"{registries[_scope(module.name)]}/{module.name}/-/{module.name.rpartition('/')[2]}-{module.version}.tgz",
                module_path(module, cache),
                _sha512(module.integrity),
                MAX_TARBALL_BYTES,
            )
            for module in lacking
        )
    except Gone as gone:
        raise Gone(
            gone.what, gone.why, "is npm's registry the right one (npm config get registry)? else run npm update"
        ) from gone


def module_path(module: Module, cache: Path) -> Path:
    return cache / "modules" / f"{_sha512(module.integrity).hex()[:64]}.tgz"


class _Member(msgspec.Struct, array_like=True):
    path: str
    sha256: str
    size: int
    offset: int


def unpack_module(module: Module, cache: Path, below: str) -> list[File]:
    """A package's files at each of its paths under the folder `below`. Raises DownloadRefused."""
    packed = module_path(module, cache)
    plain = cache / "unpacked" / f"{packed.stem}.npm.tar"
    listing = plain.with_suffix(".msgpack")
    origin = f"{module.name} {module.version}"
    members = kept(listing, list[_Member])
    if members is None or not plain.is_file():
        source = packed.read_bytes()
        if hashlib.sha512(source).digest() != _sha512(module.integrity):
            packed.unlink()
            raise CacheDamaged(packed, origin)
        try:
            members, data = _read_tarball(io.BytesIO(source))
        except (gzip.BadGzipFile, *BROKEN) as error:
            raise DownloadRefused(f"{origin} was refused", f"it is not a package of npm: {error}") from error
        write_whole(plain, data)
        keep(listing, members)
    return [_file(member, plain, f"{below}/{path}", origin) for path in module.paths for member in members]


def _file(member: _Member, plain: Path, folder: str, origin: str) -> File:
    def load() -> bytes:
        return read_checked(plain, member.sha256, origin, offset=member.offset, size=member.size)

    return File(f"{folder}/{member.path}", "f", "", member.sha256, member.size, origin, load)


def _read_tarball(packed: io.BytesIO) -> tuple[list[_Member], bytes]:
    """The regular files of a tarball without its first folder, one behind the other. npm packs nothing else."""
    found: dict[str, _Member] = {}
    data = bytearray()
    with open_tar(packed, "r:gz") as tar:
        for count, info in enumerate(members_of(tar)):
            if count > MAX_FILES or len(data) + info.size > MAX_TARBALL_BYTES:
                raise tarfile.ReadError("it has too many or too large files")
            parts = [part for part in info.name.split("/") if part not in ("", ".")]
            if not info.isreg() or len(parts) < 2:
                continue
            if ".." in parts or "\\" in info.name:
                raise tarfile.ReadError(f"{info.name!r} leaves its folder")
            source = tar.extractfile(info)
            content = source.read() if source else b""
            path = "/".join(parts[1:])
            found[path] = _Member(path, hashlib.sha256(content).hexdigest(), len(content), len(data))
            data += content
    return list(found.values()), bytes(data)


def _module(context: Path, path: str, package: _Package) -> tuple[str, str, str] | None:
    """Name, version and integrity of an entry that belongs into the image."""
    if package.dev or package.extraneous or package.inBundle:
        return None
    name = package.name or path.rpartition("node_modules/")[2]
    if package.link or not path.startswith("node_modules/"):
        raise _refused(
            context, f"{path} is a folder of the project, linked in", "publish it, or copy it into the project"
        )
    fits = all(_fits(getattr(package, key), here) for key, here in _HERE.items())
    if not fits:
        if package.optional:
            return None
        raise _refused(
            context, f"{name} is for other platforms than Linux on x86-64", "make it optional, or leave it out"
        )
    resolved = package.resolved if isinstance(package.resolved, str) else ""
    if resolved.startswith(("git", "file:", "github:")):
        raise _refused(
            context, f"{name} comes from {resolved.partition(':')[0]}, not from a registry", "publish it, or copy it in"
        )
    if not package.integrity:
        raise _refused(context, f"{name} has no integrity", "write it anew with npm 7 or newer: npm install")
    best = next((part for part in package.integrity.split() if part.startswith("sha512-")), "")
    if not best or not _plain(name) or not _plain(package.version) or posixpath.normpath(path) != path:
        raise _refused(context, f"{name[:80]} {package.version[:40]} has no SHA-512, or an odd name", "run npm update")
    _sha512(best)
    return name, package.version, best


def _fits(said: str | list[str], here: str) -> bool:
    words = [said] if isinstance(said, str) else said
    allowed = [word for word in words if not word.startswith("!")]
    return f"!{here}" not in words and (not allowed or here in allowed or "any" in allowed)


def _plain(text: str) -> bool:
    return 0 < len(text) < 215 and not text.startswith(("/", ".")) and all(c.isalnum() or c in "@/._+-~" for c in text)


def _sha512(integrity: str) -> bytes:
    try:
        digest = base64.b64decode(integrity.removeprefix("sha512-").partition("?")[0], validate=True)
    except ValueError:  # binascii.Error is one, and so is what isn't ASCII
        digest = b""
    if len(digest) != 64:
        raise BuildRefused(f"{LOCK} was refused", f"{integrity[:40]!r} is no SHA-512", "run npm update")
    return digest


def _scope(name: str) -> str:
    return name.partition("/")[0] if name.startswith("@") else ""


def _registry(context: Path, scope: str) -> str:
    """The registry of a scope ("@acme", or "" for all others) without a slash at the end."""
    found = _npm(["config", "get", f"{scope}:registry"], context).strip() if scope else ""
    if found in ("", "undefined"):
        # npm itself would take it from there, too; asked here it also works where no npm is installed.
        found = os.environ.get("npm_config_registry", "") or _npm(["config", "get", "registry"], context).strip()  # noqa: SIM112
    if not found.startswith(("http://", "https://")):
        raise DownloadFailed("npm's packages could not be fetched", f"npm names no registry: {found[:100]!r}")
    return found.rstrip("/")


def _npm(words: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            ["npm", *words], cwd=folder, capture_output=True, text=True, timeout=NPM_TIMEOUT_S, check=False
        )
    except FileNotFoundError as error:
        raise DownloadFailed(
            "npm's packages could not be fetched",
            "npm, which knows the registry, is not installed on this machine",
            "install it, or name the registry by npm_config_registry",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise DownloadFailed("npm's packages could not be chosen", f"npm was not done in {NPM_TIMEOUT_S} s") from error
    if done.returncode:
        lines = [line.partition("npm error ")[2] for line in done.stderr.splitlines() if line.startswith("npm error ")]
        raise BuildRefused(
            "npm's packages can't be had",
            f"npm says: {'; '.join(lines[:4]) or done.stderr[-300:]}",
            "mend package.json",
        )
    return done.stdout


def _load(path: Path, type: type[_T]) -> _T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=type)
    except FileNotFoundError as error:
        raise BuildRefused(f"{path} can't be read", "there is no such file", "recipe node needs it") from error
    except (OSError, *UNREADABLE) as error:
        raise BuildRefused(
            f"{path} can't be read", str(error), "mend it, or let npm write it anew: npm install"
        ) from error


def _refused(context: Path, why: str, fix: str) -> BuildRefused:
    return BuildRefused(f"{context / LOCK} was refused", why, fix)
