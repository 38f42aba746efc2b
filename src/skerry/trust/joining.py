"""What a machine that nobody knows yet says of itself, and when that counts. Pure: who asks whom is agent/renting/enrolling.py's.

A machine counts as the one that was rented for a slot if it shows that slot's one-time token and holds the signing key that it
wants enrolled. That it has the address which the provider gives is asked elsewhere: it needs the provider.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable

import msgspec

from skerry.core.facts import Machine
from skerry.core.intent import Node, Pool
from skerry.core.records import MachineSlot
from skerry.errors import TrustRefusal
from skerry.trust import bounds
from skerry.trust.checks_pool import salt_of, subnet_of
from skerry.trust.identity import Signer, certifies, verify
from skerry.trust.refusals import FalseSignature

LINE_BYTES = 8 << 10  # of what a stranger says
CERTIFICATE_BYTES = 1024
TOKEN_MAX = 128
BARRED_MAX = 250
NODE_PORT = 7077
WAITING = ("asked", "creating", "booting")  # states of a slot in which its machine may become a node


class TokenRefused(TrustRefusal):
    """The token is not that of the slot's machine, not any more, or not yet."""

    code = "token-refused"


class AddressRefused(TrustRefusal):
    """The provider knows no machine of that name with this address."""

    code = "address-refused"


class Keys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Public keys that were made on the machine: hex; the certificate base64 DER."""

    signing: str
    sealing: str
    wireguard: str
    certificate: str


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The agent, by its hash: for whoever shows the token."""

    hash: str
    slot: str
    token: str


class Asking(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`proof`: the signing key over `said`; `mac`: over the same by the secret of a machine that an operator made, "" else."""

    slot: str
    token: str
    keys: Keys
    proof: str
    mac: str = ""


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of both: all that a stranger may say."""

    bundle: Wanted | None = None
    enrol: Asking | None = None


def token_hash(token: str) -> str:
    """As a `machine` fact holds it: 64 hex digits."""
    return hashlib.sha256(token.encode()).hexdigest()


def said(cloud: str, slot: str, keys: Keys, *, nonce: str, door: str) -> bytes:
    """What a machine signs. `nonce`: what this very host gave on this connection; `door`: the fingerprint of its certificate, so
    that it proves nothing to another.
    """
    parts = ("skerry-joining", cloud, slot, nonce, door, *msgspec.structs.astuple(keys))
    return "\0".join(parts).encode()


def lasting(cloud: str, slot: str, keys: Keys) -> bytes:
    """What the `mac` is over: it is looked at later, by an operator who gave no nonce."""
    return said(cloud, slot, keys, nonce="", door="")


def mac_of(secret: str, message: bytes) -> str:
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def mac_fits(secret: str, message: bytes, mac: str) -> bool:
    return hmac.compare_digest(mac_of(secret, message), mac)


def ask(signer: Signer, cloud: str, slot: str, keys: Keys, *, token: str, secret: str, nonce: str, door: str) -> Asking:
    """The machine's own words."""
    proof = signer.sign(said(cloud, slot, keys, nonce=nonce, door=door))
    mac = mac_of(secret, lasting(cloud, slot, keys)) if secret else ""
    return Asking(slot, token, keys, base64.b64encode(proof).decode(), mac)


def check(asking: Asking, cloud: str, *, nonce: str, door: str) -> MachineSlot:
    """The slot that it asks for, once its keys are well formed and it was shown that it has them. Raises TrustRefusal."""
    slot = bounds.machine_slot(asking.slot, "slot")
    for field in ("signing", "sealing", "wireguard"):
        bounds.key(getattr(asking.keys, field), field)
    der = bounds.base64_of(asking.keys.certificate, "certificate", 100, CERTIFICATE_BYTES)
    bounds.need(certifies(der, asking.keys.signing), "certificate", "is of another key")
    proof = bounds.base64_of(asking.proof, "proof", 64, 64)
    if not verify(asking.keys.signing, said(cloud, asking.slot, asking.keys, nonce=nonce, door=door), proof):
        raise FalseSignature(f"{slot} was not enrolled", "it does not hold the key that it wants enrolled")
    return slot


def live(token: str, facts: Iterable[Machine], now_s: float, *, states: tuple[str, ...] = WAITING) -> Machine:
    """The `machine` fact (of a keeper of the slot's pool) that makes this token count now. Raises TokenRefused."""
    hashed = token_hash(token[: TOKEN_MAX + 1])
    for fact in facts:
        if fact.token and hmac.compare_digest(fact.token, hashed) and fact.state in states and now_s < fact.token_until:
            return fact
    raise TokenRefused(
        "a machine was not let in",
        "its token is not this slot's, or not any more",
        "the slot's keeper makes another one",
    )


def node_of(
    cloud: str,
    slot: MachineSlot,
    pool: Pool,
    keys: Keys,
    *,
    address: str,
    region: str,
    floor: dict[str, int],
    boxes: dict[str, str],
    was: Node | None = None,
) -> Node:
    """The enrolment of a pool's machine: all but keys and address is settled by the pool and the path. `address`: "" for one
    that can't be called, as it is behind NAT. `was`: of the machine that the slot had before; its keys stay barred.
    """
    own = (keys.signing, keys.sealing, keys.wireguard)
    old = (was.signing, was.sealing, was.wireguard, *was.barred) if was is not None else ()
    return Node(
        signing=keys.signing,
        sealing=keys.sealing,
        wireguard=keys.wireguard,
        certificate=keys.certificate,
        addresses=(f"[{address}]:{NODE_PORT}" if ":" in address else f"{address}:{NODE_PORT}",) if address else (),
        subnet=subnet_of(pool, slot.index),
        salt=salt_of(cloud, slot),
        zone=region if region in pool.regions else slot.pool,
        weight=pool.weight,
        labels=pool.labels,
        bundle=pool.bundle,
        barred=tuple(dict.fromkeys(key for key in old if key not in own))[:BARRED_MAX],
        floor=floor,
        boxes=boxes,
    )
