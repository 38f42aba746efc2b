"""DigitalOcean's API as HTTP: one request, one answer, and which error of the contract an answer that is none stands for.

The token goes into one header and nowhere else: no error, no log line and no repr has it. Addresses in answers are never
followed. Source: the official OpenAPI description (github.com/digitalocean/openapi) and the providers' notes on limits.
"""

from __future__ import annotations

import email.utils
import ipaddress
import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from skerry.errors import BadInput
from skerry.machines.contract import (
    NoCapacity,
    NoSuchServer,
    ProviderDenied,
    ProviderRefused,
    ProviderSilent,
    QuotaReached,
    RateLimited,
)
from skerry.machines.digitalocean_shapes import Page
from skerry.outside import UNREADABLE

ENDPOINT = "https://api.digitalocean.com"
ANSWER_BYTES = 8 << 20
ANSWER_LIMIT_S = 60.0
STEP_LIMITS = httpx.Timeout(connect=10.0, read=30.0, write=10.0, pool=10.0)
BUSY_S = 5.0
WAIT_S = 60.0
WAIT_MOST_S = 3600.0
WORDS = 300
PER_PAGE = 200
MOST_PAGES = 50
LOOKS = 5  # at a list whose pages shift
MONEY = re.compile(r"payment|billing|balance|past due|account is locked|not in good standing|verify your account", re.I)
LIMIT = re.compile(r"\blimit\b|quota", re.I)
BUSY = re.compile(r"pending event|currently locked|is locked|in progress", re.I)
CAPACITY = re.compile(r"not available|unavailable|out of stock|capacity|sold out", re.I)
PRIVATE = [ipaddress.ip_network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")]
SCOPE = re.compile(r"\b[a-z_]+:(?:create|read|update|delete|admin)\b")
Shape = TypeVar("Shape")
AnyPage = TypeVar("AnyPage", bound=Page)
Row = TypeVar("Row")


class BadEndpoint(BadInput):
    """Not an address to which a token may go."""

    code = "provider-bad-endpoint"


class ScopeMissing(ProviderDenied):
    """The token is taken, and may not do this."""


class Call(msgspec.Struct, frozen=True):
    """What is asked. `doing`: in words, for errors. `scopes`: what the token needs for it. `subject`: 404 means that it is gone."""

    doing: str
    method: str
    path: str
    scopes: tuple[str, ...]
    subject: str = ""
    query: Mapping[str, str | int] = {}
    body: Any = None


class Api:
    """`transport`: for tests, instead of a network."""

    def __init__(self, token: str, endpoint: str, ca: str = "", transport: httpx.BaseTransport | None = None) -> None:
        base, private = check_endpoint(endpoint or ENDPOINT)
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise BadInput(
                "this is no token of DigitalOcean", "a token is one word of ASCII", "make one under API, Tokens"
            )
        self._token = token
        self._client = httpx.Client(
            base_url=base,
            headers={"authorization": f"Bearer {token}", "accept-encoding": "identity", "user-agent": "skerry"},
            timeout=STEP_LIMITS,
            follow_redirects=False,
            verify=_trusted(ca),
            trust_env=not private,  # a proxy of the environment is for the outside
            transport=transport,
        )

    def __repr__(self) -> str:
        return f"Api({self._client.base_url})"

    def ask(self, call: Call, shape: type[Shape]) -> Shape:
        """Ask and read the answer. Raises the contract's errors."""
        body = self.send(call)
        try:
            return msgspec.json.decode(body, type=shape)
        except UNREADABLE as error:
            raise ProviderSilent(
                f"DigitalOcean's answer can't be read: {call.doing}",
                self._clean(str(error)),
                "what was asked may have been done; look it up",
            ) from None

    def send(self, call: Call) -> bytes:
        """The body of a good answer."""
        status, headers, body = self._exchange(call)
        if 200 <= status < 300:
            return body
        raise self._error(call, status, headers, body)

    def pages(
        self, call: Call, shape: type[AnyPage], rows: Callable[[AnyPage], Sequence[Row]], key: Callable[[Row], object]
    ) -> Sequence[Row]:
        """All rows. While machines come and go, rows slide over the edges of pages, so several pages count only if they fit."""
        for _ in range(LOOKS):
            found: dict[object, Row] = {}
            totals = set()
            for number in range(1, MOST_PAGES + 1):
                query = {**call.query, "page": number, "per_page": PER_PAGE}
                page = self.ask(Call(call.doing, call.method, call.path, call.scopes, query=query), shape)
                totals.add(page.meta.total)
                known = len(found)
                found |= {key(row): row for row in rows(page)}
                if not page.links.pages.next or len(found) == known:
                    break
            if number == 1 or totals == {len(found)}:
                return list(found.values())
        raise ProviderSilent(f"DigitalOcean's list keeps changing: {call.doing}", f"{LOOKS} looks did not fit together")

    def _exchange(self, call: Call) -> tuple[int, httpx.Headers, bytes]:
        end_s = time.monotonic() + ANSWER_LIMIT_S
        content = None if call.body is None else msgspec.json.encode(call.body)
        typed = {} if content is None else {"content-type": "application/json"}
        try:
            with self._client.stream(
                call.method, call.path, params=dict(call.query), content=content, headers=typed
            ) as answer:
                body = bytearray()
                for part in answer.iter_raw():
                    body += part
                    if len(body) > ANSWER_BYTES or time.monotonic() > end_s:
                        raise _silent(
                            call, "its answer is too long" if len(body) > ANSWER_BYTES else "its answer has no end"
                        )
                if answer.headers.get("content-encoding", "identity") != "identity":
                    raise _silent(call, "its answer is packed, which was not asked for")
                return answer.status_code, answer.headers, bytes(body)
        except httpx.TimeoutException:
            raise _silent(call, "no answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise _silent(call, self._clean(str(error)) or type(error).__name__) from None

    def _error(self, call: Call, status: int, headers: httpx.Headers, body: bytes) -> Exception:
        said = self._said(body)
        what = f"DigitalOcean refused: {call.doing}"
        if status == 401:
            return ProviderDenied(
                what, f"it does not take the token ({said})", "make a new token, and renew the pool with it"
            )
        if status == 402 or (status in (403, 412, 422) and MONEY.search(said)):
            return QuotaReached(what, said, "look at the account's billing")
        if status == 403:
            named = SCOPE.findall(said) or call.scopes
            return ScopeMissing(
                what, f"the token lacks the scope {' or '.join(named)} ({said})", "give the token that scope"
            )
        if status == 404 and call.subject:
            return NoSuchServer(f"there is no {call.subject} at DigitalOcean", f"{call.doing}: {said}")
        if status in (409, 422) and BUSY.search(said):
            return RateLimited(what, f"the machine is busy: {said}", BUSY_S)
        if status == 422 and LIMIT.search(said):
            return QuotaReached(what, said, "destroy machines, or ask DigitalOcean for a higher limit")
        if status == 422 and CAPACITY.search(said):
            return NoCapacity(what, said, "another size or region may do")
        if status == 429:
            return RateLimited(what, said, _wait_s(headers))
        if status >= 500 or status in (408, 425):
            return _silent(call, f"{status}: {said}")
        return ProviderRefused(what, f"{status}: {said}", "look at the pool's size, region, image and options")

    def _said(self, body: bytes) -> str:
        try:
            return self._clean(msgspec.json.decode(body, type=_Words).message) or "without a word"
        except UNREADABLE:
            return "without a word"

    def _clean(self, text: str) -> str:
        """Others' words in an error of ours: short, of one line, and never with the token in it."""
        text = text.replace(self._token, "(token)")
        return "".join(c if c.isprintable() else " " for c in text)[:WORDS].strip()


class _Words(msgspec.Struct):
    message: str = ""


def check_endpoint(text: str) -> tuple[str, bool]:
    """The endpoint, and whether it is of this machine or a private network. Raises BadEndpoint: a token in clear is for nobody."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise BadEndpoint(f"{text!r} is not an endpoint", str(error), ENDPOINT) from None
    extra = parts.username or parts.password or parts.query or parts.fragment or parts.path.strip("/")
    if parts.scheme not in ("http", "https") or not host or extra or not text.isascii():
        raise BadEndpoint(f"{text!r} is not an endpoint", "it is http(s)://HOST[:PORT] and nothing else", ENDPOINT)
    try:
        address = ipaddress.ip_address(host)
        private = address.is_loopback or any(address in block for block in PRIVATE if block.version == address.version)
    except ValueError:
        private = host == "localhost"
    if parts.scheme == "http" and not private:
        raise BadEndpoint(f"{text} is not used", "the token would cross the network in clear", "use https://")
    return text.rstrip("/"), private


def _trusted(ca: str) -> ssl.SSLContext | bool:
    if not ca:
        return True
    try:
        return ssl.create_default_context(cadata=ca)
    except (ssl.SSLError, ValueError) as error:
        raise BadInput("the option ca is no certificate", str(error), "give a certificate authority as PEM") from None


def _silent(call: Call, why: str) -> ProviderSilent:
    return ProviderSilent(f"DigitalOcean did not answer: {call.doing}", why, "it is looked up and tried again")


def _wait_s(headers: httpx.Headers) -> float:
    """Until when: the minute's limit says how long; for the hour's, the moment when the oldest request expires is told."""

    def number(name: str) -> float | None:
        text = headers.get(name, "")
        return float(text) if text.isascii() and text.isdecimal() and len(text) < 16 else None

    after, reset = number("retry-after"), number("ratelimit-reset")
    if after is None and reset is not None:
        try:  # by the provider's own clock: ours may be wrong
            now = email.utils.parsedate_to_datetime(headers.get("date", "")).timestamp()
        except (ValueError, TypeError, OverflowError):
            now = time.time()
        after = reset - now
    return WAIT_S if after is None else min(max(after, 1.0), WAIT_MOST_S)
