"""Having tools on the host that needs them: signed by operators, built here at first use, fetched there or handed over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.client import kits, toolmaking
from skerry.client.images import in_words
from skerry.client.push import push
from skerry.client.session import Session
from skerry.core.intent import Tools
from skerry.errors import Refusal, SkerryError
from skerry.image.building.recipes import tools_names
from skerry.sizes import size

if TYPE_CHECKING:
    from skerry.client.images import LocalImages

Progress = Callable[[str], None]
SILENCE_S = 30.0  # a host that fetches says so each second


class ToolsNowhere(Refusal):
    """The tools are signed, and neither a host nor this machine has their image."""

    code = "tools-nowhere"


async def ready(session: Session, images: LocalImages, name: str, node: str, progress: Progress) -> str:
    """The digest of these tools, whose image `node` (a path) has whole when this returns.

    Shipped tools that no operator has signed yet are built and signed, if this is an operator. Raises NoSuchTools, ToolsNowhere,
    and what building, signing and pushing raise.
    """
    tools = kits.all_tools(session).get(name)
    if tools is None and name in tools_names() and session.may_sign(kits.path_of(name)):
        progress(f"tools {name} are not in this cloud yet: building them here, once")
        tools = await make(session, images, name, progress)
    tools = tools or kits.find(session, name)
    if await _fetched(session, name, tools, node, progress):
        return tools.image
    if not _is_here(images, tools.image):
        tools = await _made_again(session, images, name, tools, progress)
    progress(f"tools {name}: handing {size(tools.size_bytes)} to {node.removeprefix('node/')}, once")
    await push(session, [tools.image], images, progress, node=node)
    return tools.image


async def make(
    session: Session,
    images: LocalImages,
    name: str,
    progress: Progress,
    *,
    folder: Path | None = None,
    refresh: bool = False,
) -> Tools:
    """Build shipped tools, or those of an own recipe in `folder`, and sign them."""
    kits.path_of(name)
    said = in_words(f"tools {name}", progress)
    built = await asyncio.to_thread(toolmaking.build, images, name, said, folder=folder, refresh=refresh)
    progress(f"tools {name}: {built.digest[7:19]}, {size(built.size_bytes)}, {built.files} files")
    tools = Tools(
        image=built.digest,
        size_bytes=built.size_bytes,
        about=f"own recipe {name}" if folder else f"recipe {name}",
    )
    await kits.sign(session, name, tools)
    return tools


async def _fetched(session: Session, name: str, tools: Tools, node: str, progress: Progress) -> bool:
    """Whether the host has it, or gets it from others."""
    told = False
    async for item in session.stream("tools", {"tools": name, "digest": tools.image}, node=node, silence_s=SILENCE_S):
        if item.get("state") == "coming" and not told:
            told = True
            progress(
                f"tools {name}: {node.removeprefix('node/')} fetches {size(tools.size_bytes)} from other hosts, once"
            )
        if item.get("state") in ("here", "nowhere"):
            return bool(item["state"] == "here")
    return False


def _is_here(images: LocalImages, digest: str) -> bool:
    try:
        return not images.images.missing(digest)
    except (SkerryError, OSError):
        return False


async def _made_again(session: Session, images: LocalImages, name: str, tools: Tools, progress: Progress) -> Tools:
    """Hosts forget tools that nobody used; what another machine built may come out as another digest here."""
    if name in tools_names() and session.may_sign(kits.path_of(name)):
        progress(f"no host has tools {name} any more: building them here")
        return await make(session, images, name, progress)
    raise ToolsNowhere(
        f"tools {name} can't be used now",
        f"neither a host nor this machine has their image {tools.image[7:19]}",
        "an operator brings them again: skerry tools build, or skerry tools add for own ones",
    )
