"""What a looking child gives up before it looks: capabilities that its question doesn't need, and the room to do harm.

Sources: capabilities(7), capset(2), prctl(2) (PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal

from skerry.observe.look.job import What

CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, NET_RAW, SYS_PTRACE, SYS_ADMIN = 0, 1, 2, 3, 13, 19, 21
READING = (DAC_READ_SEARCH, FOWNER)  # FOWNER: for O_NOATIME
NEEDED: dict[What, tuple[int, ...]] = {
    "put": (DAC_OVERRIDE, CHOWN, FOWNER),
    "keep": (*READING, CHOWN),
    "procs": (DAC_READ_SEARCH, SYS_PTRACE),
    "files": (*READING, SYS_PTRACE),
    "sockets": (DAC_READ_SEARCH, SYS_PTRACE),
    "capture": (NET_RAW,),
    "samples": (
        SYS_PTRACE,
        SYS_ADMIN,
    ),  # which Debian's kernel asks for (kernel.perf_event_paranoid 3), until the events are open
}
MEMORY_BYTES = 256 << 20
_VERSION_3 = 0x20080522
_NO_NEW_PRIVS, _PDEATHSIG = 38, 1
_libc = ctypes.CDLL(None, use_errno=True)


def confine(what: What) -> None:
    _libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # it ends with the agent
    _libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(5)
    keep_only(NEEDED.get(what, READING))


def keep_only(capabilities: tuple[int, ...]) -> None:
    """For good: what is given up does not come back."""
    kept = sum(1 << number for number in capabilities)
    head = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0)  # effective, permitted, inheritable; then those above 31
    if _libc.capset(head, sets) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "capset")
