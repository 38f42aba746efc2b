"""The verdict on an image: what its tree, its config and the contents of its files say. Pure; the facts come as a function.

Executables of an own image (its config has the label) are the declared ones and nothing else. All that is known of names
and contents is held against own and foreign images alike: whoever holds a key that may release can declare what he likes.
"""

from __future__ import annotations

import functools
import posixpath
from collections.abc import Callable, Iterator

from skerry.core.intent import SETUP_SHELL
from skerry.image.contract import BadImage
from skerry.image.lint import names, secrets
from skerry.image.lint.findings import ALLOWABLE, KINDS, TOOLS, Finding
from skerry.image.lint.programs import Facts
from skerry.image.manifest import Entry, Tree
from skerry.image.oci import ImageConfig
from skerry.image.paths import walk

MAX_STEPS = 5_000_000  # on the way of all links together; an image of 10,000 links takes 100,000
MAX_OF_A_KIND = 50  # of a whole Debian there are some hundreds, and nobody reads on
FactsOf = Callable[[str], Facts]
Read = Callable[[str], bytes]


def judge(tree: Tree, config: ImageConfig, facts: FactsOf, read: Read) -> list[Finding]:
    """What was found, most serious first, at most MAX_OF_A_KIND. `facts`: of a file's content by its hash; `read`: the content.

    Raises BadImage for links that lead on and on.
    """
    found = [*_programs(tree, config, facts), *_databases(tree)]
    if config.tools:
        found.append(
            Finding(
                TOOLS, "/", "is an image of tools: it runs beside containers that somebody looks into, never as one"
            )
        )
    if not config.executables:  # an own build has looked at the project's own files, and knows them from packages'
        found += _secrets(tree, facts, read)
    kinds: dict[str, set[Finding]] = {kind: set() for kind in KINDS}
    for finding in found:
        kinds[finding.kind].add(finding)
    # Of each kind some, so that many of one that is allowed don't hide another that is not.
    return [finding for some in kinds.values() for finding in sorted(some, key=_place)[:MAX_OF_A_KIND]]


def _place(finding: Finding) -> tuple[str, str]:
    return finding.path, finding.words


def _programs(tree: Tree, config: ImageConfig, facts: FactsOf) -> Iterator[Finding]:
    paths = _Paths(tree)
    declared = _declared(config, paths)
    shell = SETUP_SHELL if config.init else "shell"
    called: dict[str, set[str]] = {}  # hash of a program -> all names that lead to it
    programs: dict[str, Entry] = {}
    for entry in tree.entries:
        target = entry if entry.kind == "f" else paths.follow(entry.path) if entry.kind == "l" else None
        if target is None or target.kind != "f":
            continue
        seen = facts(target.sha256)
        if target.mode != 0o755 and seen.form != "elf":
            continue
        is_declared = target.path in declared
        called.setdefault(target.sha256, set()).add(posixpath.basename(entry.path))
        programs.setdefault(target.sha256, target)
        kinds = dict(seen.traits) if entry is target else {}
        if kind := names.kind_of(entry.path):
            kinds = {kind: f"is {ALLOWABLE[kind]}"} | {k: words for k, words in kinds.items() if k != kind}
        for kind, words in kinds.items():
            if kind == "interpreter" and (is_declared or target.mode != 0o755):
                continue
            yield Finding(shell if kind == "shell" and is_declared else kind, entry.path, words)
        if entry is target and target.mode == 0o755:
            if config.executables and not is_declared:
                yield Finding("undeclared", entry.path, "is neither a declared entry point nor its loader")
            if seen.form == "script":
                yield Finding("script", entry.path, "is a script that can be run")
    for hash, known in called.items():
        applets = sorted(known & names.APPLETS)
        if len(applets) >= names.FEW_APPLETS:
            target = programs[hash]
            yield Finding("shell", target.path, f"is one program under many names: {', '.join(applets[:5])}")


def _databases(tree: Tree) -> Iterator[Finding]:
    seen: set[str] = set()
    for entry in tree.entries:
        if entry.kind == "d":
            continue
        if (database := names.database_of(entry.path)) and database not in seen:
            seen.add(database)
            yield Finding("database", database, "is a package database: a package manager made this")
        if manager := names.manager_of(entry.path):
            yield Finding("package-manager", entry.path, f"is part of {manager}, a package manager")


def _secrets(tree: Tree, facts: FactsOf, read: Read) -> Iterator[Finding]:
    for entry in tree.files():
        if secrets.is_test_material(entry.path):
            continue
        rule = facts(entry.sha256).secret or secrets.in_named(entry.path, functools.partial(read, entry.sha256))
        if rule:
            yield Finding("secret", entry.path, f"holds {rule}")


def _declared(config: ImageConfig, paths: _Paths) -> set[str]:
    """Paths of programs that the image says it runs: its label, or, of a foreign image, the first word of its command."""
    if config.executables:
        return set(config.executables)
    found: set[str] = set()
    for word in (*config.entrypoint[:1], *(config.cmd[:1] if not config.entrypoint else ())):
        search = dict(config.env).get("PATH", "/usr/local/bin:/usr/bin:/bin").split(":") if "/" not in word else [""]
        for folder in search:
            target = paths.follow(posixpath.join(folder, word).lstrip("/"))
            if target is not None:
                found.add(target.path)
                break
    return found


class _Paths:
    """What a path leads to inside the tree, as it would in the container."""

    def __init__(self, tree: Tree) -> None:
        self._entries = {entry.path: entry for entry in tree.entries}
        self._steps = 0

    def follow(self, path: str) -> Entry | None:
        walked = walk(path, self._entries.get)
        self._steps += walked.steps
        if self._steps > MAX_STEPS:
            raise BadImage("an image can't be judged", f"its links take more than {MAX_STEPS} steps to follow")
        return None if walked.end is None else self._entries.get(walked.end)
