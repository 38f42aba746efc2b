"""`x-skerry: logs: ship` of an app: where its lines are sent on to."""

from __future__ import annotations

from urllib.parse import urlsplit

from skerry.client.compose.section import Value
from skerry.client.compose.table import X_LOGS

MOST = 4
SCHEMES = ("syslog+udp", "syslog+tcp", "syslog+tls", "loki+http", "loki+https", "otlp+http", "otlp+https")


def receivers_of(value: Value | None) -> tuple[str, ...]:
    if value is None:
        return ()
    ship = value.section(X_LOGS).get("ship")
    urls = tuple(dict.fromkeys(ship.texts(_url))) if ship else ()
    if ship is not None and len(urls) > MOST:
        ship.mistake(f"are {len(urls)} receivers", f"at most {MOST} can be named")
    return urls[:MOST]


def _url(text: str) -> str:
    """What is shown of a wrong one is its scheme: the rest may hold a token."""
    try:
        at = urlsplit(text)
        host, _ = at.hostname, at.port
    except ValueError:
        raise ValueError("is no URL: a host, and perhaps :PORT, are missing in it") from None
    if at.scheme not in SCHEMES:
        raise ValueError(f"{at.scheme[:20] or text[:10]!r} is no kind of receiver: {', '.join(SCHEMES)}")
    if not host or any(c.isspace() or not c.isprintable() for c in text):
        raise ValueError(f"has no host, or spaces: write {at.scheme}://HOST")
    return text
