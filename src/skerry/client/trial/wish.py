"""What `skerry image run` is asked for, read from its options. Shapes and their checks only."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from skerry.errors import BadInput

_PORT = re.compile(
    r"(?:(?P<address>\[[0-9a-fA-F:.]+\]|[0-9.]+):)?(?P<host>\d{1,5}):(?P<inside>\d{1,5})(?:/(?P<protocol>\w+))?\Z"
)


class Published(msgspec.Struct, frozen=True):
    """A port of this machine, and the container's that it leads to."""

    host: int
    inside: int
    address: str = "127.0.0.1"


class Bound(msgspec.Struct, frozen=True):
    """A folder of this machine at a path of the container."""

    source: Path
    target: str
    read_only: bool = False


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """`arguments` take the place of the image's command. `host_network`: none of its own."""

    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    ports: tuple[Published, ...] = ()
    folders: tuple[Bound, ...] = ()
    host_network: bool = False


def parse_port(text: str) -> Published:
    """ "8080:8000" or "0.0.0.0:8080:8000". Raises BadInput."""
    found = _PORT.match(text)
    if not found:
        raise BadInput(f"the port {text!r} can't be published", "it is not HOST:CONTAINER", "write -p 8080:8000")
    if found["protocol"] not in (None, "tcp"):
        raise BadInput(
            f"the port {text!r} can't be published",
            f"a trial forwards tcp, not {found['protocol']}",
            "use --network host: the container then has this machine's ports",
        )
    host, inside = int(found["host"]), int(found["inside"])
    if not (0 < host < 65536 and 0 < inside < 65536):
        raise BadInput(f"the port {text!r} can't be published", "ports are 1 to 65535")
    return Published(host, inside, (found["address"] or "127.0.0.1").strip("[]"))


def parse_folder(text: str) -> Bound:
    """ "DIR:/path" or "DIR:/path:ro". Raises BadInput."""
    source, colon, target = text.partition(":/")
    target, _, option = target.partition(":")
    if not source or not colon or not target or option not in ("", "ro", "rw"):
        raise BadInput(f"the folder {text!r} can't be mounted", "it is not DIR:/path", "write -v ./data:/data, or …:ro")
    if ".." in target.split("/"):
        raise BadInput(f"the folder {text!r} can't be mounted", "the path in the container has .. in it")
    path = Path(source).absolute()
    if not os.path.isdir(path):  # noqa: PTH112 (for a name that is too long pathlib raises)
        raise BadInput(f"the folder {text!r} can't be mounted", f"there is no folder {path}", "make it first")
    return Bound(path, "/" + target, option == "ro")
