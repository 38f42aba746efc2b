"""OpenSSL: its configuration, and where it looks for authorities. Without these TLS trusts nobody, and says so to nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.image.building.rules import certificates

if TYPE_CHECKING:
    from skerry.image.building.closure import Closure

WHEN = "libssl3"
PACKAGES = (certificates.PACKAGE, "openssl")


def is_kept(closure: Closure) -> bool:
    return closure.has_library("libcrypto.so")


def apply(closure: Closure) -> None:
    if not is_kept(closure):
        return
    closure.take(["etc/ssl/openssl.cnf"])
    closure.link("usr/lib/ssl/openssl.cnf", "/etc/ssl/openssl.cnf")
    if certificates.BUNDLE in closure.kept:
        closure.link("usr/lib/ssl/cert.pem", f"/{certificates.BUNDLE}")
        closure.link("usr/lib/ssl/certs", "/etc/ssl/certs")
