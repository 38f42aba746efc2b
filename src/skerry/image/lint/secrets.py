"""Private keys and access tokens, told by their form. What is found is named by its rule, never shown.

Rules are narrow: a lint that cries for nothing is switched off. A token of the documentation ("EXAMPLE"), one of few
different characters, and a variable's name in its place are none. The texts are anybody's, so each repetition has a bound or
a character that ends it: no form takes longer than in proportion to the text.
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
NAMED_MOST_BYTES = 256 << 10

_KEY_MARK = b"PRIVATE KEY"
KEY_LINE_SEEN = 60
_KEY = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:\s|\\[nr]){1,20}"
    rb"(?:[A-Za-z-]{1,40}: [^\n]{0,200}\n\s{0,4}){0,5}[A-Za-z0-9+/=]{%d}" % KEY_LINE_SEEN
)
# rule -> (texts of which one is in every such token, its form). The texts are looked for first: most files have none.
_TOKENS: dict[str, tuple[tuple[bytes, ...], bytes]] = {
    "an AWS access key": ((b"AKIA", b"ASIA"), rb"(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Z0-9])"),
    "a GitHub token": (
        (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_"),
        rb"gh[pousr]_[A-Za-z0-9]{36}(?![A-Za-z0-9])|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}",
    ),
    "a GitLab token": ((b"glpat-",), rb"glpat-[A-Za-z0-9_-]{20}"),
    "a Slack token": ((b"xox",), rb"xox[abeprs]-[0-9]{8,}-[0-9A-Za-z-]{12,}"),
    "a Slack web hook": ((b"hooks.slack.com/services/T",), rb"services/T[A-Z0-9]{8,}/B[A-Z0-9]{8,}/[A-Za-z0-9]{20,}"),
    "a Stripe key": ((b"k_live_",), rb"[sr]k_live_[0-9A-Za-z]{24,}"),
    "a DigitalOcean token": ((b"_v1_",), rb"do[opr]_v1_[0-9a-f]{64}"),
    "an npm token": ((b"npm_",), rb"npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
    "a PyPI token": ((b"pypi-AgEIcHlwaS5vcmc",), rb"pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}"),
    "an age key": ((b"AGE-SECRET-KEY-1",), rb"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    "an AWS secret key": (
        (b"aws_secret_access_key",),
        rb"aws_secret_access_key[\"']?\s{0,8}[=:]\s{0,8}[\"']?[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])",
    ),
}
_RULES = [(rule, marks, re.compile(pattern)) for rule, (marks, pattern) in _TOKENS.items()]

_VALUE = rb"(?!\$|<|\{|%|\"\$|'\$|change|example|placeholder|your|xxx)[^\s\"'#]{8}"
_BY_NAME: dict[str, tuple[str, re.Pattern[bytes]]] = {
    ".npmrc": ("a token of npm", re.compile(rb"_(?:authToken|auth|password)[ \t]{0,8}=[ \t]{0,8}[\"']?" + _VALUE)),
    ".netrc": ("a password", re.compile(rb"\bpassword\s{1,8}\S")),
    "_netrc": ("a password", re.compile(rb"\bpassword\s{1,8}\S")),
    ".pypirc": ("a password", re.compile(rb"(?m)^[ \t]{0,8}password[ \t]{0,8}[:=][ \t]{0,8}" + _VALUE)),
    ".git-credentials": ("a password", re.compile(rb"://[^:/\s]{1,200}:[^@\s]{1,200}@")),
    ".pgpass": ("a password", re.compile(rb"(?m)^[^#:\n]{1,200}(?::[^:\n]{1,200}){4}$")),
    ".dockercfg": ("a password", re.compile(rb"\"auth\"\s{0,8}:\s{0,8}\"[^\"]{8}")),
    ".docker/config.json": ("a password", re.compile(rb"\"auth\"\s{0,8}:\s{0,8}\"[^\"]{8}")),
    ".env": (
        "a secret variable",
        re.compile(
            rb"(?im)^[ \t]{0,8}(?:export[ \t]{1,8})?[A-Z0-9_]{0,60}(?:SECRET|TOKEN|PASSWORD|PASSWD|API_?KEY|PRIVATE_?KEY|CREDENTIAL)"
            rb"[A-Z0-9_]{0,60}[ \t]{0,8}=[ \t]{0,8}[\"']?" + _VALUE
        ),
    ),
}
_ENV = re.compile(r"\.env(?:\.(?!example|sample|template|dist|test)[a-z]+)*\Z")
_PACKAGES = {"site-packages", "dist-packages", "node_modules", "gems", "doc", "perl5"}
_TESTS = {
    "test", "tests", "testing", "_testing", "testdata", "test_data", "fixtures", "example", "examples", "doc", "docs",
    "sample", "samples", "spec",
}  # fmt: skip
_TEST_FILE = re.compile(r"(?:tests?|test_.*|.*_test|conftest)\.py\Z")


def in_file(data: Data) -> str:
    """The rule that a text breaks, "" for none, and for what is no text."""
    if b"\0" in data[:TEXT_SEEN_BYTES]:
        return ""
    for window in _windows(data):
        if _KEY_MARK in window and _has_key(window):
            return "a private key"
        for rule, marks, form in _RULES:
            if any(mark in window for mark in marks) and any(
                _is_real(found, window) for found in form.finditer(window)
            ):
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
    """Keys that packages test or explain themselves with are nobody's."""
    steps = path.split("/")
    first = next((n for n, step in enumerate(steps[:-1]) if step in _PACKAGES), len(steps))
    return first < len(steps) and (not _TESTS.isdisjoint(steps[first + 1 : -1]) or bool(_TEST_FILE.match(steps[-1])))


def _has_key(window: bytes) -> bool:
    # Of the first line all counts: that of a key of OpenSSH ends in zeros.
    return any(len(set(match[0][-KEY_LINE_SEEN:])) > 10 for match in _KEY.finditer(window))


def _is_real(found: re.Match[bytes], window: bytes) -> bool:
    before = window[max(0, found.start() - 1) : found.start()]
    return not before.isalnum() and b"EXAMPLE" not in found[0].upper() and _is_varied(found[0])


def _is_varied(text: bytes) -> bool:
    return len(set(text[-20:])) > 6


def _windows(data: Data) -> Iterator[bytes]:
    if len(data) <= WINDOW_BYTES:
        yield data[:]
        return
    for at in range(0, len(data), WINDOW_BYTES):
        yield data[at : at + WINDOW_BYTES + OVERLAP_BYTES]
