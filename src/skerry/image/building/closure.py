"""Which files of a pile an image keeps: what its entry points need, found by machine, and what rules know beyond that.

ELF says what it loads at start; every link on the way is kept, too. What programs open later by name can't be seen:
the rules (`rules/`) add it by library, recipes by glob, and what is left over is reported as a finding. A library
that can't be found, or a glob that matches nothing, fails the build: better here than in the first request.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Iterable

from skerry.image.building.elf import Elf, is_elf, read_elf
from skerry.image.building.pile import File, Pile, file_of, link_to
from skerry.image.contract import BuildRefused

LIBRARY_DIRS = ("usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/lib")  # what the loader knows without a cache file
MACHINE = ("EM_X86_64", 64)


class Closure:
    """The files kept so far. `executables`: paths that bear the x bit; `findings`: sentences for the user."""

    def __init__(self, pile: Pile) -> None:
        self.pile = pile
        self.kept: dict[str, File] = {}
        self.executables: set[str] = set()
        self.findings: list[str] = []
        self.look_in: tuple[str, ...] = ()  # for libraries, after where the loader looks by itself
        self._elves: dict[str, Elf] = {}
        self._names: dict[str, list[str]] | None = None

    def program(self, path: str) -> str:
        """Keep an entry point, by its path in the image, with all it loads; gives the path behind the links."""
        links, file = self.pile.follow(path)
        if file is None or file.kind != "f":
            raise BuildRefused(
                f"the entry point {path} can't be kept",
                "no package of the recipe has it",
                "check `entrypoint` and `packages`",
            )
        self._keep_all([*links, file])
        self.executables.add(file.path)
        data = file.load()
        if data[:2] == b"#!":
            words = data[2:200].split(b"\n")[0].decode("utf-8", "replace").split()
            raise BuildRefused(
                f"the entry point {path} can't be kept",
                f"it is a script for {' '.join(words)}",
                "name the program itself, with its arguments",
            )
        self._load(file, ())
        return file.path

    def called(self, program: str, names: Iterable[str]) -> None:
        """Links beside a program that is kept, for a program that does what it is called by."""
        folder, name = posixpath.split(program)
        for other in names:
            if f"{folder}/{other}" not in self.kept:
                self.link(f"{folder}/{other}", name)

    def library(self, path: str) -> None:
        """Keep a library that is loaded by name, with all it needs in turn."""
        links, file = self.pile.follow(path)
        if file is None:
            raise BuildRefused(f"{path} can't be kept", "no package of the recipe has it")
        self._keep_all([*links, file])
        self._load(file, ())

    def glob(self, *patterns: str) -> None:
        """Keep all files whose path matches one of these and none that begins with `!`; `**` crosses directories, `*` does not.

        Raises BuildRefused for one that matches nothing.
        """
        kept: dict[str, None] = {}
        left_out: set[str] = set()
        for pattern in patterns:
            found = self.find(pattern.removeprefix("!").lstrip("/"))
            if not found:
                raise BuildRefused(
                    f"keep: {pattern!r} matches nothing",
                    "no package of the recipe has such a file",
                    "paths are from the root; * stays within a folder, ** crosses folders",
                )
            left_out.update(found) if pattern.startswith("!") else kept.update(dict.fromkeys(found))
        self.take([path for path in kept if path not in left_out])

    def find(self, pattern: str) -> list[str]:
        """The paths that match, none kept."""
        want = _pattern(pattern)
        return [path for path in self.pile.paths() if want.match(path)]

    def take(self, paths: Iterable[str]) -> None:
        """Keep these files, with the libraries they need."""
        for path in paths:
            links, file = self.pile.follow(path)
            if file is None:
                continue
            self._keep_all([*links, file])
            if file.kind == "f" and (".so" in posixpath.basename(path) or file.path in self.executables):
                self._load(file, ())

    def write(self, path: str, data: bytes) -> None:
        """Keep a file that is made here."""
        self.kept[path] = file_of(path, data, "skerry")

    def link(self, path: str, target: str) -> None:
        self.kept[path] = link_to(path, target, "skerry")

    def directory(self, path: str) -> None:
        self.kept.setdefault(path, File(path, "d", origin="skerry"))

    def has_library(self, start: str) -> bool:
        """Is a library whose file name starts so among what is kept?"""
        return any(posixpath.basename(path).startswith(start) for path in self.kept)

    def _has_graft(self, name: str) -> bool:
        """Did a wheel bring this library along, renamed by auditwheel: libkrb5-f18b4d11.so.3.3? Its old name stays as text."""
        stem, _, _ = name.partition(".so")
        graft = re.compile(re.escape(stem) + r"-[0-9a-f]{8}\.so")
        return any(graft.match(posixpath.basename(path)) for path in self.kept)

    def asks_for_locale(self) -> bool:
        """Can anything that is kept leave the locale C? (libcrypto only ever asks for C by name.)"""
        own = ("libc.so", "libcrypto.so")
        return any(elf.locale for path, elf in self._elves.items() if not posixpath.basename(path).startswith(own))

    def report(self, without: Iterable[str] = ()) -> None:
        """Add what the closure could only guess: libraries named as text, programs that may want a shell.

        `without`: programs of which everybody knows that they can start others.
        """
        known = set(without)
        hints: dict[str, str] = {}
        for path, elf in sorted(self._elves.items()):
            if posixpath.basename(path) == "libc.so.6":
                continue  # it names the ways to look up names that it has itself since 2.34
            for name in elf.hints:
                if name == "libc.so.6":
                    continue  # a text that every program linked statically to glibc has
                if self._find_name(name) and not self.has_library(name) and not self._has_graft(name):
                    hints.setdefault(name, path)
            if (
                "usr/bin/sh" not in self.kept
                and path in self.executables - known
                and {"system", "popen"} & set(elf.calls)
            ):
                self.findings.append(f"{path} can call system() or popen(): there is no shell in the image")
        self.findings += [f"{path} may open {name}, which was not kept" for name, path in sorted(hints.items())]

    def _keep_all(self, files: Iterable[File]) -> None:
        self.kept.update((file.path, file) for file in files)

    def _load(self, file: File, inherited: tuple[str, ...]) -> None:
        """Keep what this ELF file needs. `inherited`: directories from the RPATH of those that load it."""
        if file.path in self._elves or file.kind != "f":
            return
        data = file.load()
        elf = read_elf(data)
        if elf is None:
            if is_elf(data):
                raise BuildRefused(f"{file.path} can't be kept", "it is a damaged ELF file")
            return
        if (elf.machine, elf.bits) != MACHINE:
            raise BuildRefused(f"{file.path} can't be kept", f"it is built for {elf.machine}, {elf.bits} bits")
        self._elves[file.path] = elf
        if elf.interpreter:
            links, loader = self.pile.follow(elf.interpreter)
            if loader is None:
                raise BuildRefused(f"{file.path} can't be kept", f"its loader {elf.interpreter} is in no package")
            self._keep_all([*links, loader])
            self.executables.add(loader.path)
        origin = posixpath.dirname(file.path)
        own = tuple(_expand(path, origin) for path in elf.rpath) if not elf.runpath else ()
        passed_on = (*own, *inherited)
        look_in = (
            *(passed_on if not elf.runpath else ()),
            *(_expand(path, origin) for path in elf.runpath),
            *LIBRARY_DIRS,
            *self.look_in,
        )
        for name in elf.needed:
            found = self._find(name, look_in)
            if found is None:
                raise BuildRefused(
                    f"{file.path} can't be kept",
                    f"it needs the library {name}, which no package of the recipe has",
                    "add the package that has it to `packages`",
                )
            self._load(found, passed_on)

    def _find(self, name: str, directories: Iterable[str]) -> File | None:
        for directory in directories:
            links, file = self.pile.follow(name if "/" in name else f"{directory}/{name}")
            if file is not None and file.kind == "f":
                self._keep_all([*links, file])
                return file
        return None

    def _find_name(self, name: str) -> bool:
        return any(self.pile.get(f"{directory}/{name}") for directory in LIBRARY_DIRS)


def _expand(path: str, origin: str) -> str:
    for word in ("$ORIGIN", "${ORIGIN}"):
        path = path.replace(word, "/" + origin)
    return posixpath.normpath(path).lstrip("/")


def _pattern(glob: str) -> re.Pattern[str]:
    parts = [".*" if part == "**" else fnmatch.translate(part)[4:-3].replace(".*", "[^/]*") for part in glob.split("/")]
    return re.compile("/".join(parts) + r"\Z", re.DOTALL)
