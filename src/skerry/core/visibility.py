"""What a container may notice of a tool that looks into it from outside: three classes, told before the tool runs. Pure.

A tool is a program of a tools container, in no namespace of the target's that it could be seen in (decision 17). Nothing of ours is
ever reached from inside; what is noticed all the same is said here in words and figures. A program that isn't in the table is taken
to trace: the worst that it could do without joining anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

Visibility = Literal["unseen", "felt", "joined"]
CLASSES: tuple[Visibility, ...] = ("unseen", "felt", "joined")
FELT_LIMIT_S = 10.0  # of a tracer that nobody sits at: whatever it slows down is slow no longer than that


class Class(NamedTuple):
    """`notices`: what a container might notice of it, the whole of it."""

    visibility: Visibility
    notices: str


# Figures: measured with a target that watched itself every 20 ms (300 requests each; read ratios, not digits).
_UNSEEN = "nothing"
_TRACED = (
    "while it is traced: system calls up to 80 times slower (a request 2 to 4 times), short stalls, threads in state `t`, "
    "and tracing itself fails; TracerPid stays 0"
)
_STOPPED = (
    "it stands still while the tool works (some 0.2 s for a small process, more for a large core); TracerPid stays 0"
)
_SAMPLED = "stops of less than a millisecond at each sample; --nonblocking never stops it"
_JOINED = (
    "sockets of the tool in its network namespace, listed in its /proc/net while the tool runs (a closed connection up to a minute "
    "longer); its connections in the app's log"
)
_COUNTED = "nothing but system calls that take up to twice as long"
_WRITTEN = "the files that you change"

_PLAIN = """
    ash awk base64 basename bash busybox cat chmod cmp comm cp curl cut date dd df diff dig dirname du echo egrep env expr
    false fgrep file find free fuser getcap getfattr grep gunzip gzip head hexdump hostname id iostat ipcs jq kdig ldd
    less ln ls lsns lsof md5sum mkdir more mount mpstat nano nc nl nm nslookup objdump od pgrep pidstat ping pmap pr printenv
    printf prlimit ps pstree pwd pwdx python3 readelf readlink realpath rm sed sh sha1sum sha256sum sleep sort
    split sqlite3 ss stat strings tac tail tar tcpdump tee test time timeout top touch tr tree true uname uniq
    unxz uptime vi vmstat w watch wc wget which who xargs xxd xz yes zcat zstd
"""
_TABLE: dict[str, Class] = {
    **{name: Class("unseen", _UNSEEN) for name in _PLAIN.split()},
    **{name: Class("unseen", _COUNTED) for name in ("perf", "bpftrace")},
    "py-spy": Class("felt", _SAMPLED),
    "strace": Class("felt", _TRACED),
    "gdb": Class("felt", _STOPPED),
    "gcore": Class("felt", _STOPPED),
    "memray": Class(
        "felt", "it stands still for a moment while a library is put into it, and that library stays in it"
    ),
}
_NEVER_STOPS = Class("unseen", _UNSEEN)  # py-spy --nonblocking
_UNKNOWN = Class("felt", "this program isn't known here; if it traces: " + _TRACED)
# What runs another program that is named in its arguments: then that one counts too.
_RUNS_OTHERS = frozenset({"ash", "bash", "busybox", "env", "sh", "time", "timeout", "watch", "xargs"})


def classify(argv: Sequence[str], *, joined: Iterable[str] = (), write: bool = False) -> Class:
    """Of a command line. `joined`: namespaces of the target that it is to be in ("net").

    A shell that somebody sits at may start anything later: it is classed by what stands in the command line.
    """
    if any(joined):
        found = classify(argv, write=write)
        return Class("joined", _JOINED if found.notices == _UNSEEN else f"{_JOINED}; {found.notices}")
    if not argv:
        return _UNKNOWN
    never_stops = bool({"--nonblocking", "-n"} & set(argv))
    found = _TABLE.get(_name(argv[0]), _UNKNOWN)
    if _name(argv[0]) == "py-spy" and never_stops:
        found = _NEVER_STOPS
    if _name(argv[0]) in _RUNS_OTHERS:
        words = [word for argument in argv[1:] for word in argument.replace(";", " ").replace("|", " ").split()]
        others = [_TABLE[_name(word)] for word in words if _name(word) in _TABLE]
        if never_stops:
            others = [_NEVER_STOPS if other is _TABLE["py-spy"] else other for other in others]
        found = max([found, *others], key=lambda one: CLASSES.index(one.visibility))
    return _written(found, write)


def _written(found: Class, write: bool) -> Class:
    if not write:
        return found
    return found._replace(notices=_WRITTEN if found.notices == _UNSEEN else f"{found.notices}; {_WRITTEN}")


def _name(program: str) -> str:
    return program.rpartition("/")[2]
