"""Private keys and access tokens, told by their form. What is found is named by its rule, never shown.

Rules are narrow: a lint that cries for nothing is switched off. A token of the documentation ("EXAMPLE"), one of few
different characters, and a variable's name in its place are none.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from mmap import mmap

Data = bytes | mmap
WINDOW_BYTES = 4 << 20
OVERLAP_BYTES = 8 << 10
TEXT_SEEN_BYTES = 1024
NAMED_MOST_BYTES = 1 << 20

_KEY_MARK = b"PRIVATE KEY"
_KEY = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:\s|\\[nr])+(?:[A-Za-z-]+: [^\n]{0,200}\n\s*)*[A-Za-z0-9+/=]{60}"
)
_TOKENS = {
    "an AWS access key": rb"(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Z0-9])",
    "a GitHub token": rb"(?<![A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{36}(?![A-Za-z0-9])|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}",
    "a GitLab token": rb"(?<![A-Za-z0-9])glpat-[A-Za-z0-9_-]{20}",
    "a Slack token": rb"(?<![A-Za-z0-9])xox[abeprs]-[0-9]{8,}-[0-9A-Za-z-]{12,}",
    "a Slack web hook": rb"hooks\.slack\.com/services/T[A-Z0-9]{8,}/B[A-Z0-9]{8,}/[A-Za-z0-9]{20,}",
    "a Stripe key": rb"(?<![A-Za-z0-9])[sr]k_live_[0-9A-Za-z]{24,}",
    "a DigitalOcean token": rb"(?<![A-Za-z0-9])do[opr]_v1_[0-9a-f]{64}",
    "an npm token": rb"(?<![A-Za-z0-9])npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])",
    "a PyPI token": rb"(?<![A-Za-z0-9])pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}",
    "an age key": rb"AGE-SECRET-KEY-1[0-9A-Z]{58}",
    "an AWS secret key": rb"aws_secret_access_key[\"']?\s*[=:]\s*[\"']?[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])",
}
_RULES = {rule: re.compile(pattern) for rule, pattern in _TOKENS.items()}
_MARKS = re.compile(
    rb"PRIVATE KEY|AKIA|ASIA|gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|hooks\.slack\.com|k_live_|do[opr]_v1_|npm_|pypi-Ag"
    rb"|AGE-SECRET|aws_secret_access"
)

_VALUE = rb"(?!\$|<|\{|%|\"\$|'\$|change|example|placeholder|your|xxx)[^\s\"'#]{8,}"
_BY_NAME: dict[str, tuple[str, re.Pattern[bytes]]] = {
    ".npmrc": ("a token of npm", re.compile(rb"_(?:authToken|auth|password)\s*=\s*[\"']?" + _VALUE)),
    ".netrc": ("a password", re.compile(rb"\bpassword\s+\S+")),
    "_netrc": ("a password", re.compile(rb"\bpassword\s+\S+")),
    ".pypirc": ("a password", re.compile(rb"(?m)^\s*password\s*[:=]\s*" + _VALUE)),
    ".git-credentials": ("a password", re.compile(rb"://[^:/\s]+:[^@\s]+@")),
    ".pgpass": ("a password", re.compile(rb"(?m)^[^#\n][^:\n]*(?::[^:\n]+){4,}$")),
    ".dockercfg": ("a password", re.compile(rb"\"auth\"\s*:\s*\"[^\"]{8,}")),
    ".docker/config.json": ("a password", re.compile(rb"\"auth\"\s*:\s*\"[^\"]{8,}")),
    ".env": (
        "a secret variable",
        re.compile(
            rb"(?im)^\s*(?:export\s+)?[A-Z0-9_]*(?:SECRET|TOKEN|PASSWORD|PASSWD|API_?KEY|PRIVATE_?KEY|CREDENTIAL)[A-Z0-9_]*\s*=\s*[\"']?"
            + _VALUE
        ),
    ),
}
_ENV = re.compile(r"\.env(?:\.(?!example|sample|template|dist|test)[a-z]+)*\Z")
_TEST_MATERIAL = re.compile(
    r"(?:.*/)?(?:(?:site|dist)-packages|node_modules|gems|share/doc|share/perl5?)/(?:.*/)?"
    r"(?:tests?|_?testing|test_?data|fixtures|examples?|docs?|samples?|spec)/"
)


def in_file(data: Data) -> str:
    """The rule that a text breaks, "" for none, and for what is no text."""
    if b"\0" in data[:TEXT_SEEN_BYTES]:
        return ""
    for window in _windows(data):
        if _MARKS.search(window):
            if _has_key(window):
                return "a private key"
            for rule, pattern in _RULES.items():
                if any(_is_real(match[0]) for match in pattern.finditer(window)):
                    return rule
    return ""


def in_program(data: Data) -> str:
    """A private key that was built into a program. Libraries are not looked at: those of TLS have keys to test themselves."""
    for at in range(0, len(data), WINDOW_BYTES):
        end = min(len(data), at + WINDOW_BYTES + OVERLAP_BYTES)
        if data.find(_KEY_MARK, at, end) >= 0 and _has_key(data[at:end]):
            return "a private key"
    return ""


def in_named(path: str, read: Callable[[], bytes]) -> str:
    """Of files whose name says that they hold secrets: only there is a password a password. Others are not read."""
    name = posixpath.basename(path)
    if path.endswith(".docker/config.json"):
        name = ".docker/config.json"
    named = _BY_NAME.get(".env" if _ENV.match(name) else name)
    return named[0] if named is not None and named[1].search(read()[:NAMED_MOST_BYTES]) else ""


def is_test_material(path: str) -> bool:
    """Keys that packages test themselves with are nobody's."""
    return _TEST_MATERIAL.match(path) is not None


def _has_key(window: bytes) -> bool:
    return any(_is_real(match[0].split(b"-----")[-1]) for match in _KEY.finditer(window))


def _is_real(text: bytes) -> bool:
    return b"EXAMPLE" not in text.upper() and len(set(text[-20:])) > 6


def _windows(data: Data) -> Iterator[bytes]:
    if len(data) <= WINDOW_BYTES:
        yield data[:]
        return
    for at in range(0, len(data), WINDOW_BYTES):
        yield data[at : at + WINDOW_BYTES + OVERLAP_BYTES]
