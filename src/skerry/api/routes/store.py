"""Images of the serving machine's store, tools, and roles."""

from __future__ import annotations

import asyncio
import base64
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from skerry.api.table import Body, Call, Page, Paged, Query, Routes, page
from skerry.core.intent import Operator
from skerry.errors import BadInput
from skerry.image.oci import DIGEST
from skerry.sdk.seen import ToolsImage
from skerry.sdk.values import Image, Role
from skerry.trust.identity import certifies, is_key

routes = Routes("images, tools and roles")


class Named(Query, frozen=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=128, description="As in `image:` of a compose file.")]


class CiRole(Body, frozen=True):
    """`public`: the public half that `skerry key new` wrote; `apps`: whose images that key may release."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=63)]
    public: Operator
    apps: Annotated[list[str], msgspec.Meta(min_length=1, max_length=64)]


class RightOf(Body, frozen=True):
    """As `skerry role add observe`, `debug`, `debug-host`. `until_s`: unix seconds, 0: for good."""

    right: Literal["observe", "debug", "debug-host"]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=63)]
    public: Operator
    apps: Annotated[list[Annotated[str, msgspec.Meta(max_length=63)]], msgspec.Meta(max_length=64)] = []
    hosts: Annotated[list[Annotated[str, msgspec.Meta(max_length=128)]], msgspec.Meta(max_length=64)] = []
    until_s: Annotated[float, msgspec.Meta(ge=0, le=253402300799)] = 0.0


class ToolsAre(Body, frozen=True):
    """`image`: a digest, or a name in the store of the serving machine (PUT /v1/images brings one). `about`: for people."""

    image: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    about: Annotated[str, msgspec.Meta(max_length=200)] = ""


class TurnBack(Query, frozen=True):
    turn_back: bool = False


class SignedAgain(msgspec.Struct, frozen=True, kw_only=True):
    """`paths`: of documents that the role had signed, and that were signed again."""

    paths: list[str]


@routes.add("get", "/v1/images", "List the images of the store", "read", gives=Page[Image], query=Paged)
async def list_images(call: Call) -> Page[Image]:
    return page(await call.cloud.images.ls(), lambda image: f"{image.name}@{image.digest}", call.query)


@routes.add(
    "put", "/v1/images", "Bring an image: a docker-archive or an OCI layout as a tar", "*", gives=Image, query=Named, upload=True,
)  # fmt: skip
async def bring_image(call: Call) -> Image:
    """With role deploy:APP under the app's name: APP, or beginning with APP and one of `.:/`."""
    name = call.query.name
    call.bearer.demand(*(role for role in call.bearer.roles if _names(role, name)))
    assert call.upload is not None
    with tempfile.TemporaryDirectory(prefix="skerry-api-") as folder:
        path = Path(folder) / "image.tar"
        with path.open("wb") as file:
            async for chunk in call.upload():
                await asyncio.to_thread(file.write, chunk)
        return await call.cloud.images.add(path, name)


def _names(role: str, image: str) -> bool:
    kind, _, app = role.partition(":")
    return kind == "deploy" and image.startswith(app) and image[len(app) :][:1] in ("", ".", ":", "/")


@routes.add("delete", "/v1/images", "Take a name away from an image", gives=None, query=Named, status=204)
async def remove_image(call: Call) -> None:
    """The image itself goes once nothing uses it: `skerry image gc`."""
    await call.cloud.images.rm(call.query.name)


@routes.add("get", "/v1/tools", "Images with tools for looking into containers", "read", gives=Page[ToolsImage])
async def list_tools(call: Call) -> Page[ToolsImage]:
    return Page(items=await call.cloud.tools.ls())


@routes.add(
    "put", "/v1/tools/{tools}", "Let hosts run an image's programs beside containers", gives=ToolsImage, body=ToolsAre
)
async def put_tools(call: Call) -> ToolsImage:
    """Nothing is built for a request: `skerry tools build` does."""
    body: ToolsAre = call.body
    if body.image not in call.cloud.images.names() and not DIGEST.match(body.image):
        why = f"{body.image[:80]!r} is not in the store"
        raise BadInput(f"tools {call.path['tools']} were not signed", why, "bring it by PUT /v1/images?name=NAME")
    return await call.cloud.tools.add(call.path["tools"], body.image, about=body.about)


@routes.add("delete", "/v1/tools/{tools}", "Take tools away: no host runs them any more", gives=None, status=204)
async def remove_tools(call: Call) -> None:
    await call.cloud.tools.rm(call.path["tools"])


@routes.add("get", "/v1/roles", "List the roles: which keys may sign what", "read", gives=Page[Role], query=Paged)
async def list_roles(call: Call) -> Page[Role]:
    return page(await call.cloud.roles.ls(), lambda role: role.name, call.query)


@routes.add("post", "/v1/roles", "Let a CI key release the images of named apps", gives=Role, body=CiRole, status=201)
async def add_role(call: Call) -> Role:
    """Operators are added with the root key at hand: `skerry role add operator`."""
    body: CiRole = call.body
    _good_key(body.name, body.public)
    return await call.cloud.roles.add_ci(body.name, body.public, body.apps)


def _good_key(name: str, public: Operator) -> None:
    try:
        good = is_key(public.key) and certifies(base64.b64decode(public.certificate), public.key)
    except ValueError:
        good = False
    if not good or not is_key(public.sealing):
        raise BadInput(f"role {name} was not added", "`public` is no public key", "make one: skerry key new NAME")


@routes.add(
    "post", "/v1/roles/rights", "Let a key look in: observe, debug, debug-host", gives=Role, body=RightOf, status=201
)
async def add_right(call: Call) -> Role:
    """It signs nothing. `*` among apps or hosts: all."""
    body: RightOf = call.body
    _good_key(body.name, body.public)
    return await call.cloud.roles.add_right(
        body.right, body.name, body.public, apps=body.apps, hosts=body.hosts, until_s=body.until_s
    )


@routes.add("delete", "/v1/roles/{role}", "Take a role away and bar its keys", gives=SignedAgain, query=TurnBack)
async def remove_role(call: Call) -> SignedAgain:
    """`turn_back`: of its releases, those before the last are taken for good."""
    done = await call.cloud.roles.rm(call.path["role"], turn_back=call.query.turn_back)
    return SignedAgain(paths=list(done))
