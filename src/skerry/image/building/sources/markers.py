"""What wheels ask for on the image's Python, judged by its environment and not by that of the machine that builds.

pip judges conditions such as `python_full_version < "3.11.3"` by the Python that runs it, whatever version was asked for. So
what it left out is found here, and asked for in a second round. Source: PEP 508.
"""

from __future__ import annotations

import email
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from skerry.image.building.sources.environment import environment
from skerry.image.zips import NO_ZIP

MAX_METADATA_BYTES = 4 << 20


def unmet(wheels: Iterable[Path], requirements: str, python_version: str) -> list[str]:
    """Requirements of the wheels (and of the requirements text) that none of the wheels satisfies by name, sorted.

    `python_version`: in full, "3.11.2". Raises BadZipFile for what is no wheel.
    """
    asks: dict[str, list[Requirement]] = {}
    for path in wheels:
        name, texts = _metadata(path)
        asks[name] = [found for text in texts if (found := _requirement(text))]
    roots = [
        found for line in requirements.splitlines() if (found := _requirement(line.split(" --")[0].split(" #")[0]))
    ]
    extras: dict[str, set[str]] = {}
    todo = [root for root in roots if _applies(root, {""}, python_version)]
    wanted: dict[str, Requirement] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        need = todo.pop()
        name = plain_name(need.name)
        wanted.setdefault(name, need)
        asked = extras.setdefault(name, {""})
        asked |= need.extras
        state = (name, frozenset(asked))
        if state not in seen:
            seen.add(state)
            todo += [one for one in asks.get(name, ()) if _applies(one, asked, python_version)]
    return sorted(f"{need.name}{need.specifier}" for name, need in wanted.items() if name not in asks)


def plain_name(name: str) -> str:
    """A project's name in its one form. Source: PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _requirement(text: str) -> Requirement | None:
    try:
        return Requirement(text.strip())
    except InvalidRequirement:
        return None  # an option line, or something that pip itself will judge


def _applies(requirement: Requirement, extras: set[str], python_version: str) -> bool:
    if requirement.marker is None:
        return True
    here = environment(python_version)
    return any(requirement.marker.evaluate({**here, "extra": extra}) for extra in extras)


def _metadata(path: Path) -> tuple[str, list[str]]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
            if not names:
                raise zipfile.BadZipFile("it has no metadata")
            with archive.open(names[0]) as source:
                message = email.message_from_bytes(source.read(MAX_METADATA_BYTES))
    except (OSError, *NO_ZIP) as error:
        raise zipfile.BadZipFile(str(error)) from error
    return plain_name(str(message["Name"] or "")), [str(text) for text in message.get_all("Requires-Dist") or ()]
