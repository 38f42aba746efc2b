"""Python: the standard library less what no service uses, and whole wheels. Never less than a wheel: what is loaded
by name can't be seen (of 262 modules that one request really loaded, the standard library's own finder missed 20)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from skerry.image.building.rules import zones

if TYPE_CHECKING:
    from skerry.image.building.closure import Closure

VERSION = "3.11"
PROGRAM = f"/usr/bin/python{VERSION}"
# libstdc++6: what a manylinux wheel may expect of a system and Python itself doesn't bring (numpy does); only kept if needed.
PACKAGES = (f"python{VERSION}", f"libpython{VERSION}-stdlib", "libstdc++6", "netbase", "media-types", "tzdata")
STDLIB = f"usr/lib/python{VERSION}"
SITE = "usr/lib/python3/dist-packages"

# Left out of the standard library unless a recipe asks for the part: its modules, and the extension modules they need.
DENIED: dict[str, tuple[str, ...]] = {
    "test": (
        "test",
        "lib-dynload/_test*",
        "lib-dynload/_ctypes_test*",
        "lib-dynload/_xxtestfuzz*",
        "lib-dynload/xxlimited*",
    ),
    "idlelib": ("idlelib",),
    "lib2to3": ("lib2to3",),
    "ensurepip": ("ensurepip",),
    "tkinter": ("tkinter", "turtle.py", "turtledemo"),
    "pydoc": ("pydoc.py", "pydoc_data"),
    "venv": ("venv",),
    "distutils": ("distutils",),
    "curses": ("curses", "lib-dynload/_curses*"),
    "dbm": ("dbm", "lib-dynload/_dbm*", "lib-dynload/_gdbm*"),
    "readline": ("rlcompleter.py", "lib-dynload/readline*"),
    "sqlite3": ("sqlite3", "lib-dynload/_sqlite3*"),
    "nis": ("lib-dynload/nis*",),
    "config": ("config-3.11-x86_64-linux-gnu",),
    "pure": ("_pydecimal.py", "_pyio.py"),  # what stands in for C modules that are there
    "audio": (
        "aifc.py",
        "chunk.py",
        "sndhdr.py",
        "sunau.py",
        "wave.py",
        "lib-dynload/ossaudiodev*",
        "lib-dynload/audioop*",
    ),
}


def apply(closure: Closure, asked: Iterable[str]) -> None:
    """Keep interpreter, standard library and what it reads. `asked`: parts of DENIED to keep nevertheless."""
    interpreter(closure, asked)
    for name in ("python", "python3"):
        closure.link(f"usr/bin/{name}", f"python{VERSION}")
    closure.take(("etc/services", "etc/protocols", "etc/mime.types"))
    zones.apply(closure)


def interpreter(closure: Closure, asked: Iterable[str]) -> None:
    """Keep the interpreter and the standard library alone."""
    closure.program(PROGRAM)
    denied = tuple(
        f"{STDLIB}/{pattern.rstrip('*')}" + ("" if pattern.endswith(("*", ".py")) else "/")
        for part, patterns in DENIED.items()
        if part not in set(asked)
        for pattern in patterns
    )
    inside = (path for path in closure.pile.paths() if path.startswith(STDLIB + "/"))
    closure.take([path for path in inside if not path.startswith(denied)])
