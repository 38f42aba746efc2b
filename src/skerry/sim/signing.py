"""Keys and signatures of a simulated cloud, all made of its seed: real ones, so that the real trust judges them."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache

import msgspec

from skerry.core.intent import App, Body, Node, Release
from skerry.core.records import Document
from skerry.trust import envelope, genesis
from skerry.trust.documents import sign_document
from skerry.trust.identity import Signer, certificate, sealing_public

DAY_S = 86_400.0


class Keys(msgspec.Struct, frozen=True):
    """One node's."""

    signer: Signer
    sealing: str
    wireguard: str
    certificate: str


class Operator:
    """The one operator of a simulated cloud. `begun_s`: unix seconds at which the cloud was made."""

    def __init__(self, begun_s: float) -> None:
        seed, sealing = _seed("operator"), _seed("operator's sealing")
        self.signer = Signer(seed)
        root = genesis.first_root(
            [Signer(_seed("root"))],
            [genesis.operator("ann", seed, sealing, 1)],
            issued=begun_s - 60,
            expires=begun_s + 3650 * DAY_S,
        )
        self.cloud = genesis.cloud_of(root)
        policy = genesis.first_policy([self.signer], self.cloud, issued=begun_s - 50, expires=begun_s + 365 * DAY_S)
        self.first = {"root": root, "policy": policy}
        self._hashes: dict[str, str] = {}  # of an unsigned document -> of its signed payload

    def sign(self, document: Document, *, prev: str, issued: float) -> bytes:
        """The document as this operator would sign it. Fallbacks that were named by unsigned hash are named anew."""
        body: Body = document.body
        if isinstance(body, App | Release) and body.fallback:
            body = msgspec.structs.replace(body, fallback=self._hashes.get(body.fallback, body.fallback))
        if isinstance(body, Node):
            body = self.enrol(document.path, body)
        raw = sign_document(
            self.signer, self.cloud, document.path, body, version=document.version, prev=prev, issued=issued,
            expires=issued + 365 * DAY_S,
        )  # fmt: skip
        self._hashes[document.hash] = envelope.parse(raw).hash
        return raw

    def enrol(self, path: str, body: Node) -> Node:
        keys = keys_of(path)
        return msgspec.structs.replace(
            body,
            signing=keys.signer.key,
            sealing=keys.sealing,
            wireguard=keys.wireguard,
            certificate=keys.certificate,
            salt=hashlib.sha256(body.salt.encode()).hexdigest()[:16],
        )


@lru_cache(maxsize=256)
def keys_of(path: str) -> Keys:
    """The same name has the same keys in every run."""
    seed = _seed(f"signing of {path}")
    der = certificate(seed, "skerry", 7)
    return Keys(
        signer=Signer(seed),
        sealing=sealing_public(_seed(f"sealing of {path}")),
        wireguard=sealing_public(_seed(f"wireguard of {path}")),
        certificate=base64.b64encode(der).decode(),
    )


def _seed(name: str) -> bytes:
    return hashlib.sha256(f"simulated: {name}".encode()).digest()
