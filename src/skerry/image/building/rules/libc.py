"""The C library: the locale C.utf8, how names are looked up, and a library that it opens late by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skerry.image.building.closure import Closure


WHEN = "libc6"
PACKAGES = ("libc-bin", "libgcc-s1")  # nothing depends on libc-bin: it is Essential

NSSWITCH = b"passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n"


def apply(closure: Closure) -> None:
    if not closure.has_library("libc.so.6"):
        return  # all static
    if closure.asks_for_locale():
        closure.glob("usr/lib/locale/C.utf8/**")
    closure.write("etc/nsswitch.conf", NSSWITCH)
    closure.library("usr/lib/x86_64-linux-gnu/libgcc_s.so.1")  # pthread_cancel opens it by name, and aborts without it
