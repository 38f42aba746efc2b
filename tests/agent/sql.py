"""Two small clients for tests: enough of PostgreSQL's and MariaDB's protocols to log in with a password and run statements.

Sources: PostgreSQL, "Message Flow" and "SASL Authentication" (RFC 5802); MySQL, "Connection Phase" and "Text Protocol".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import socket
import struct
from types import TracebackType
from typing import Self

Row = tuple[str | None, ...]


class SqlError(Exception):
    """What the server refused, in its words."""


class Postgres:
    def __init__(self, wire: socket.socket, user: str, password: str, database: str) -> None:
        wire.settimeout(30)
        self._wire, self._file = wire, wire.makefile("rb")
        words = b"\0".join(w.encode() for w in ("user", user, "database", database)) + b"\0\0"
        self._wire.sendall(struct.pack("!ii", 8 + len(words), 3 << 16) + words)
        first = ""
        while True:
            kind, body = self._read()
            if kind == b"Z":
                return
            if kind != b"R":
                continue
            method, rest = struct.unpack_from("!i", body)[0], body[4:]
            if method == 10:
                assert b"SCRAM-SHA-256" in rest
                first = f"n={user},r={secrets.token_hex(12)}"
                hello = b"n,," + first.encode()
                self._send(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(hello)) + hello)
            elif method == 11:
                self._send(b"p", _scram(password, first, rest.decode()))
            elif method not in (0, 12):
                raise SqlError(f"it asks for another way to log in: {method}")

    def run(self, statements: str) -> list[Row]:
        self._send(b"Q", statements.encode() + b"\0")
        rows: list[Row] = []
        failed = None
        while True:
            try:
                kind, body = self._read()
            except SqlError as error:
                failed = error
                continue
            if kind == b"D":
                rows.append(_row(body))
            elif kind == b"Z":
                if failed:
                    raise failed
                return rows

    def _send(self, kind: bytes, body: bytes) -> None:
        self._wire.sendall(kind + struct.pack("!i", 4 + len(body)) + body)

    def _read(self) -> tuple[bytes, bytes]:
        head = self._file.read(5)
        if len(head) < 5:
            raise ConnectionError("it hung up")
        body = self._file.read(struct.unpack("!i", head[1:])[0] - 4)
        if head[:1] == b"E":
            said = {field[:1]: field[1:].decode() for field in body.split(b"\0")}
            raise SqlError(f"{said[b'C']} {said[b'M']}")
        return head[:1], body

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
        self._wire.close()


def _scram(password: str, first: str, server: str) -> bytes:
    said = dict(part.split("=", 1) for part in server.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(said["s"]), int(said["i"]))
    client = hmac.digest(salted, b"Client Key", "sha256")
    last = f"c=biws,r={said['r']}"
    signature = hmac.digest(hashlib.sha256(client).digest(), f"{first},{server},{last}".encode(), "sha256")
    proof = bytes(a ^ b for a, b in zip(client, signature, strict=True))
    return f"{last},p={base64.b64encode(proof).decode()}".encode()


def _row(body: bytes) -> Row:
    (count,), at, row = struct.unpack_from("!h", body), 2, []
    for _ in range(count):
        (length,) = struct.unpack_from("!i", body, at)
        at += 4
        row.append(None if length < 0 else body[at : at + length].decode())
        at += max(length, 0)
    return tuple(row)


class MariaDb:
    """Protocol 4.1 with mysql_native_password; many statements at once."""

    _CAPABILITIES = 0x1 | 0x8 | 0x200 | 0x8000 | 0x10000 | 0x20000 | 0x80000

    def __init__(self, wire: socket.socket, user: str, password: str, database: str) -> None:
        wire.settimeout(30)
        self._wire, self._file = wire, wire.makefile("rb")
        hello = self._read()
        at = hello.index(b"\0", 1) + 5
        salt = hello[at : at + 8] + hello[at + 27 : at + 39]
        capabilities = self._CAPABILITIES if database else self._CAPABILITIES & ~0x8
        answer = _native(password, salt)
        login = struct.pack("<IIB23x", capabilities, 1 << 24, 45) + user.encode() + b"\0"
        login += bytes([len(answer)]) + answer + (database.encode() + b"\0" if database else b"")
        self._send(login + b"mysql_native_password\0")
        said = self._read()
        if said[:1] == b"\xfe":
            self._send(_native(password, said[said.index(b"\0") + 1 :][:20]))
            self._read()

    def run(self, statements: str) -> list[Row]:
        """Rows of all of them."""
        self._number = -1
        self._send(b"\x03" + statements.encode())
        rows: list[Row] = []
        more = True
        while more:
            head = self._read()
            if head[:1] == b"\0":
                more = _more(head[1:])
                continue
            for _ in range(head[0]):
                self._read()
            assert self._read()[:1] == b"\xfe"
            while (packet := self._read())[:1] != b"\xfe" or len(packet) > 8:
                rows.append(_texts(packet))
            more = bool(struct.unpack_from("<H", packet, 3)[0] & 8)
        return rows

    def _send(self, payload: bytes) -> None:
        self._wire.sendall(len(payload).to_bytes(3, "little") + bytes([self._number + 1 & 0xFF]) + payload)

    def _read(self) -> bytes:
        head = self._file.read(4)
        if len(head) < 4:
            raise ConnectionError("it hung up")
        self._number = head[3]
        body = self._file.read(int.from_bytes(head[:3], "little"))
        if body[:1] == b"\xff":
            raise SqlError(body[9:].decode())
        return body

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
        self._wire.close()


def _native(password: str, salt: bytes) -> bytes:
    if not password:
        return b""
    once = hashlib.sha1(password.encode()).digest()
    mixed = hashlib.sha1(salt + hashlib.sha1(once).digest()).digest()
    return bytes(a ^ b for a, b in zip(once, mixed, strict=True))


def _number_at(data: bytes, at: int) -> tuple[int, int]:
    """A length-encoded number, and where it ends."""
    if data[at] < 0xFB:
        return data[at], at + 1
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}[data[at]]
    return int.from_bytes(data[at + 1 : at + 1 + size], "little"), at + 1 + size


def _more(after: bytes) -> bool:
    _, at = _number_at(after, 0)
    _, at = _number_at(after, at)
    return bool(struct.unpack_from("<H", after, at)[0] & 8)


def _texts(packet: bytes) -> Row:
    at, row = 0, []
    while at < len(packet):
        if packet[at] == 0xFB:
            row.append(None)
            at += 1
        else:
            length, at = _number_at(packet, at)
            row.append(packet[at : at + length].decode())
            at += length
    return tuple(row)
