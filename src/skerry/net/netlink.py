"""Netlink: frames, attributes, and a socket that sends requests and reads answers.

What they say: `interfaces`, `flows`.

Used where a process per request would cost more than the request itself (a container's start, its flows). For all
that is done once in an agent's life, `ip` is clearer. Source: Linux, Documentation/userspace-api/netlink/intro.rst.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Iterator

from skerry.net.commands import CommandFailed

ROUTE, NETFILTER = 0, 12
CREATE, EXCLUSIVE, REPLACE = 0x400, 0x200, 0x100
_REQUEST, _ACK, _DUMP = 1, 4, 0x300
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, value) of each attribute; stops where the form ends."""
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4 or at + length > len(data):
            return
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += (length + 3) & ~3


def request(kind: int, body: bytes, flags: int = 0) -> bytes:
    """One message that the kernel shall confirm."""
    return _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | _ACK | flags, 1, 0) + body


class Netlink:
    """Belongs to the network namespace of the thread that opens it. Blocking; answers come at once."""

    def __init__(self, protocol: int) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        except OSError as e:
            raise CommandFailed(["netlink", str(protocol)], str(e)) from None
        self._socket.settimeout(5)

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def do(self, what: str, requests: Iterable[bytes]) -> None:
        """Each in turn; raises CommandFailed (with `what`) at the first that is refused. Those before it are done."""
        for message in requests:
            try:
                self._socket.send(message)
                answer = self._socket.recv(1 << 16)
            except OSError as e:
                raise CommandFailed(["netlink", what], str(e)) from None
            _, kind = struct.unpack_from("=IH", answer)
            (error,) = struct.unpack_from("=i", answer, _HEADER.size)
            if kind == _ERROR and error:
                raise CommandFailed(["netlink", what], os.strerror(-error))

    def get(self, what: str, kind: int, body: bytes, wanted: int) -> bytes:
        """One attribute, behind a head of four bytes, of the one answer. Raises CommandFailed if it isn't there."""
        try:
            self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST, 1, 0) + body)
            answer = self._socket.recv(1 << 16)
        except OSError as e:
            raise CommandFailed(["netlink", what], str(e)) from None
        found = dict(attributes(answer[_HEADER.size + 4 :])).get(wanted)
        if found is None or struct.unpack_from("=IH", answer)[1] == _ERROR:
            raise CommandFailed(["netlink", what], "the kernel doesn't say")
        return found

    def dump(self, what: str, kind: int, body: bytes) -> Iterator[bytes]:
        """What follows the header of each answer. Read it to the end before the next request."""
        try:
            self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | _DUMP, 1, 0) + body)
            while True:
                data, at = self._socket.recv(1 << 17), 0
                while at + _HEADER.size <= len(data):
                    length, came = struct.unpack_from("=IH", data, at)
                    if came in (_DONE, _ERROR) or length < _HEADER.size:
                        return
                    yield data[at + _HEADER.size : at + length]
                    at += (length + 3) & ~3
        except OSError as e:
            raise CommandFailed(["netlink", what], str(e)) from None
