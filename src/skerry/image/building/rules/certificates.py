"""The certificate authorities that a client of TLS trusts. Where they are is the same for OpenSSL, GnuTLS, Go and Rust."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.image.contract import BuildRefused

if TYPE_CHECKING:
    from skerry.image.building.closure import Closure

PACKAGE = "ca-certificates"
BUNDLE = "etc/ssl/certs/ca-certificates.crt"


def apply(closure: Closure) -> None:
    # Debian makes the bundle by a maintainer script, in the order of a directory; sorted, it is the same everywhere.
    paths = sorted(path for path in closure.pile.paths() if path.startswith("usr/share/ca-certificates/mozilla/"))
    parts = [file.load().strip() for path in paths if (file := closure.pile.get(path)) and path.endswith(".crt")]
    if not parts:
        raise BuildRefused("the image would trust no certificate", "the package ca-certificates has none")
    closure.write(BUNDLE, b"\n".join(parts) + b"\n")
