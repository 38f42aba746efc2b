"""Under which licences a package says it is, from its own words. Pure. What isn't written in a known form stays unknown."""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_TEXT_BYTES = 4 << 20
MAX_NAMES = 40
_SHORT = re.compile(r"^License:[ \t]*(\S.{0,100})$", re.MULTILINE)
_COMMON = re.compile(r"/usr/share/common-licenses/([A-Za-z0-9.+-]*[A-Za-z0-9+])")
_PLAIN = re.compile(r"[A-Za-z0-9.+() -]{2,60}\Z")


def of_debian(copyright: bytes) -> tuple[str, ...]:
    """Of a Debian copyright file: the short names of its machine-readable form, else the common licences that it points at.

    Source: Debian's copyright-format 1.0; Debian Policy, 12.5.
    """
    text = copyright[:MAX_TEXT_BYTES].decode("utf-8", "replace")
    machine_readable = text.lstrip().startswith("Format")
    return _few((_SHORT if machine_readable else _COMMON).findall(text))


def of_wheel(metadata: bytes) -> tuple[str, ...]:
    """Of a METADATA file. Source: Python's core metadata 2.4: License-Expression before classifiers before License."""
    import email.parser  # takes 5 ms, and a deploy mostly finds its images built

    fields = email.parser.BytesHeaderParser().parsebytes(metadata[:MAX_TEXT_BYTES])
    if expression := fields.get("License-Expression"):
        return _few([str(expression)])
    classified = [str(line) for line in fields.get_all("Classifier", [])]
    named = [line.rpartition("::")[2].strip() for line in classified if line.startswith("License ::")]
    named = [name for name in named if name != "OSI Approved"]
    free = str(fields.get("License") or "").strip()
    return _few(named or ([free] if _PLAIN.match(free) and free != "UNKNOWN" else []))


def _few(names: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_clean(names)))[:MAX_NAMES]


def _clean(names: list[str]) -> Iterator[str]:
    for name in names:
        plain = " ".join(name.split())
        if plain and plain.isprintable():
            yield plain
