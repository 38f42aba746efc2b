"""Nodes for the mesh's tests: keys, certificates, and a Mesh that writes down what happens to it."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from skerry.mesh.links import Handler, Mesh, PeerAddress
from skerry.mesh.tls import fingerprint


class Key:
    """A self-signed certificate as an enrolment has it. Its dates are past, on purpose: nobody may look at them."""

    def __init__(self) -> None:
        private = Ed25519PrivateKey.generate()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "skerry")])
        built = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.datetime(2001, 1, 1))
            .not_valid_after(datetime.datetime(2001, 1, 2))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(private, None)
        )
        self.der = built.public_bytes(serialization.Encoding.DER)
        self.pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def keys(count: int) -> list[Key]:
    """In rising order of their fingerprints."""
    return sorted((Key() for _ in range(count)), key=lambda key: fingerprint(key.der))


class Node:
    """One node on loopback. `happened`: ("up" | "down", peer, why, goodbye); `frames`: (peer, bytes)."""

    def __init__(self, name: str, key: Key, directory: Path, handlers: dict[str, Handler] | None = None) -> None:
        self.name, self.key = name, key
        self.happened: list[tuple[str, str, str, bool]] = []
        self.frames: list[tuple[str, bytes]] = []
        directory.mkdir(parents=True, exist_ok=True)
        self.mesh = Mesh(
            name,
            key.der,
            key.pem,
            directory,
            on_link=lambda peer, up, why, bye: self.happened.append(("up" if up else "down", peer, why, bye)),
            on_frame=lambda peer, data: self.frames.append((peer, data)),
            handlers=handlers or {},
        )
        self.port = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> Node:
        self.port = await self.mesh.serve(host, port)
        return self

    def as_peer(self, *, dial: bool = True) -> PeerAddress:
        return PeerAddress(self.key.der, (f"127.0.0.1:{self.port}",), dial)

    def downs(self) -> list[tuple[str, str, str, bool]]:
        return [each for each in self.happened if each[0] == "down"]


def introduce(*nodes: Node, dial: bool = True) -> None:
    for node in nodes:
        node.mesh.set_peers({other.name: other.as_peer(dial=dial) for other in nodes if other is not node})


async def wait_until(true: Callable[[], object], within_s: float = 20.0) -> float:
    """Gives the seconds it took."""
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    while not true():
        assert loop.time() - start_s < within_s, "it did not come to pass"
        await asyncio.sleep(0.005)
    return loop.time() - start_s
