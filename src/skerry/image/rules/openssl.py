"""OpenSSL: its configuration and the certificate authorities. Without them TLS trusts nobody, and says so to nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.image.contract import BuildRefused

if TYPE_CHECKING:
    from skerry.image.closure import Closure

WHEN = "libssl3"
PACKAGES = ("ca-certificates", "openssl")
BUNDLE = "etc/ssl/certs/ca-certificates.crt"


def apply(closure: Closure) -> None:
    if not closure.has_library("libcrypto.so"):
        return
    # Debian makes the bundle by a maintainer script, in the order of a directory; sorted, it is the same everywhere.
    paths = sorted(path for path in closure.pile.paths() if path.startswith("usr/share/ca-certificates/mozilla/"))
    parts = [file.load().strip() for path in paths if (file := closure.pile.get(path)) and path.endswith(".crt")]
    if not parts:
        raise BuildRefused("the image would trust no certificate", "the package ca-certificates has none")
    closure.write(BUNDLE, b"\n".join(parts) + b"\n")
    closure.take(["etc/ssl/openssl.cnf"])
    closure.link("usr/lib/ssl/openssl.cnf", "/etc/ssl/openssl.cnf")
    closure.link("usr/lib/ssl/cert.pem", f"/{BUNDLE}")
    closure.link("usr/lib/ssl/certs", "/etc/ssl/certs")
