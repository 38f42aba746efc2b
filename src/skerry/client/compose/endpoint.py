"""`x-skerry: metrics` of a service: where its replicas tell figures of their own, and which of them are kept."""

from __future__ import annotations

import re

from skerry.client.compose.section import Value
from skerry.client.compose.table import X_METRICS
from skerry.core.intent import Endpoint

NAMES_MAX = 32
_NAME = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]{0,199}")
_PATH = re.compile(r"/[!-~]{0,511}")


def endpoint_of(value: Value | None) -> Endpoint | None:
    if value is None:
        return None
    section = value.section(X_METRICS)
    port, path, names = section.get("port"), section.get("path"), section.get("names")
    number = port.number(1, 65535) if port else None
    if port is None:
        value.mistake("has no port", "write metrics: {port: 9100}")
    kept = tuple(dict.fromkeys(names.texts(_name))) if names else ()
    if names is not None and len(kept) > NAMES_MAX:
        names.mistake(f"are {len(kept)} names", f"at most {NAMES_MAX} are kept")
        kept = kept[:NAMES_MAX]
    return Endpoint(port=number or 1, path=(path.read(_path) if path else None) or "/metrics", names=kept)


def _path(text: str) -> str:
    if not _PATH.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is no path: it begins with / and holds no spaces")
    return text


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is no metric's name: letters, digits, _ and :")
    return text
