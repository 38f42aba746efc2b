"""A routed veth and a network namespace for each container."""

from __future__ import annotations

import msgspec


class Attachment(msgspec.Struct, frozen=True):
    """`netns`: path of the prepared network namespace; `address`: the container's IPv4 address."""

    netns: str
    address: str
