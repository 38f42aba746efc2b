"""Open one connection to one node, by pinned key. For the agent's streams and for operators' laptops: nothing here is
for POSIX alone. Links that must stay are links.py's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import ssl
import sys
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException

from skerry.errors import BadInput, Unreachable
from skerry.mesh import tls
from skerry.mesh.connections import Outgoing

FRAME_BYTES = 1 << 20
QUEUED_FRAMES = 4  # received and not yet read, for each connection
WRITE_BYTES = 256 * 1024
KEEPALIVE_S = 15.0  # streams only: a silent host is found by its link much sooner

C = TypeVar("C", bound=Outgoing)

wire_log = logging.getLogger("skerry.mesh.wire")  # what websockets says: each stranger at the door would be an error
wire_log.setLevel(logging.CRITICAL)


class Identity(NamedTuple):
    """Who we are on a stream: a certificate that the cloud knows, and its key (PEM, PKCS 8, not encrypted)."""

    certificate_der: bytes
    key_pem: bytes


async def dial(
    addresses: Sequence[str], pinned_der: bytes, own: Identity, path: str, timeout_s: float = 10.0
) -> Outgoing:
    """Open a stream from a machine that is no node. `addresses`: "host:port", tried in turn. `path`: as "/request".

    Whoever answers must prove to own `pinned_der`. Raises Unreachable with the reason for each address.
    """
    context = _own_context(own)
    tls.trust(context, pinned_der)
    return await open_stream(addresses, context, tls.fingerprint(pinned_der), path, timeout_s=timeout_s)


async def open_stream(
    addresses: Sequence[str],
    context: ssl.SSLContext,
    pinned: str,
    path: str,
    *,
    timeout_s: float,
    connection: type[C] = Outgoing,  # type: ignore[assignment]
    keepalive_s: float | None = KEEPALIVE_S,
) -> C:
    """The same with a context at hand. `pinned`: fingerprint. Each address gets an equal part of `timeout_s`."""
    reasons = []
    for address in addresses:
        try:
            host, port = split_address(address)
            stream = await connect(
                f"wss://{tls.SERVER_NAME}{path}",
                host=host,
                port=port,
                ssl=context,
                proxy=None,
                compression=None,
                user_agent_header=None,
                open_timeout=timeout_s / len(addresses),
                ping_interval=keepalive_s,
                ping_timeout=keepalive_s,
                close_timeout=1.0,
                max_size=FRAME_BYTES,
                max_queue=QUEUED_FRAMES,
                write_limit=WRITE_BYTES,
                create_connection=connection,
                logger=wire_log,
            )
        except (OSError, EOFError, WebSocketException, BadInput) as error:
            reasons.append(f"{address}: {told(error)}")
            continue
        if tls.peer_fingerprint(stream.transport.get_extra_info("ssl_object")) == pinned:
            return cast(C, stream)
        stream.transport.abort()
        reasons.append(f"{address}: another node answered")
    raise Unreachable(
        what="the host could not be reached",
        why="; ".join(reasons) or "it has no address",
        fix="check that it runs and that its port is open from here",
    )


async def handshake(addresses: Sequence[str], context: ssl.SSLContext, pinned: str, timeout_s: float) -> bool:
    """Whether a living process with this key answers at one of the addresses. Nothing is asked of it."""
    loop = asyncio.get_running_loop()
    for address in addresses:
        try:
            host, port = split_address(address)
            async with asyncio.timeout(timeout_s / len(addresses)):
                transport, _ = await loop.create_connection(
                    asyncio.Protocol, host, port, ssl=context, server_hostname=tls.SERVER_NAME
                )
        except (OSError, BadInput):
            continue
        same = tls.peer_fingerprint(transport.get_extra_info("ssl_object")) == pinned
        transport.abort()
        if same:
            return True
    return False


def split_address(address: str) -> tuple[str, int]:
    """ "198.51.100.7:7077" or "[2001:db8::7]:7077" as host and port. Raises BadInput."""
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise BadInput(f"{address[:80]!r} is not an address", "it must be host:port")
    return host, int(port)


def told(error: BaseException) -> str:
    """In words, why a connection was not made."""
    match error:
        case ssl.SSLCertVerificationError():
            return "it showed another key than the enrolled one"
        case ssl.SSLError() if "ALERT" in (error.reason or ""):
            return "it does not know our key"
        case TimeoutError():
            return "no answer in time"
        case InvalidStatus():
            return f"it refused ({error.response.status_code})"
        case ConnectionRefusedError():
            return "nothing listens there"
    return " ".join(str(error).split()) or type(error).__name__


@lru_cache(maxsize=8)
def _own_context(own: Identity) -> ssl.SSLContext:
    """One for all connections of a command. The ssl module loads keys from files only: from one in memory where there is
    such a thing (Linux), else from one that is encrypted by a password which never leaves this call.
    """
    if sys.platform == "linux":
        number = os.memfd_create("skerry-identity", os.MFD_CLOEXEC)
        with os.fdopen(number, "wb") as file:
            file.write(tls.identity_pem(own.certificate_der, own.key_pem))
            file.flush()
            return tls.client_context(Path(f"/proc/self/fd/{number}"))
    password = secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory(prefix="skerry-") as directory:
        file = tls.write_identity(Path(directory), own.certificate_der, _encrypted(own.key_pem, password))
        return tls.client_context(file, password)


def _encrypted(key_pem: bytes, password: str) -> bytes:
    from cryptography.hazmat.primitives import serialization  # not for the agent, which would pay 7 MB for it

    return serialization.load_pem_private_key(key_pem, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password.encode()),
    )
