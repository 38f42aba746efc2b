"""What the lint can find, as typed values; which of it may be allowed, and which of it is only said. Values and words only."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from skerry.core.intent import SETUP_SHELL
from skerry.errors import Refusal

ALLOWABLE = {
    "shell": "a shell",
    "remote-login": "a server or client of remote logins",
    "package-manager": "a package manager",
    "compiler": "a compiler or a tool of one",
    "debugger": "a debugger",
    "network-tool": "a tool of networks",
    "editor": "an editor",
    "interpreter": "an interpreter that is not a declared entry point",
    "secret": "a private key or an access token",
    "database": "a package database",
}
"""kind -> what it is. Refused, unless the app's document, signed by operators, allows it with a reason."""

TOOLS = "tools"  # what the lint finds in a tools image, whatever is in it

NEVER = {
    "undeclared": "a program that the image of a recipe does not declare",
    SETUP_SHELL: "a shell of an init image, which may run before a service and never as one",
    TOOLS: "an image of tools, which may run beside containers and never as an app",
}
"""Refused, and no document can allow it: the recipe declares a program, or there is none."""

SAID = {
    "setuid": "a set-user-id or set-group-id program",
    "capability": "a program with file capabilities",
    "device": "a device, a pipe or a socket",
    "script": "a script with the x bit",
}
"""Said at an import and no more: a tree can't hold the first three, what is imported has lost them; a script needs what it
names, and that is found for itself."""

KINDS = {**ALLOWABLE, **NEVER, **SAID}


class Finding(msgspec.Struct, frozen=True):
    """`words` end a sentence that begins with the path: "is a shell". They never hold the secret that was found."""

    kind: str
    path: str
    words: str

    def __str__(self) -> str:
        return f"{self.path} {self.words}"

    @property
    def refuses(self) -> bool:
        return self.kind not in SAID


class ImageRefused(Refusal):
    """The lint found what doesn't belong into an image: a shell, a package manager, a secret. See docs/images.md."""

    code = "image-refused"


def by_kind(findings: Iterable[Finding]) -> dict[str, str]:
    """Of what refuses an image, a sentence for each kind, in the order of KINDS: what core is told."""
    many: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.refuses:
            many.setdefault(finding.kind, []).append(finding)
    return {
        kind: f"{_shown(many[kind][0])}{f' (and {len(many[kind]) - 1} more)' if len(many[kind]) > 1 else ''}"
        for kind in KINDS
        if kind in many
    }


def check(
    findings: Collection[Finding], allow: Collection[str], *, what: str, init: bool = False, tools: bool = False
) -> None:
    """Raise ImageRefused for findings that are not allowed. `allow`: kinds; `init`: the image runs before a service; `tools`: beside
    containers, never as one."""
    allowed = {kind for kind in allow if kind in ALLOWABLE} | ({SETUP_SHELL} if init else set())
    if tools:
        allowed |= {*ALLOWABLE, TOOLS}
    left = [finding for finding in findings if finding.refuses and finding.kind not in allowed]
    if not left:
        return
    shown = [str(finding) for finding in sorted(left, key=_order)[:10]]
    if len(left) > len(shown):
        shown.append(f"and {len(left) - len(shown)} more")
    raise ImageRefused(f"{what} was refused", "; ".join(shown), how_to_mend({finding.kind for finding in left}))


def how_to_mend(kinds: Collection[str]) -> str:
    may = [kind for kind in ALLOWABLE if kind in kinds]
    ways = []
    if "undeclared" in kinds:
        ways.append("name programs that shall run in the recipe's `entrypoint` or `programs`")
    if TOOLS in kinds:
        ways.append("tools run beside a container, as `skerry tools` has them; give the app an image of its own")
    if SETUP_SHELL in kinds:
        ways.append("an init image runs before a service, never as one")
    if may:
        ways.append(f"leave it out of the image, or write x-skerry: allow: {{{may[0]}: why it is needed}}")
    return "; ".join(ways)


def _shown(finding: Finding) -> str:
    path = finding.path if len(finding.path) <= 80 else f"…{finding.path[-79:]}"
    return f"{path} {finding.words}"


def _order(finding: Finding) -> tuple[int, str]:
    return list(KINDS).index(finding.kind), finding.path
