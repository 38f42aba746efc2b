"""Tools images of a cloud: which there are, as operators signed it, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from skerry.client.session import Session
from skerry.client.widening import HostsTooOld, hosts_know, narrow, widened
from skerry.core.intent import Body, Tools
from skerry.errors import BadInput
from skerry.trust.bounds import NAME
from skerry.trust.checks import ABOUT_MAX as ABOUT_MAX

if TYPE_CHECKING:
    from skerry.client.images import LocalImages


class NoSuchTools(BadInput):
    """No operator has signed tools of that name."""

    code = "no-such-tools"


def path_of(name: str) -> str:
    """Raises BadInput for what can't be the name of tools."""
    if not NAME.fullmatch(name):
        raise BadInput(
            f"{name[:80]!r} can't be the name of tools", "a name has 1 to 63 of a-z, 0-9 and -", "choose another"
        )
    return f"tools/{name}"


def all_tools(session: Session) -> dict[str, Tools]:
    """Those that are not removed, by name."""
    bodies = {d.path.removeprefix("tools/"): d.body for d in session.documents("tools")}
    return {name: body for name, body in sorted(bodies.items()) if isinstance(body, Tools) and not body.deleted}


def find(session: Session, name: str) -> Tools:
    """Raises NoSuchTools."""
    tools = all_tools(session)
    if name not in tools:
        raise NoSuchTools(
            f"there are no tools {name[:80]!r}", f"this cloud has: {', '.join(tools) or 'none'}",
            "an operator makes them: skerry tools build, or skerry tools add",
        )  # fmt: skip
    return tools[name]


async def sign(session: Session, name: str, tools: Tools) -> None:
    """Let every host run the programs of this image beside containers that somebody looks into. The same again signs nothing.

    Raises HostsTooOld, and what `Session.put` raises.
    """
    path = path_of(name)
    if all_tools(session).get(name) == tools:
        return
    changes: list[tuple[str, Body]] = [(path, tools)]
    if "tools" in narrow(session.policy):
        said: list[str] = []
        if not await hosts_know(session, ["tools"], said.append):
            raise HostsTooOld(
                f"{path} was not signed", "; ".join(said), "upgrade the hosts' agents: skerry host upgrade --all"
            )
        changes.insert(0, ("policy", widened(session.policy)))
    await session.change(changes)


async def rm(session: Session, name: str) -> None:
    """No host runs it any more from now on. Raises NoSuchTools."""
    find(session, name)
    await session.change([(path_of(name), Tools(deleted=True))])


async def add(session: Session, images: LocalImages, name: str, digest: str, about: str) -> dict[str, Any]:
    """Sign an image of the local store, which must be whole, as these tools."""
    size = images.images.tree(digest).size_bytes
    await sign(session, name, Tools(image=digest, size_bytes=size, about=about))
    return {"name": name, "image": digest, "size_bytes": size, "about": about}


async def ls(session: Session) -> list[dict[str, Any]]:
    """For people, with shipped ones that nobody has asked for yet. `hosts`: where its image lies now; it comes to others when it is
    used there."""
    from skerry.image.building.recipes import tools_names

    rows: list[dict[str, Any]] = []
    for name, tools in all_tools(session).items():
        hosts = await session.request("image-hosts", {"image": tools.image})
        rows.append(
            {"name": name, "image": tools.image, "size_bytes": tools.size_bytes, "about": tools.about, "hosts": hosts}
        )
    known = {row["name"] for row in rows}
    for name in tools_names():
        if name not in known:
            rows.append(
                {"name": name, "image": "", "size_bytes": None, "about": "built when it is first used", "hosts": []}
            )
    return sorted(rows, key=lambda row: str(row["name"]))
