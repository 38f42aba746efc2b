"""What a Python project needs, read from whatever file it keeps: loose requirements, or the lock of uv, Poetry or pip.

Each comes out as the text of a requirements file: loose lines for pip to choose from, or `name==version --hash=…` for exactly the
files that a lock names and that the image can use. Nothing is downloaded or run here.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from skerry.image.building.sources.needs.pins import Pin, pinned_text
from skerry.image.building.sources.needs.project import Project, read_project
from skerry.image.contract import BuildRefused

LOCKS = ("pylock.toml", "uv.lock", "poetry.lock")
MAX_BYTES = 32 << 20


class Asked(msgspec.Struct, frozen=True):
    """What of a project the image shall have. `file`: the one to read ("" for whichever is there); `extras`, `groups`: optional
    parts of it; `sdists`: packages that may come as source, as the build stage will build them."""

    file: str = ""
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    sdists: tuple[str, ...] = ()


def requirements_of(context: Path, asked: Asked) -> str:
    """The text. Which file: the one asked for, else the only lock that is there, else requirements.txt, else pyproject.toml.

    Raises BuildRefused, BadLock.
    """
    locks = [name for name in LOCKS if (context / name).is_file()]
    if not asked.file and len(locks) > 1:
        raise BuildRefused(
            f"{context} has {' and '.join(locks)}",
            "which of them counts isn't said",
            f"write `requirements: {locks[0]}`",
        )
    named = asked.file or next(iter(locks), "")
    if not named and (context / "requirements.txt").is_file():
        named = "requirements.txt"
    project = read_project(context)
    if not named:
        return "".join(f"{line}\n" for line in project.wanted(asked.extras, asked.groups))
    path = context / named
    if not path.is_file():
        raise BuildRefused(f"{path} can't be read", "there is no such file", "see `requirements` in the recipe")
    if path.stat().st_size > MAX_BYTES:
        raise BuildRefused(f"{path} can't be read", f"it has more than {MAX_BYTES >> 20} MiB")
    kind = "pylock" if path.name.startswith("pylock.") else path.name.removesuffix(".lock")
    if not path.name.endswith((".lock", ".toml")) or kind not in ("pylock", "uv", "poetry"):
        from skerry.image.building.sources.needs import text

        if asked.extras or asked.groups:
            raise BuildRefused(
                f"{named} has no extras or groups", "it is a plain list", "name another file that has them"
            )
        return text.read(path, context)
    return pinned_text(_pins(kind, path, project, asked), path.name, asked.sdists)


def _pins(kind: str, path: Path, project: Project, asked: Asked) -> Iterable[Pin]:
    data = path.read_bytes()
    if kind == "uv":
        from skerry.image.building.sources.needs import uv

        return uv.read(data, project, asked.extras, asked.groups)
    if kind == "poetry":
        from skerry.image.building.sources.needs import poetry

        return poetry.read(data, project, asked.extras, asked.groups)
    from skerry.image.building.sources.needs import pylock

    return pylock.read(data, path.name, project, asked.extras, asked.groups)
