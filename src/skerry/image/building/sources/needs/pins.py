"""What a lock of another tool says, in one shape: a package, its version, its files by hash; and which file an image can use."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

import msgspec
from packaging.markers import InvalidMarker, Marker
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from skerry.errors import Refusal
from skerry.image.building.sources.environment import environment, tags
from skerry.image.building.sources.lock import BadLock
from skerry.image.contract import BuildRefused

MAX_PINS = 5000
SDIST_MARK = "# sdist"
_HASH = re.compile(r"[0-9a-f]{64}\Z")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?\Z")
_SDIST = (".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tgz")
_T = TypeVar("_T")


class StaleLock(Refusal):
    """A lock file that doesn't fit the project's own file any more."""

    code = "stale-lock"


class Pin(msgspec.Struct, frozen=True):
    """`files`: (name, SHA-256) of the wheels and sources that the lock allows."""

    name: str
    version: str
    files: tuple[tuple[str, str], ...]


def pinned_text(pins: Iterable[Pin], lock_name: str, sdists: Collection[str] = ()) -> str:
    """A requirements text of the one file of each pin that an image can use. Raises BuildRefused, naming the package."""
    allowed = {canonicalize_name(name) for name in sdists}
    lines = []
    seen: dict[str, str] = {}
    for pin in sorted(pins, key=lambda pin: pin.name):
        if seen.setdefault(pin.name, pin.version) != pin.version:
            raise BuildRefused(
                f"{lock_name} can't be used", f"it wants two versions of {pin.name}: {seen[pin.name]} and {pin.version}"
            )
        file, sha256 = _choose(pin, lock_name, allowed)
        mark = "" if file.endswith(".whl") else f"  {SDIST_MARK}"
        lines.append(f"{pin.name}=={pin.version} --hash=sha256:{sha256}{mark}\n")
    return "".join(dict.fromkeys(lines))


def _choose(pin: Pin, lock_name: str, allowed: Collection[str]) -> tuple[str, str]:
    ranks = {tag: rank for rank, tag in enumerate(tags())}
    best: tuple[tuple[int, Any], str, str] | None = None
    for file, sha256 in pin.files:
        if file.endswith(".whl"):
            try:
                _, _, number, fits = parse_wheel_filename(file)
            except (InvalidWheelFilename, InvalidVersion):
                continue
            rank = min((ranks[tag] for tag in fits if tag in ranks), default=None)
            if rank is not None and (best is None or (rank, _newest_first(number)) < best[0]):
                best = ((rank, _newest_first(number)), file, sha256)
    if best:
        return best[1], best[2]
    sources = [one for one in pin.files if one[0].endswith(_SDIST)]
    if sources and pin.name in allowed:
        return sources[0]
    platforms = sorted({file.removesuffix(".whl").rpartition("-")[2] for file, _ in pin.files if file.endswith(".whl")})
    held = (
        f"{lock_name} has wheels of it for {', '.join(platforms[:6])} alone"
        if platforms
        else "it comes as source alone"
    )
    fix = "choose a version that has such a wheel, and lock again"
    if sources:
        fix = f"allow the build stage to build it: build: {{sdists: [{pin.name}]}}; or {fix}"
    raise BuildRefused(f"{pin.name} {pin.version} has no wheel for Linux x86-64 and Python 3.11", held, fix)


def _newest_first(number: Any) -> tuple[int, str]:
    return (-number[0], number[1]) if number else (0, "")


def pin_of(name: str, version: str, files: Iterable[tuple[str, str]], lock_name: str) -> Pin:
    """A pin out of words of a lock file; `files`: (name, "sha256:…"). Raises BadLock."""
    try:
        Version(version)
    except InvalidVersion:
        raise bad(lock_name, f"the version {version[:40]!r} of {name[:40]!r} is none") from None
    if not _NAME.match(name):
        raise bad(lock_name, f"{name[:40]!r} is not the name of a package")
    whole = []
    for file, digest in files:
        algorithm, _, sha256 = digest.partition(":")
        if algorithm == "sha256" and _HASH.match(sha256):
            whole.append((file.replace("\\", "/").rpartition("/")[2], sha256))
    if not whole:
        raise bad(lock_name, f"it has no SHA-256 for {name} {version}", "lock again with hashes")
    return Pin(canonicalize_name(name), version, tuple(whole))


def bad(lock_name: str, why: str, fix: str = "") -> BadLock:
    return BadLock(f"{lock_name} can't be read", why, fix or "lock again")


def foreign(lock_name: str, name: str, source: str) -> BuildRefused:
    """For what doesn't come from an index of packages."""
    return BuildRefused(
        f"{name} can't be taken from {lock_name}",
        f"it comes from {source}: only packages of an index, known by hash, go into an image",
        "put its code into the project's folder, or depend on a version that was published",
    )


def decode(data: bytes, lock_name: str, shape: type[_T]) -> _T:
    """TOML bytes as a struct. Raises BadLock."""
    import tomllib

    try:
        return msgspec.convert(tomllib.loads(data.decode("utf-8")), shape)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise bad(lock_name, str(error)) from error


def applies(marker: str, lock_name: str, extras: Iterable[str] = ()) -> bool:
    """Whether a condition holds in the image, for any of `extras` or for none. Raises BadLock."""
    if not marker:
        return True
    try:
        parsed = Marker(marker)
        return any(parsed.evaluate({**environment(), "extra": extra}) for extra in ("", *extras))
    except (InvalidMarker, ValueError, KeyError, TypeError) as error:
        raise bad(lock_name, f"the condition {marker[:100]!r} can't be judged: {error}") from error


def stale(lock_name: str, why: str, command: str) -> StaleLock:
    return StaleLock(f"{lock_name} is out of date with pyproject.toml", why, f"run `{command}`")


def check_python(wanted: str, lock_name: str) -> None:
    """Raises BuildRefused for a lock that was made for other Pythons than the image's."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        fits = environment()["python_full_version"] in SpecifierSet(wanted)
    except InvalidSpecifier as error:
        raise bad(lock_name, str(error)) from error
    if not fits:
        raise BuildRefused(
            f"{lock_name} can't be used",
            f"it was made for Python {wanted}, and the image's is {environment()['python_full_version']}",
            "widen `requires-python` in pyproject.toml and lock again",
        )


def unreadable_extras(wanted: Iterable[str], there: Mapping[str, Any] | Collection[str], what: str) -> None:
    """Raises BuildRefused for the first extra or group that a project doesn't have."""
    known = {canonicalize_name(name) for name in there}
    for name in wanted:
        if canonicalize_name(name) not in known:
            raise BuildRefused(
                f"the project has no {what} {name!r}", f"it has {', '.join(sorted(known)) or 'none'}", "see the recipe"
            )
