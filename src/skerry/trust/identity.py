"""Keys: signing (Ed25519), sealing and WireGuard (X25519), and the certificate by which TLS pins a signing key.

Every secret is 32 bytes that the caller made; nothing here draws a random number, keeps a file or reads a clock.
Public keys are lower-case hex everywhere; `wireguard_text` gives them as `wg` wants them.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC
from functools import lru_cache

from nacl.bindings import crypto_scalarmult_base, crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import CryptoError

SEED_BYTES = 32
SIGNATURE_BYTES = 64
# The beginning of every Ed25519 SubjectPublicKeyInfo (RFC 8410, section 4); the 32 bytes of the key follow.
_SPKI_ED25519 = bytes.fromhex("302a300506032b6570032100")
# The beginning of every Ed25519 PKCS#8 key (RFC 8410, section 7); the 32 bytes of the seed follow.
_PKCS8_ED25519 = bytes.fromhex("302e020100300506032b657004220420")


class Signer:
    """A signing key. `key` is its public half: 64 hex digits, and also its id in envelopes."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a seed has {SEED_BYTES} bytes")
        public, self._secret = crypto_sign_seed_keypair(seed)
        self.seed = seed
        self.key = public.hex()

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of a detached signature."""
        return crypto_sign(message, self._secret)[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return f"Signer({self.key[:16]}…)"  # never the seed


def verify(key: str, message: bytes, signature: bytes) -> bool:
    """Whether the holder of `key` (hex) signed exactly `message`. False, never an error, for anything that is not a
    key.
    """
    public = _public(key)
    if public is None or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, public)
    except (CryptoError, ValueError):
        return False
    return True


@lru_cache(maxsize=4096)
def _public(key: str) -> bytes | None:
    return bytes.fromhex(key) if is_key(key) else None


def is_key(text: str) -> bool:
    """64 lower-case hex digits: the only spelling of a key, so that one key has one id."""
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def sealing_public(secret: bytes) -> str:
    """The public half (hex) of an X25519 sealing key."""
    return crypto_scalarmult_base(secret).hex()


def wireguard_public(secret: bytes) -> str:
    """The public half (hex) of a WireGuard key. `secret`: 32 random bytes; X25519 clamps them itself (RFC 7748)."""
    return crypto_scalarmult_base(secret).hex()


def wireguard_text(key: str | bytes) -> str:
    """A WireGuard key, private or public, as `wg` writes it: base64. `key`: hex or 32 bytes."""
    return base64.b64encode(bytes.fromhex(key) if isinstance(key, str) else key).decode()


def fingerprint(der: bytes) -> str:
    """SHA-256 (hex) of a certificate: what a link compares with the enrolment after the handshake."""
    return hashlib.sha256(der).hexdigest()


def certifies(der: bytes, key: str) -> bool:
    """Whether a certificate is one for this signing key. It is pinned by its bytes; this finds mistakes, not
    forgeries.
    """
    public = _public(key)
    return public is not None and _SPKI_ED25519 + public in der


def private_pem(seed: bytes) -> bytes:
    """PKCS#8 PEM of a signing key, for the ssl module."""
    body = base64.b64encode(_PKCS8_ED25519 + seed)
    return b"-----BEGIN PRIVATE KEY-----\n" + body + b"\n-----END PRIVATE KEY-----\n"


def certificate_pem(der: bytes) -> str:
    """A certificate as the ssl module wants it in `cadata` and in files."""
    text = base64.b64encode(der).decode()
    lines = "\n".join(text[i : i + 64] for i in range(0, len(text), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"


def certificate(seed: bytes, name: str, serial: int) -> bytes:
    """A self-signed Ed25519 certificate (DER): CA:FALSE, from 2020 to 2120, the same bytes for the same arguments.

    It has no meaning but its key: validity, names and chain are never looked at, as the enrolment pins the bytes. So
    it has a fixed long life, and clocks can't break a link. `serial`: 1 to 2**159. Needed once in a key's life, hence
    the late import.
    """
    from datetime import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    private = Ed25519PrivateKey.from_private_bytes(seed)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(serial)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(private, algorithm=None)
    )
    return made.public_bytes(Encoding.DER)
