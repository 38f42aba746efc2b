"""A compose `healthcheck` as a probe from outside. Pure.

Images have no shell and no curl, so a test that runs inside can't run; but what the usual ones ask is known: an HTTP
answer, a port, a database's own greeting. Only what is understood whole is translated; anything else is a ValueError
that says what to write instead.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

Kind = Literal["tcp", "http", "redis", "postgres", "mysql"]
LOCAL = {"localhost", "127.0.0.1", "0.0.0.0", "::1", "::"}

# Options that change nothing about the question. Those with a value stand apart: the next word is theirs.
_CURL_FLAGS = set("fsSLvI46N#") | {"fail", "silent", "show-error", "location", "head", "verbose", "no-progress-meter"}
_CURL_VALUES = set("om") | {"output", "max-time", "connect-timeout", "retry", "retry-delay", "retry-max-time"}
_CURL_VALUES |= {"write-out", "w"}
_WGET_FLAGS = set("qSv") | {"spider", "quiet", "no-verbose", "nv", "server-response", "S"}
_WGET_VALUES = set("OTt") | {"output-document", "timeout", "tries", "output-file", "o"}


@dataclass(frozen=True)
class Asked:
    """What a test asks for. `port` 0: it doesn't say."""

    kind: Kind
    port: int
    path: str = "/"


_Asks = Callable[[list[str], frozenset[str]], Asked]


class NotUnderstood(ValueError):
    """The test's meaning is not known."""

    fix = "write x-skerry: probe: {http: /path, port: 8000} or {tcp: 8000}"


def translate(test: str | list[str], names: frozenset[str]) -> Asked | None:
    """The probe that asks the same as `test` (compose `healthcheck.test`), None for NONE. `names`: the service's own.

    Raises NotUnderstood.
    """
    if isinstance(test, str):
        words = _shell_words(test)
    elif not test:
        raise NotUnderstood("the test is empty")
    elif test[0] == "NONE":
        return None
    elif test[0] == "CMD":
        words = list(test[1:])
    elif test[0] == "CMD-SHELL":
        words = _shell_words(" ".join(test[1:]))
    else:
        raise NotUnderstood("a list begins with CMD, CMD-SHELL or NONE")
    if not words:
        raise NotUnderstood("the test is empty")
    program, rest = words[0].rsplit("/", 1)[-1], words[1:]
    if program in ("sh", "bash", "ash", "dash") and len(rest) == 2 and rest[0] == "-c":
        return translate(rest[1], names)
    asks = _PROGRAMS.get(program)
    if asks is None:
        raise NotUnderstood(f"{program[:40]!r} would have to run inside the container, and an image holds no tools")
    return asks(rest, names | LOCAL)


_SILENT = {(">", "/dev/null"), (">>", "/dev/null"), (">&", "1"), (">&", "2"), (">&", "/dev/null")}


def _shell_words(text: str) -> list[str]:
    """The words of `command [> /dev/null] [2>&1] [|| exit 1]`: forms in which a shell adds nothing to the question."""
    try:
        lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;<>()")
        lexer.whitespace_split = True
        words = list(lexer)
    except ValueError as error:
        raise NotUnderstood(f"the test can't be split into words: {str(error).lower()}") from error
    for tail in (["||", "exit", "1"], ["||", "false"], ["|", "grep", "PONG"], ["|", "grep", "-q", "PONG"]):
        if words[-len(tail) :] == tail:
            words = words[: -len(tail)]
    if words[-3:-1] == ["||", "exit"] and words[-1].isdigit() and int(words[-1]):
        words = words[:-3]
    out: list[str] = []
    at = 0
    while at < len(words):
        if tuple(words[at : at + 2]) in _SILENT:
            if out and out[-1] in ("1", "2"):
                out.pop()
            at += 2
        else:
            out.append(words[at])
            at += 1
    for word in out:
        if (word and set(word) <= set("|&;<>()")) or "`" in word or "$(" in word:
            raise NotUnderstood(f"a shell would have to run `{text[:60]}`, and an image holds none")
    return out


def _options(words: list[str], flags: set[str], valued: set[str], program: str) -> list[str]:
    """What is left after options without a bearing on the question; an option of another kind is NotUnderstood."""
    rest: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if not word.startswith("-") or word == "-":
            rest.append(word)
            continue
        name, equals, _ = word.lstrip("-").partition("=")
        if name in valued:
            at += 0 if equals else 1
        elif name in flags:
            continue
        elif not word.startswith("--") and name and all(letter in flags for letter in name[:-1]) and name[-1] in valued:
            at += 1  # -fsSo FILE
        elif not word.startswith("--") and name[:1] in valued:
            continue  # -m5, -O-
        elif not word.startswith("--") and _glued(name, flags, valued):
            continue  # -fsS, -qO-
        else:
            raise NotUnderstood(f"{program} {word[:40]} may change what is asked")
    return rest


def _glued(name: str, flags: set[str], valued: set[str]) -> bool:
    for i, letter in enumerate(name):
        if letter in valued:
            return i > 0
        if letter not in flags:
            return False
    return bool(name)


def _url(words: list[str], local: frozenset[str], program: str) -> Asked:
    if len(words) != 1:
        raise NotUnderstood(f"{program} asks for {len(words)} addresses, a probe for one")
    text = words[0] if "://" in words[0] else f"http://{words[0]}"
    try:
        url = urlsplit(text)
        host, port = (url.hostname or "").lower(), url.port
    except ValueError as error:
        raise NotUnderstood(f"{text[:60]!r} is not a URL") from error
    if url.scheme != "http":
        raise NotUnderstood(f"a probe speaks http, not {url.scheme[:10]}")
    if host not in local:
        raise NotUnderstood(f"{host[:60]!r} is not the container itself")
    if url.username or url.password:
        raise NotUnderstood("a probe sends no password")
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    if not (path.isascii() and path.isprintable()) or " " in path:
        raise NotUnderstood(f"{path[:60]!r} is not a path")
    return Asked("http", 80 if port is None else port, path)


def _curl(words: list[str], local: frozenset[str]) -> Asked:
    return _url(_options(words, _CURL_FLAGS, _CURL_VALUES, "curl"), local, "curl")


def _wget(words: list[str], local: frozenset[str]) -> Asked:
    return _url(_options(words, _WGET_FLAGS, _WGET_VALUES, "wget"), local, "wget")


def _database(kind: Kind, port: int, host_options: tuple[str, ...], port_options: tuple[str, ...]) -> _Asks:
    """A client whose options other than host and port only say who asks; the protocol's greeting needs none of them."""

    def asks(words: list[str], local: frozenset[str]) -> Asked:
        for option in host_options:
            host = _option(words, option)
            if host is not None and host not in local and not host.startswith("/"):
                raise NotUnderstood(f"{host[:60]!r} is not the container itself")
        for option in port_options:
            said = _option(words, option)
            if said is not None:
                if not re.fullmatch(r"[0-9]{1,5}", said):
                    raise NotUnderstood(f"{said[:20]!r} is not a port")
                return Asked(kind, int(said))
        return Asked(kind, port)

    return asks


def _option(words: list[str], option: str) -> str | None:
    """The value of `-p 1`, `-p1`, `--port 1` or `--port=1`."""
    for at, word in enumerate(words):
        if word == option:
            return words[at + 1] if at + 1 < len(words) else ""
        if word.startswith(f"{option}=") and option.startswith("--"):
            return word.partition("=")[2]
        if word.startswith(option) and not option.startswith("--"):
            return word[len(option) :]
    return None


def _ping(of: _Asks, program: str, word: str) -> _Asks:
    def asks(words: list[str], local: frozenset[str]) -> Asked:
        if word not in (said.lower() for said in words):
            raise NotUnderstood(f"{program} without `{word}` asks something that a probe does not know")
        return of(words, local)

    return asks


def _nc(words: list[str], local: frozenset[str]) -> Asked:
    rest = _options(words, set("zvn46"), set("w"), "nc")
    if not any(word.startswith("-") and "z" in word for word in words) or len(rest) != 2:
        raise NotUnderstood("nc is understood as `nc -z HOST PORT`")
    if rest[0].lower() not in local or not re.fullmatch(r"[0-9]{1,5}", rest[1]):
        raise NotUnderstood(f"{' '.join(rest)[:60]!r} is not a port of the container itself")
    return Asked("tcp", int(rest[1]))


_MYSQL_SERVER = _database("mysql", 3306, ("-h", "--host"), ("-P", "--port"))
_MYSQL = _ping(_MYSQL_SERVER, "mysqladmin", "ping")
_PROGRAMS: dict[str, _Asks] = {
    "curl": _curl,
    "wget": _wget,
    "nc": _nc,
    "pg_isready": _database("postgres", 5432, ("-h", "--host"), ("-p", "--port")),
    "mysqladmin": _MYSQL,
    "mariadb-admin": _MYSQL,
    "healthcheck.sh": _ping(_MYSQL_SERVER, "healthcheck.sh", "--connect"),  # of MariaDB's official image
    "redis-cli": _ping(_database("redis", 6379, ("-h",), ("-p",)), "redis-cli", "ping"),
    "valkey-cli": _ping(_database("redis", 6379, ("-h",), ("-p",)), "valkey-cli", "ping"),
}
