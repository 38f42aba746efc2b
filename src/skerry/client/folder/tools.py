"""tools.yaml: images whose programs hosts may run beside containers. Read, compared, carried out, written."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from skerry.client import delivery, kits, toolmaking
from skerry.client.compose.section import Section, Value
from skerry.client.folder.steps import Field, Step
from skerry.client.images import LocalImages, Progress, in_words
from skerry.client.session import Session
from skerry.core.intent import Tools
from skerry.image.building.recipes import tools_names

RECIPE = "recipe {}"  # what `about` says of tools that Skerry brings along


class ToolsWish(msgspec.Struct, frozen=True, kw_only=True):
    """Neither `image` nor `folder`: by the recipe that Skerry brings along. `about` None: not said."""

    image: str = ""
    folder: Path | None = None
    about: str | None = None


def read_tools(base: Path, value: Value, section: Section) -> ToolsWish:
    image, folder, about = section.get("image"), section.get("from"), section.get("about")
    name = value.key.partition(".")[2]
    if image is not None and folder is not None:
        value.mistake("has both `image` and `from`", "name one")
    elif image is None and folder is None and name not in tools_names():
        why = f"says neither `image` nor `from`, and Skerry brings {', '.join(tools_names())} along"
        value.mistake(why, "add image: or from:")
    if about is not None and image is None and folder is None:
        about.mistake("is for `image` and `from`", "leave it out")
    at = base / (folder.text() or "") if folder is not None else None
    if folder is not None and at is not None and not (at / "image.toml").is_file():
        folder.mistake("is no folder with an image.toml", "see docs/tools.md for one")
    said = about.text() if about is not None else None
    if about is not None and said is not None and len(said) > kits.ABOUT_MAX:
        about.mistake(f"is longer than {kits.ABOUT_MAX} characters", "say it shorter")
    return ToolsWish(image=(image.text() if image is not None else None) or "", folder=at, about=said)


async def steps(session: Session, wishes: dict[str, ToolsWish], images: LocalImages, progress: Progress) -> list[Step]:
    """What a folder of one's own makes is built, to see whether it is another. Tools that Skerry brings along stay as they are."""
    there, made = kits.all_tools(session), list[Step]()
    for name, wish in wishes.items():
        held = there.get(name)
        if _is_shipped(wish):
            fields = _differ(held, msgspec.structs.replace(held, about=RECIPE.format(name))) if held is not None else ()
        else:
            fields = _differ(held, await _wanted(name, wish, held, images, progress))
        if held is None or fields:
            made.append(Step(action="add" if held is None else "change", kind="tools", name=name, fields=fields))
    return made


def _differ(held: Tools | None, wanted: Tools) -> tuple[Field, ...]:
    told = ((field, getattr(held, field), getattr(wanted, field)) for field in ("image", "about") if held is not None)
    return tuple(Field(field, old, new) for field, old, new in told if old != new)


async def carry_out(
    session: Session, name: str, wish: ToolsWish | None, images: LocalImages, progress: Progress
) -> None:
    """None: it goes."""
    if wish is None:
        await kits.rm(session, name)
    elif _is_shipped(wish):
        await delivery.make(session, images, name, progress)
    else:
        held = kits.all_tools(session).get(name)
        await kits.sign(session, name, await _wanted(name, wish, held, images, progress))


def _is_shipped(wish: ToolsWish) -> bool:
    return not wish.image and wish.folder is None


async def _wanted(name: str, wish: ToolsWish, held: Tools | None, images: LocalImages, progress: Progress) -> Tools:
    """Raises ImageNotFound, and what building raises."""
    if wish.folder is not None:
        said = in_words(f"tools {name}", progress)
        built = await asyncio.to_thread(toolmaking.build, images, name, said, folder=wish.folder)
        about = wish.about if wish.about is not None else f"own {RECIPE.format(name)}"
        return Tools(image=built.digest, size_bytes=built.size_bytes, about=about)
    if held is not None and held.image == wish.image:
        return held if wish.about is None else msgspec.structs.replace(held, about=wish.about)
    digest = await asyncio.to_thread(images.find, wish.image, progress)
    about = wish.about if wish.about is not None else _about(wish.image, digest, held)
    return Tools(image=digest, size_bytes=images.images.tree(digest).size_bytes, about=about)


def _about(said: str, digest: str, held: Tools | None) -> str:
    return held.about if held is not None and held.image == digest else f"image {said}"[: kits.ABOUT_MAX]


def written(session: Session) -> dict[str, Any]:
    return {
        name: {"image": tools.image} | ({"about": tools.about} if tools.about else {})
        for name, tools in kits.all_tools(session).items()
    }
