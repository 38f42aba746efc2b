"""Receivers of alerts in people's words, and as what is sealed: what each kind takes, judged. Asks nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from skerry.core.intent import Receiver
from skerry.errors import BadInput

URLS = ("webhook", "ntfy", "slack", "heartbeat")
KINDS = ("webhook", "smtp", "ntfy", "slack", "telegram", "heartbeat")
TLS = ("starttls", "tls", "none")
_SECRET = {"webhook", "ntfy", "telegram", "smtp"}
_OF_SMTP = ("from", "to", "user", "tls")


def receiver_of(
    name: str,
    said: Mapping[str, str],
    *,
    secret: str = "",
    sender: str = "",
    to: Sequence[str] = (),
    user: str = "",
    tls: str = "",
    api: str = "",
) -> tuple[Receiver, dict[str, str]]:
    """`said`: kind -> where, exactly one. Gives the receiver, and what it takes to reach it (to be sealed). Raises BadInput."""
    given = {kind: value for kind, value in said.items() if value}
    if len(given) != 1:
        raise _bad(name, f"one of {', '.join(KINDS)} is needed")
    ((kind, value),) = given.items()
    if kind not in KINDS:
        raise _bad(name, f"{kind[:40]!r} is no kind of receiver", f"known are {', '.join(KINDS)}")
    if kind != "smtp" and (sender or to or user or tls not in ("", "starttls")):
        raise _bad(name, f"{', '.join(_OF_SMTP)} are for mail (smtp), not for {kind}", "leave them out")
    if api and kind != "telegram":
        raise _bad(name, f"api is for telegram, not for {kind}", "leave it out")
    if secret and kind not in _SECRET:
        raise _bad(name, f"{kind} takes no secret: its URL is one", "leave it out")
    reach = _reach(name, kind, value, secret, sender, to, user, tls or "starttls", api)
    at = ",".join(to) if kind == "smtp" else value if kind == "telegram" else urlsplit(value).hostname or ""
    return Receiver(kind=kind, at=at[:255]), {k: text for k, text in {**reach, "secret": secret}.items() if text}  # type: ignore[arg-type]


def _reach(
    name: str, kind: str, value: str, secret: str, sender: str, to: Sequence[str], user: str, tls: str, api: str
) -> dict[str, str]:
    if kind == "smtp":
        host, _, port = value.rpartition(":")
        if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise _bad(name, f"{value!r} is no HOST:PORT", "such as mail.example.com:587")
        if not sender or not to:
            raise _bad(name, "mail needs a sender and whom it is to (from, to)", "give both")
        for address in (sender, *to):
            if "@" not in address or not address.isprintable() or " " in address or "," in address:
                raise _bad(name, f"{address!r} is no address of mail")
        if tls not in TLS:
            raise _bad(name, f"tls is one of {', '.join(TLS)}, not {tls[:40]!r}")
        return {"server": value, "from": sender, "to": ",".join(to), "tls": tls, "user": user}
    if kind == "telegram":
        if not secret:
            raise _bad(name, "the bot's token is needed", "it is the secret of this kind")
        return {"chat": value, "url": _url(name, api) if api else ""}
    return {"url": _url(name, value)}


def _url(name: str, value: str) -> str:
    try:
        split = urlsplit(value)
        good = split.scheme in ("https", "http") and bool(split.hostname) and value.isprintable() and " " not in value
    except ValueError:
        good = False
    if not good:
        raise _bad(name, f"{value[:60]!r} is no URL", "such as https://example.com/hook")
    return value


def in_words(kind: str, reach: Mapping[str, str]) -> dict[str, Any]:
    """What `receiver_of` made it of, by the keys of a folder's file."""
    where = {"smtp": "server", "telegram": "chat"}.get(kind, "url")
    words: dict[str, Any] = {kind: reach.get(where, "")}
    if kind == "smtp":
        words |= {"from": reach.get("from", ""), "to": [to for to in reach.get("to", "").split(",") if to]}
        words |= {"user": reach.get("user", ""), "tls": reach.get("tls", "")}
    elif kind == "telegram":
        words["api"] = reach.get("url", "")
    words["secret"] = reach.get("secret", "")
    return {key: value for key, value in words.items() if value and (key, value) != ("tls", "starttls")}


def _bad(name: str, why: str, fix: str = "") -> BadInput:
    return BadInput(f"receiver {name} was not added", why, fix)
