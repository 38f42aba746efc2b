"""Which wheels are to be built from source, and with what: chosen once, then in the lock like everything else.

Running a source's code is the `Builder`'s matter; here it is only asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from skerry.image.building.sources.environment import environment
from skerry.image.building.sources.lock import Sdist, Wants, Wheel
from skerry.image.building.sources.sdists import Builder, build_system, fetch_sdist, find_sdist, sdist_path, sources_of
from skerry.image.building.sources.wheels import fetch_wheels, lock_wheels, wheel_path
from skerry.image.contract import BuildRefused, DownloadRefused

_HASHES = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def lock_sdists(
    wants: Wants, python_version: str, context: Path, cache: Path, builder: Builder, progress: Callable[[str], None]
) -> tuple[tuple[Sdist, ...], tuple[Wheel, ...]]:
    """The sources that are needed, as they are allowed by name and have no wheel; and what was built of them."""
    found: list[Sdist] = []
    built: list[Wheel] = []
    for need, hashes in _named(wants):
        progress(f"looking for a source of {need.name}")
        sdist = find_sdist(need, context, cache, even_if_wheel=bool(hashes))
        if sdist is None:
            continue
        if hashes and sdist.sha256 not in hashes:
            raise DownloadRefused(f"{sdist.file} was refused", "the index gives other bytes than the lock names")
        sdist = _with_requires(sdist, python_version, context, cache, builder, progress)
        found.append(sdist)
        built.append(builder.wheel(sdist))
    return tuple(sorted(found)), tuple(built)


def build_sdists(
    sdists: Iterable[Sdist],
    wheels: Sequence[Wheel],
    context: Path,
    cache: Path,
    builder: Builder,
    progress: Callable[[str], None],
) -> None:
    """Make the wheels of a lock that come from source, where they aren't there yet. Raises BuildRefused for other bytes."""
    for sdist in sdists:
        locked = next((wheel for wheel in wheels if wheel.name == sdist.name), None)
        if locked and wheel_path(locked, cache).is_file():
            continue
        if not sdist_path(sdist, cache).is_file():
            progress(f"fetching the source of {sdist.name}")
            fetch_sdist(sdist, context, cache)
        fetch_wheels(sdist.requires, cache, progress)
        if builder.wheel(sdist) != locked:
            raise BuildRefused(
                f"{sdist.name} {sdist.version} was built to other bytes than the lock names",
                "its build isn't the same everywhere, or what builds it has changed",
                "remove the image's section of skerry.lock to lock what comes out now",
            )


def lacking(sdists: Iterable[Sdist], wheels: Sequence[Wheel], cache: Path) -> list[str]:
    """Names of those that would have to be built."""
    there = {wheel.name for wheel in wheels if wheel_path(wheel, cache).is_file()}
    return [sdist.name for sdist in sdists if sdist.name not in there]


def _with_requires(
    sdist: Sdist, python_version: str, context: Path, cache: Path, builder: Builder, progress: Callable[[str], None]
) -> Sdist:
    """The source with the wheels that its backend wants: the declared ones, then what it asks for itself."""
    declared = list(build_system(sources_of(sdist, cache)).requires)
    wheels = lock_wheels("\n".join(declared), python_version, context, cache, progress)
    sdist = msgspec.structs.replace(sdist, requires=wheels)
    more = [text for text in builder.requires(sdist) if _name(text) not in {wheel.name for wheel in wheels}]
    if more:
        wheels = lock_wheels("\n".join([*declared, *more]), python_version, context, cache, progress)
        sdist = msgspec.structs.replace(sdist, requires=wheels)
    return sdist


def _named(wants: Wants) -> list[tuple[Requirement, frozenset[str]]]:
    """The requirement of each package that may come as source, and the hashes that it may have."""
    allowed = {canonicalize_name(name) for name in wants.sdists}
    found: dict[str, tuple[Requirement, frozenset[str]]] = {}
    hashed = " --hash=" in wants.requirements
    for line in wants.requirements.splitlines():
        try:
            need = Requirement(re.split(r"\s--\w|\s#", line, maxsplit=1)[0].strip())
        except InvalidRequirement:
            continue
        name = canonicalize_name(need.name)
        if name in allowed and (need.marker is None or need.marker.evaluate(environment())):
            found[name] = (need, frozenset(_HASHES.findall(line)))
    if not hashed:  # others may come in as what a wheel needs
        for name in allowed:
            found.setdefault(name, (Requirement(name), frozenset()))
    return [found[name] for name in sorted(found)]


def _name(text: str) -> str:
    try:
        return canonicalize_name(Requirement(text).name)
    except InvalidRequirement:
        raise BuildRefused(
            "a source can't be built", f"its backend asks for {text[:100]!r}, which is no requirement"
        ) from None
