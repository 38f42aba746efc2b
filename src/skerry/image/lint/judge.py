"""The verdict on an image: what its tree, its config and the contents of its files say. Pure; the facts come as a function.

Executables of an own image (its config has the label) are the declared ones and nothing else. All that is known of names
and contents is held against own and foreign images alike: whoever holds a key that may release can declare what he likes.
"""

from __future__ import annotations

import functools
import posixpath
from collections.abc import Callable, Iterator

from skerry.core.intent import SETUP_SHELL
from skerry.image.lint import names, secrets
from skerry.image.lint.findings import ALLOWABLE, KINDS, Finding
from skerry.image.lint.programs import Facts
from skerry.image.manifest import Entry, Tree
from skerry.image.oci import ImageConfig

MAX_LINKS = 40
MAX_FINDINGS = 200  # of a whole Debian there are some hundreds, and nobody reads on
FactsOf = Callable[[str], Facts]
Read = Callable[[str], bytes]


def judge(tree: Tree, config: ImageConfig, facts: FactsOf, read: Read) -> list[Finding]:
    """Everything found, most serious first, at most MAX_FINDINGS. `facts`: of a file's content by its hash; `read`: the content."""
    found = [*_programs(tree, config, facts), *_databases(tree)]
    if not config.executables:  # an own build has looked at the project's own files, and knows them from packages'
        found += _secrets(tree, facts, read)
    order = {kind: place for place, kind in enumerate(KINDS)}
    return sorted(set(found), key=lambda finding: (order[finding.kind], finding.path))[:MAX_FINDINGS]


def _programs(tree: Tree, config: ImageConfig, facts: FactsOf) -> Iterator[Finding]:
    by_path = {entry.path: entry for entry in tree.entries}
    declared = _declared(config, by_path)
    shell = SETUP_SHELL if config.init else "shell"
    called: dict[str, set[str]] = {}  # hash of a program -> all names that lead to it
    programs: dict[str, Entry] = {}
    for entry in tree.entries:
        target = entry if entry.kind == "f" else _follow(by_path, entry.path) if entry.kind == "l" else None
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


def _declared(config: ImageConfig, by_path: dict[str, Entry]) -> set[str]:
    """Paths of programs that the image says it runs: its label, or, of a foreign image, the first word of its command."""
    if config.executables:
        return set(config.executables)
    found: set[str] = set()
    for word in (*config.entrypoint[:1], *(config.cmd[:1] if not config.entrypoint else ())):
        search = dict(config.env).get("PATH", "/usr/local/bin:/usr/bin:/bin").split(":") if "/" not in word else [""]
        for folder in search:
            target = _follow(by_path, posixpath.join(folder, word).lstrip("/"))
            if target is not None:
                found.add(target.path)
                break
    return found


def _follow(by_path: dict[str, Entry], path: str) -> Entry | None:
    """What a path leads to inside the tree, as it would in the container."""
    todo, here = [part for part in path.split("/") if part], ""
    links = 0
    while todo:
        part = todo.pop(0)
        if part in (".", ".."):
            here = posixpath.dirname(here) if part == ".." else here
            continue
        step = f"{here}/{part}" if here else part
        found = by_path.get(step)
        if found is None or found.kind != "l":
            here = step
            continue
        links += 1
        if links > MAX_LINKS:
            return None
        here = "" if found.link.startswith("/") else here
        todo = [piece for piece in found.link.split("/") if piece] + todo
    return by_path.get(here)
