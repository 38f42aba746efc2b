"""Who may talk to the page's server: one token, good once, for one session; and which requests are let past at all.

Three things must come together: the name it is served under (else a foreign name was made to point here), the page's own origin
(else another page asks), and the session: a cookie that scripts can't read, and a key that only this origin's scripts have. Cookies
are sent to every port of this machine, so to other users' servers too: the cookie alone opens nothing.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable

from skerry.errors import TrustRefusal

NAMES = ("127.0.0.1", "localhost")  # the second for those who come through a tunnel of ssh
OPEN = ("/", "/favicon.ico", "/enter")  # say nothing of the cloud; so does all below STATIC
STATIC = "/static/"
KEY_HEADER = "x-skerry-key"
READS = ("GET", "HEAD")


class NotOurName(TrustRefusal):
    """The page's server was asked under a name that isn't its own: some other page may have made that name point here."""

    code = "ui-not-our-name"


class NotOurOrigin(TrustRefusal):
    """A request to the page's server came from another page, or doesn't say from which."""

    code = "ui-not-our-origin"


class NoSession(TrustRefusal):
    """A request to the page's server without a session: the token of `skerry ui` was not used in this browser."""

    code = "ui-no-session"


class TokenUsed(TrustRefusal):
    """The token of `skerry ui` was used before, or is another one."""

    code = "ui-token-used"


class Access:
    """Of one run of the server: nothing of it is written down, so all ends with the process. `port`: where it listens."""

    def __init__(self, port: int) -> None:
        self.hosts = frozenset(f"{name}:{port}" for name in NAMES)
        self.cookie_name = f"skerry_ui_{port}"
        self.token = secrets.token_urlsafe(32)
        self._used = False
        self._cookie, self._key = secrets.token_urlsafe(32), secrets.token_urlsafe(32)

    @property
    def used(self) -> bool:
        return self._used

    def enter(self, token: str) -> tuple[str, str]:
        """(cookie, key) for the token, once. Raises TokenUsed."""
        if self._used or not _same(token, self.token):
            raise TokenUsed(
                "this link opens no session",
                "it was used before, or is of another run",
                "end skerry ui and begin it anew",
            )
        self._used = True
        return self._cookie, self._key

    def judge(self, method: str, path: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Let a request past, or raise NotOurName, NotOurOrigin, NoSession. `method` of a websocket: WEBSOCKET.

        Of a websocket, which can't bear headers of its own, the key comes as its first message: `has_key`.
        """
        told: dict[str, list[str]] = {}
        for name, value in headers:
            told.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        host = told.get("host", [])
        if len(host) != 1 or host[0].lower() not in self.hosts:
            raise NotOurName(
                "this server was not meant",
                f"it is asked as {', '.join(host)[:100] or 'nobody'}",
                "use the link that it printed",
            )
        origins = told.get("origin", [])
        if origins != [f"http://{host[0].lower()}"] and (origins or method not in READS):
            raise NotOurOrigin(
                "the request was not answered", "another page sent it", "use the link that skerry ui printed"
            )
        if path in OPEN or path.startswith(STATIC):
            return
        if told.get("sec-fetch-site", ["same-origin"]) != ["same-origin"]:
            raise NotOurOrigin("the request was not answered", "no page of this server sent it", "open the page itself")
        keys = told.get(KEY_HEADER, [])
        keyed = method == "WEBSOCKET" or (len(keys) == 1 and self.has_key(keys[0]))
        if not (keyed and self._used and _same(_cookie(told.get("cookie", []), self.cookie_name), self._cookie)):
            raise NoSession(
                "there is no session here", "it ended, or was never begun", "use the link that skerry ui printed"
            )

    def has_key(self, key: str) -> bool:
        return self._used and _same(key, self._key)


def _same(given: str, real: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), real.encode())


def _cookie(headers: list[str], name: str) -> str:
    """The value of a cookie that is there exactly once."""
    pairs = [pair.strip().partition("=") for header in headers for pair in header.split(";")]
    found = [value for key, _, value in pairs if key == name]
    return found[0] if len(found) == 1 else ""
