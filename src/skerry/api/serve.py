"""Serving the API: where it listens, with which certificate, until it is told to end. The rest is server's."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skerry.api.ledger import Ledger
from skerry.api.server import Server
from skerry.api.tokens import Tokens
from skerry.client.home import CloudExists, Home
from skerry.client.keys import passphrase_from, write_atomically
from skerry.client.recovery import join_public, rejoin
from skerry.errors import BadInput, Refusal
from skerry.sdk import AsyncClient

FROM = ("CLOUD", "KEY", "TOKENS")
BACKLOG = 128  # that may wait while keys are opened
GRACE_S = 5  # requests that are being answered when it is told to end; streams are closed at once


class NeedsTls(Refusal):
    """The API would be reachable from other machines, and tokens would cross the network as they are."""

    code = "api-needs-tls"
    exit_code = 2


class NoEnvironment(BadInput):
    """What serves the API from its environment lacks a part of it."""

    code = "api-no-environment"


class CantListen(Refusal):
    """The address can't be listened on."""

    code = "cannot-listen"


@dataclass(frozen=True)
class Listen:
    """`plain`: without TLS on an address that others reach, as something else ends TLS before it."""

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None
    plain: bool = False

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.certificate else ''}://{host}:{self.port}"


def listen(text: str, *, certificate: Path | None = None, key: Path | None = None, plain: bool = False) -> Listen:
    """From "127.0.0.1:7080". Raises BadInput, NeedsTls."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise BadInput(f"can't listen on {text[:100]!r}", "it is no ADDRESS:PORT", "such as 127.0.0.1:7080") from None
    if not (port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536):
        raise BadInput(f"can't listen on {text[:100]!r}", "the port is none", "such as 127.0.0.1:7080")
    if (certificate is None) != (key is None):
        raise BadInput("TLS needs two files", "one of them is missing", "give --tls-cert and --tls-key")
    if not address.is_loopback and certificate is None and not plain:
        raise NeedsTls(
            f"the API does not listen on {host}",
            "others reach that address, and tokens would cross the network unencrypted",
            "give --tls-cert and --tls-key; or listen on 127.0.0.1 behind something that ends TLS",
        )
    return Listen(host, int(port), certificate, key, plain)


def from_environment(environ: Mapping[str, str], home: Home) -> Tokens:
    """Set a home up from $SKERRY_API_CLOUD, _KEY and _TOKENS: the content of `key export --public`, of a key's secret half, and of
    tokens.json. For a container, whose home is empty, or a volume that it had before: what it learned there of the cloud stays,
    key and tokens are those of now. Raises NoEnvironment, and what is wrong with them.
    """
    home.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in FROM:
        if not environ.get(f"SKERRY_API_{name}"):
            raise NoEnvironment("the API is not served", f"$SKERRY_API_{name} is not set", "see docs/api.md, As an app")
        write_atomically(home.path / name.lower(), environ[f"SKERRY_API_{name}"].encode())
    try:
        join_public(home, home.path / "cloud", home.path / "key", passphrase_from(environ, None, None))
    except CloudExists:
        rejoin(home, home.path / "cloud", home.path / "key")
    return Tokens(home.path / "tokens")


def serve(
    where: Listen, cloud: AsyncClient, tokens: Tokens, ledger_file: Path, *, ready: Callable[[], None] = lambda: None
) -> None:
    """Until SIGINT or SIGTERM. `ready`: from now on nobody is turned away. Raises CantListen, and what opening the cloud raises."""
    import uvicorn

    ledger = Ledger(ledger_file)
    try:
        config = uvicorn.Config(
            Server(cloud, tokens, ledger).app(),
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=True,
            lifespan="on",
            ws="none",
            timeout_graceful_shutdown=GRACE_S,
            timeout_keep_alive=30,
            limit_concurrency=512,
            h11_max_incomplete_event_size=32 << 10,
            ssl_certfile=str(where.certificate) if where.certificate else None,
            ssl_keyfile=str(where.key) if where.key else None,
            proxy_headers=False,
        )
        with listening(where) as socket_:
            ready()
            asyncio.run(until_told(cloud, uvicorn.Server(config), socket_))
    finally:
        ledger.close()


async def until_told(cloud: AsyncClient, server: Any, listening: socket.socket) -> None:
    """The keys are opened first: what stands in the way of that is an error of the command, not of the server."""
    await cloud.open()

    def end(number: int, frame: object) -> None:
        server.should_exit = True

    server.capture_signals = contextlib.nullcontext  # its own way ends the process by the signal, as if by an accident
    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        await server.serve(sockets=[listening])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def listening(where: Listen) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in where.host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((where.host, where.port))
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        why = error.strerror or str(error)
        raise CantListen(f"nothing listens on {where.host}:{where.port}", why, "give another --listen") from None
    return made
