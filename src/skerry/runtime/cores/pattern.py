"""Where this host's kernel sends cores (`kernel.core_pattern`): ours while somebody asks, as it was when nobody does any more.

One setting for the whole host and all that runs on it. So it is taken only where it was the kernel's own default, what was found
is kept on disk before anything is written, and it is put back only while it is still ours. Source: core(5);
Linux, Documentation/admin-guide/sysctl/kernel.rst.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from skerry.outside import UNREADABLE

DEFAULT = "core"
PROGRAM = "skerry-core"
AT_ONCE = 4  # handlers; the kernel then waits for them, so that /proc/PID is there
PATTERN_MAX = 127
INIT_PID_NAMESPACE = (
    0xEFFFFFFC  # include/linux/proc_ns.h: of the kernel's own; a machine that shares its kernel has another
)
WORDS = "%P %s %t %c %d"


def program(python: str, packages: str) -> str:
    """The handler as a file. A shell's start is a tenth of Python's: so little costs a process that may not leave a core, such
    as those of containers that did not ask, however often they die. Without `site`, whose start takes longer than all the rest.
    """
    return f"""#!/bin/sh
# skerry-core CONTAINERS CORES PID SIGNAL TIME LIMIT MODE: the kernel starts it, with a core on standard input.
[ "$6" = 0 ] && exit
exec {python} -IS -c 'import sys
sys.path.append("{packages}")
from skerry.runtime.cores.handler import main
raise SystemExit(main())' "$@"
"""


class _Found(msgspec.Struct):
    core_pattern: str
    core_pipe_limit: str


class CorePattern:
    """`handler`: the program; `containers`, `cores`: what it is told; `kept`: where what was found is kept."""

    def __init__(
        self,
        handler: Path,
        containers: Path,
        cores: Path,
        *,
        settings: Path = Path("/proc/sys/kernel"),
        namespace: Path = Path("/proc/self/ns/pid"),
    ) -> None:
        self._handler, self._settings, self._namespace = handler, settings, namespace
        self._kept, self._cores = cores / "found.json", str(cores)
        self._ours = f"|{handler} {containers} {cores} {WORDS}"

    def take(self) -> str:
        """Have cores sent to us. Gives why not ("" if they are)."""
        if not self._handler.exists():
            return f"this agent has no {self._handler}"
        if len(self._ours) > PATTERN_MAX:
            return f"the kernel takes {PATTERN_MAX} characters, and ours has {len(self._ours)}"
        try:
            if self._namespace.stat().st_ino != INIT_PID_NAMESPACE:
                return "this host shares its kernel with others, which has one place for the cores of all"
            found = self._read("core_pattern")
            if found == self._ours:
                return ""
            if not self._is_ours(found):
                if found != DEFAULT:
                    return f"{_who(found)} takes this host's cores (kernel.core_pattern is {found[:PATTERN_MAX]!r})"
                self._keep(_Found(found, self._read("core_pipe_limit")))
            self._write("core_pipe_limit", str(AT_ONCE))
            self._write("core_pattern", self._ours)
        except OSError as error:
            return f"{error.filename or 'kernel.core_pattern'}: {error.strerror}"
        return ""

    def put_back(self) -> bool:
        """As it was, if it is still ours. Whether there was something to do."""
        with contextlib.suppress(OSError):
            if self._namespace.stat().st_ino != INIT_PID_NAMESPACE or not self._is_ours(self._read("core_pattern")):
                self._kept.unlink(missing_ok=True)
                return False
            try:
                found = msgspec.json.decode(self._kept.read_bytes(), type=_Found)
            except (FileNotFoundError, *UNREADABLE):
                found = _Found(DEFAULT, "0")
            self._write("core_pattern", found.core_pattern)
            if self._read("core_pipe_limit") == str(AT_ONCE):
                self._write("core_pipe_limit", found.core_pipe_limit)
            self._kept.unlink(missing_ok=True)
            return True
        return False

    def _is_ours(self, pattern: str) -> bool:
        """Of this host, by any version of its agent; not of another agent on this machine."""
        words = pattern.split(" ")
        return pattern.startswith("|") and words[0].rpartition("/")[2] == PROGRAM and words[2:3] == [self._cores]

    def _read(self, name: str) -> str:
        return (self._settings / name).read_text().strip("\n")

    def _write(self, name: str, value: str) -> None:
        (self._settings / name).write_text(value)

    def _keep(self, found: _Found) -> None:
        self._kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = self._kept.with_suffix(".new")
        with open(new, "wb") as file:
            file.write(msgspec.json.encode(found))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._kept)


def _who(pattern: str) -> str:
    """Of a pattern that isn't ours nor the default, in a word."""
    return pattern[1:].split(" ")[0].rpartition("/")[2] if pattern.startswith("|") else "a file of its own"
