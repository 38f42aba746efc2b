"""TLS 1.3 by pinned certificates alone: no certificate authority, no names, no dates.

Every enrolled certificate is trusted by itself (a "partial chain" of one); whose it is says its fingerprint, compared
after the handshake. Trust can be added to a living context but not taken away: what was expelled is refused by the
fingerprint. Dates are not checked, because a host with a wrong clock must still be able to join and be told so.
"""

from __future__ import annotations

import hashlib
import os
import ssl
from pathlib import Path

PARTIAL_CHAIN = 0x80000  # X509_V_FLAG_PARTIAL_CHAIN: a trusted certificate needs nobody above it
NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME

SERVER_NAME = "skerry"  # asked for in the handshake, and not checked by anybody


def fingerprint(certificate_der: bytes) -> str:
    """SHA-256 of a certificate, in hex: the identity on a link."""
    return hashlib.sha256(certificate_der).hexdigest()


def peer_fingerprint(ssl_object: ssl.SSLObject | ssl.SSLSocket) -> str:
    """Of the certificate that the other end proved to own; "" if it showed none."""
    der = ssl_object.getpeercert(True)
    return fingerprint(der) if der else ""


def write_identity(directory: Path, certificate_der: bytes, key_pem: bytes) -> Path:
    """The file that `server_context` and `client_context` load, readable by its owner alone: ssl takes no bytes."""
    path = directory / "link.pem"
    temporary = directory / "link.pem.new"
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(identity_pem(certificate_der, key_pem))
    temporary.replace(path)
    return path


def identity_pem(certificate_der: bytes, key_pem: bytes) -> bytes:
    return key_pem.rstrip() + b"\n" + ssl.DER_cert_to_PEM_cert(certificate_der).encode()


def server_context(identity: Path) -> ssl.SSLContext:
    """For the listener. Trusts nobody until `trust` is called."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, identity)
    context.num_tickets = 0  # nobody resumes a session: a link lasts, and must be checked anew
    return context


def open_context(identity: Path) -> ssl.SSLContext:
    """For a listener to which whoever comes shows no certificate: machines that nobody knows yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(identity)
    context.num_tickets = 0
    return context


def client_context(identity: Path, password: str | None = None) -> ssl.SSLContext:
    """For dialling. Trusts nobody until `trust` is called."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, identity, password)


def trust(context: ssl.SSLContext, certificate_der: bytes) -> bool:
    """Let this certificate through, from the next handshake on. Again is harmless. False for what TLS can't read: a keeper may
    have signed anything that has its key in it, and no host may end by that.
    """
    try:
        context.load_verify_locations(cadata=certificate_der)
    except (ssl.SSLError, ValueError):
        return False
    return True


def _context(protocol: int, identity: Path, password: str | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VerifyFlags(PARTIAL_CHAIN | NO_CHECK_TIME)
    context.load_cert_chain(identity, password=password)
    return context
