"""Tokens of the API: made, kept as hashes on the machine that serves it, and what each may do there.

A token is 32 random bytes, so one SHA-256 hides it as well as any slow hash would. A token can never do more than the key that
serves: what it asks for is signed by that key, and judged by every host.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from skerry.api.problems import NotAllowed, NoToken
from skerry.client.keys import write_atomically
from skerry.errors import BadFormat, BadInput, Refusal
from skerry.outside import UNREADABLE

PREFIX = "skt_"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
ROLE = re.compile(r"read|operator|(deploy|machines):[a-z0-9][a-z0-9-]{0,62}")
TOKENS_MAX = 1000
FILE_MAX_BYTES = 1 << 20


class TokenExists(Refusal):
    """There is a token of that name already."""

    code = "token-exists"
    exit_code = 2


class NoSuchToken(BadInput):
    """No token of the API has that name."""

    code = "no-such-token"


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`hash`: SHA-256 of it, hex. `roles`: read, operator, deploy:<app>, machines:<pool>.

    `made_s`, `until_s`: unix seconds (0: no end).
    """

    hash: str
    roles: tuple[str, ...]
    made_s: float
    until_s: float = 0.0


class Bearer(msgspec.Struct, frozen=True):
    """Whose request it is, and what it may do."""

    name: str
    roles: frozenset[str]

    def may(self, *needs: str) -> bool:
        """Whether one of these roles is among its own; an operator's token may all."""
        return bool(self.roles & {"operator", *needs})

    def demand(self, *needs: str) -> None:
        """Raises NotAllowed."""
        if not self.may(*needs):
            raise NotAllowed(
                f"token {self.name} may not do this",
                f"its roles are {', '.join(sorted(self.roles))}; it needs {' or '.join(['operator', *needs])}",
                "let an operator make another one: skerry api token add NAME --role ROLE",
            )


class Bearers(Protocol):
    """Who tells whose a request is."""

    def bearer(self, header: str, now_s: float) -> Bearer:
        """By its Authorization header. Raises NoToken."""


class Tokens:
    """A file of them; read again whenever it has changed, so that a token that was taken away is gone at once."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read_at: tuple[int, int] | None = None
        self._tokens: dict[str, Token] = {}

    def all(self) -> dict[str, Token]:
        """Name -> token. Raises BadFormat."""
        try:
            stat = self._file.stat()
        except FileNotFoundError:
            self._tokens, self._read_at = {}, None
            return {}
        stamp = (stat.st_mtime_ns, stat.st_ino)
        if stamp != self._read_at:
            try:
                with self._file.open("rb") as file:
                    tokens = msgspec.json.decode(file.read(FILE_MAX_BYTES), type=dict[str, Token])
            except UNREADABLE as error:
                raise BadFormat(f"{self._file} can't be read", str(error), "put it back from a backup") from error
            self._tokens, self._read_at = tokens, stamp
        return self._tokens

    def add(self, name: str, roles: Sequence[str], until_s: float = 0.0) -> str:
        """A new one; gives it, for the only time. Raises TokenExists, BadInput."""
        if not NAME.fullmatch(name):
            raise BadInput(f"{name[:80]!r} can't be a token's name", "letters, digits, and . _ -", "choose another one")
        for role in roles:
            if not ROLE.fullmatch(role):
                raise BadInput(
                    f"{role[:80]!r} is no role of a token", "", "one of: read, operator, deploy:APP, machines:POOL"
                )
        if not roles:
            raise BadInput(f"token {name} was not made", "it would be allowed nothing", "say --role, such as read")
        tokens = self.all()
        if name in tokens:
            raise TokenExists(
                f"token {name} was not made", "there is one of that name", f"take it away: skerry api token rm {name}"
            )
        if len(tokens) >= TOKENS_MAX:
            raise BadInput(f"token {name} was not made", f"there are {TOKENS_MAX} already", "take some away")
        plain = PREFIX + secrets.token_urlsafe(32)
        made = Token(hash=_hash(plain), roles=tuple(sorted(set(roles))), made_s=time.time(), until_s=until_s)
        self._write({**tokens, name: made})
        return plain

    def rm(self, name: str) -> None:
        """Raises NoSuchToken."""
        tokens = dict(self.all())
        if tokens.pop(name, None) is None:
            known = ", ".join(sorted(self.all())) or "none"
            raise NoSuchToken(f"there is no token {name}", f"there are: {known}", "see skerry api token ls")
        self._write(tokens)

    def bearer(self, header: str, now_s: float) -> Bearer:
        """Whose an Authorization header is. Every token is compared, in constant time. Raises NoToken."""
        scheme, _, plain = header.partition(" ")
        given = _hash(plain.strip())
        found: tuple[str, Token] | None = None
        for name, token in self.all().items():
            if hmac.compare_digest(given, token.hash):
                found = (name, token)
        if scheme.lower() != "bearer" or found is None or 0 < found[1].until_s <= now_s:
            raise NoToken(
                "the request was not answered",
                "it bears no token that is known here" if header else "it bears no token",
                "send Authorization: Bearer TOKEN; an operator makes one: skerry api token add NAME --role read",
            )
        return Bearer(found[0], frozenset(found[1].roles))

    def _write(self, tokens: dict[str, Token]) -> None:
        write_atomically(self._file, msgspec.json.format(msgspec.json.encode(tokens)) + b"\n")


def _hash(plain: str) -> str:
    return hashlib.sha256(plain.encode("utf-8", "replace")).hexdigest()
