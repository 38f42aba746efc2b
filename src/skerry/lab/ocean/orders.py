"""What a request to create droplets must hold, and with which words the API refuses it."""

from __future__ import annotations

import re
from typing import Annotated, TypeVar

import msgspec

from skerry.lab.ocean import catalog
from skerry.outside import UNREADABLE

USER_DATA_BYTES = 64 << 10
AT_ONCE = 10
NAME = re.compile(r"[a-zA-Z0-9]?[a-z0-9A-Z.\-]*[a-z0-9A-Z]")
TAG = re.compile(r"[a-zA-Z0-9_\-:]+")
NAME_CHARS = TAG_CHARS = 255
T = TypeVar("T")

Tag = Annotated[str, msgspec.Meta(max_length=TAG_CHARS)]


class Refused(Exception):
    """Answered with this status and the id and message of the API's errors."""

    def __init__(self, status: int, id: str, message: str) -> None:
        super().__init__(message)
        self.status, self.id, self.message = status, id, message


class Create(msgspec.Struct, kw_only=True):
    """The body of POST /v2/droplets. What it has besides is taken and has no effect."""

    size: str
    image: str | int
    name: str | None = None
    names: list[str] | None = None
    region: str | None = None
    ssh_keys: list[str | int] = []
    tags: list[Tag] | None = None
    user_data: str | None = None
    vpc_uuid: str | None = None


def unprocessable(message: str) -> Refused:
    return Refused(422, "unprocessable_entity", message)


def read(body: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(body or b"{}", type=shape)
    except msgspec.ValidationError as error:
        raise unprocessable(str(error)) from None
    except UNREADABLE as error:
        raise Refused(400, "bad_request", f"error parsing JSON: {error}") from None


def check(order: Create, keys: set[str], vpcs: set[str]) -> tuple[list[str], str, str]:
    """Names, image and region. Raises Refused."""
    if (order.name is None) == (order.names is None):
        raise unprocessable("Name can't be blank: give name or names")
    names = [order.name] if order.name is not None else list(order.names or ())
    if not 1 <= len(names) <= AT_ONCE:
        raise unprocessable(f"You can create up to {AT_ONCE} droplets at once")
    for name in names:
        if len(name) > NAME_CHARS or not NAME.fullmatch(name):
            raise unprocessable("Only valid hostname characters are allowed. (a-z, A-Z, 0-9, . and -)")
    row = catalog.size(order.size)
    if row is None:
        raise unprocessable("You specified an invalid size for Droplet creation.")
    region = order.region or "nyc3"
    if region not in catalog.REGIONS:
        raise unprocessable("You specified an invalid region for Droplet creation.")
    if not row.available or region not in row.regions:
        raise unprocessable("Size is not available in this region.")
    image = catalog.image_of(order.image)
    if image is None:
        raise unprocessable("You specified an invalid image for Droplet creation.")
    if len((order.user_data or "").encode()) > USER_DATA_BYTES:
        raise unprocessable("User data is too long (maximum is 64 KiB)")
    for tag in order.tags or ():
        check_tag(tag)
    unknown = [str(key) for key in order.ssh_keys if str(key) not in keys]
    if unknown:
        raise unprocessable(f"{', '.join(unknown)} are invalid key identifiers for Droplet creation.")
    if order.vpc_uuid and order.vpc_uuid not in vpcs:
        raise unprocessable("You specified an invalid VPC for Droplet creation.")
    return names, image, region


def check_tag(tag: str) -> None:
    if not tag or len(tag) > TAG_CHARS or not TAG.fullmatch(tag):
        raise unprocessable("Tag name may only contain letters, numbers, colons, dashes, and underscores")
