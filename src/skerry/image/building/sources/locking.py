"""From wishes to a lock: solve the packages and choose the wheels, or keep what the lock file already says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from skerry.image.building.rules import packages_for
from skerry.image.building.sources.debian import deb_path, fetch_debs, read_index
from skerry.image.building.sources.environment import PYTHON
from skerry.image.building.sources.fetch import Gone
from skerry.image.building.sources.lock import Deb, Lock, Sdist, Wants, Wheel, counted, read_lock, write_lock
from skerry.image.building.sources.mirrors import archives
from skerry.image.building.sources.modules import fetch_modules, lock_modules, module_path
from skerry.image.building.sources.resolve import Index, Package, resolve
from skerry.image.building.sources.wheels import fetch_wheels, lock_wheels, wheel_path

if TYPE_CHECKING:
    from skerry.image.building.sources.sdists import Builder


def lock(
    wants: Wants,
    *,
    file: Path,
    name: str,
    context: Path,
    cache: Path,
    mirror: str = "",
    builder: Builder | None = None,
    progress: Callable[[str], None],
) -> Lock:
    """The lock of these wants, read from section `name` of `file` or made and written there; all that it names is fetched.

    `builder`: who builds what comes as source, if that is allowed for any.
    """
    wanted = _wanted(wants)
    found = read_lock(file, name)
    if found is None or found.wanted != wanted:
        debs = lock_debs(sorted(set(wants.packages)), cache, mirror, progress)
        python = _python_version(debs)
        sdists: tuple[Sdist, ...] = ()
        built: tuple[Wheel, ...] = ()
        if wants.sdists and builder:
            from skerry.image.building.sources.from_source import lock_sdists

            sdists, built = lock_sdists(wants, python, context, cache, builder, progress)
        wheels = lock_wheels(wants.requirements, python, context, cache, progress, built)
        sdists = tuple(one for one in sdists if one.name in {wheel.name for wheel in wheels})
        modules = lock_modules(wants.dependencies, context, progress) if wants.dependencies else wants.modules
        found = Lock(wanted, debs, wheels, sdists, modules, wants.inputs)
        write_lock(file, name, found)
        progress(f"locked {found.counted()} in {file.name}")
    try:
        fetch_debs(found.debs, archives(mirror), cache, progress)
    except Gone as gone:  # mirrors keep the newest two or three versions
        raise Gone(
            gone.what, gone.why, f"remove section {name!r} of {file}, or all of it, to lock newer versions"
        ) from gone
    from_source = {sdist.name for sdist in found.sdists}
    fetch_wheels([wheel for wheel in found.wheels if wheel.name not in from_source], cache, progress)
    if found.sdists and builder:
        from skerry.image.building.sources.from_source import build_sdists

        build_sdists(found.sdists, found.wheels, context, cache, builder, progress)
    fetch_modules(found.modules, context, cache, progress)
    return found


def lock_state(wants: Wants, file: Path, name: str, cache: Path) -> tuple[Lock | None, str]:
    """The lock of these wants, None if it has to be made; and in words what of it is not in the cache, "" for nothing."""
    found = read_lock(file, name)
    if found is None or found.wanted != _wanted(wants):
        return None, ""
    debs = sum(not deb_path(deb, cache).is_file() for deb in found.debs)
    from_source = {sdist.name for sdist in found.sdists}
    wheels = sum(not wheel_path(wheel, cache).is_file() for wheel in found.wheels if wheel.name not in from_source)
    modules = sum(not module_path(module, cache).is_file() for module in found.modules)
    return found, counted(debs, wheels, modules)


def _wanted(wants: Wants) -> str:
    words = [*sorted(set(wants.packages)), "", wants.requirements, *(f"sdist {name}" for name in sorted(wants.sdists))]
    if wants.modules or wants.dependencies:
        words += ["", wants.dependencies, msgspec.json.encode(wants.modules).decode()]
    words += [f"input {one.path} {one.sha256}" for one in wants.inputs]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]


def lock_debs(wishes: Iterable[str], cache: Path, mirror: str, progress: Callable[[str], None]) -> tuple[Deb, ...]:
    """The packages for these wishes with what the rules want beside them."""
    wanted = tuple(wishes)
    if not wanted:
        return ()
    index = Index(read_index(archives(mirror), cache, progress))
    found = resolve(index, wanted)
    more = packages_for(package.name for package in found)
    if more:
        found = resolve(index, (*wanted, *sorted(more)))
    return tuple(sorted(map(_deb, found)))


def _deb(package: Package) -> Deb:
    archive: Literal["debian", "debian-security"]
    archive = "debian-security" if package.archive == "debian-security" else "debian"
    return Deb(package.name, package.version, package.sha256, package.size, archive, package.path)


def _python_version(debs: Iterable[Deb]) -> str:
    """The full version of the Python among these packages: "3.11.2" for "3.11.2-6+deb12u6"."""
    found = next((deb.version for deb in debs if deb.name == f"python{PYTHON}"), f"{PYTHON}.0")
    return found.partition(":")[2].partition("-")[0] if ":" in found else found.partition("-")[0]
