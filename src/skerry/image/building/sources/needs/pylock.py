"""pylock.toml, the lock file that pip, uv and others write. `packaging` reads it and picks from it. Source: PEP 751."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence

from packaging.pylock import (
    Package,
    PackageSdist,
    PackageWheel,
    Pylock,
    PylockSelectError,
    PylockValidationError,
)
from packaging.requirements import Requirement

from skerry.image.building.sources.environment import environment
from skerry.image.building.sources.needs.pins import (
    MAX_PINS,
    Pin,
    applies,
    bad,
    foreign,
    pin_of,
    stale,
    unreadable_extras,
)
from skerry.image.building.sources.needs.project import Project
from skerry.image.contract import BuildRefused


def read(data: bytes, name: str, project: Project, extras: Sequence[str], groups: Sequence[str]) -> list[Pin]:
    """What to install. Raises BadLock, BuildRefused, StaleLock."""
    try:
        lock = Pylock.from_dict(tomllib.loads(data.decode("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, PylockValidationError, RecursionError) as error:
        raise bad(name, str(error)) from error
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise bad(name, f"it breaks its format: {error}") from error
    if len(lock.packages) > MAX_PINS:
        raise bad(name, f"it names more than {MAX_PINS} packages")
    unreadable_extras(extras, lock.extras or (), "extra")
    unreadable_extras(groups, lock.dependency_groups or (), "group")
    pins = list(_pins(lock, name, extras, groups))
    _check_fresh(pins, name, project, extras, groups)
    return pins


def _pins(lock: Pylock, name: str, extras: Sequence[str], groups: Sequence[str]) -> Iterator[Pin]:
    # Wheels are chosen by `pins`, which has more to say about what is missing: any tag will do for `select`.
    chosen = lock.select(
        environment=environment(),  # type: ignore[arg-type]
        tags=_all_tags(lock),
        extras=extras,
        dependency_groups=[*(lock.default_groups or ()), *groups],
    )
    try:
        for package, part in chosen:
            if not isinstance(part, PackageWheel | PackageSdist):
                raise foreign(name, package.name, type(part).__name__.removeprefix("Package").lower())
            yield pin_of(package.name, str(package.version or ""), _files(package), name)
    except PylockSelectError as error:
        raise BuildRefused(f"{name} can't be used", str(error), "lock again for Linux and Python 3.11") from error
    except (ValueError, TypeError, KeyError) as error:
        raise bad(name, f"a condition in it can't be judged: {error}") from error


def _files(package: Package) -> list[tuple[str, str]]:
    parts = [*(package.wheels or ()), *([package.sdist] if package.sdist else ())]
    return [(part.filename, f"sha256:{part.hashes.get('sha256', '')}") for part in parts]


def _all_tags(lock: Pylock) -> list:  # type: ignore[type-arg]
    from packaging.utils import parse_wheel_filename

    from skerry.image.building.sources.environment import tags

    found = dict.fromkeys(tags())
    for package in lock.packages:
        for wheel in package.wheels or ():
            found.update(dict.fromkeys(sorted(parse_wheel_filename(wheel.filename)[3], key=str)))
    return list(found)


def _check_fresh(pins: list[Pin], name: str, project: Project, extras: Sequence[str], groups: Sequence[str]) -> None:
    """The file doesn't say what it was made for; that each requirement is met is all that can be seen."""
    held = {pin.name: pin.version for pin in pins}
    known = [*project.dependencies]
    for extra in extras:
        known += project.extras.get(extra, ())
    for group in groups:
        known += project.groups.get(group, ())
    from packaging.utils import canonicalize_name

    for line in known:
        need = Requirement(line)
        if not applies(str(need.marker or ""), name, extras) or canonicalize_name(need.name) == project.name:
            continue
        version = held.get(canonicalize_name(need.name))
        if version is None or not need.specifier.contains(version, prereleases=True):
            has = f"has {version}" if version else "doesn't have it"
            raise stale(name, f"{line} is wanted, and it {has}", "pip lock (or what else made it)")
