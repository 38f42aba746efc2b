"""Signals for a container's first process: their names, and whether it would notice one at all. Pure."""

from __future__ import annotations

import signal

from skerry.runtime.contract import RuntimeRefused


def signal_number(name: str) -> int:
    """ "SIGTERM", "TERM", "15" or "SIGRTMIN+3" as a number. Raises RuntimeRefused."""
    word = name.upper().removeprefix("SIG")
    base, plus, offset = word.partition("+")
    number = 0
    if not name.isascii() or len(name) > 16:
        pass
    elif word.isdigit():
        number = int(word)
    elif base == "RTMIN" and (not plus or offset.isdigit()):
        number = signal.SIGRTMIN + int(offset or 0)
    elif f"SIG{word}" in signal.Signals.__members__:
        number = int(signal.Signals[f"SIG{word}"])
    if not 1 <= number <= signal.SIGRTMAX:
        raise RuntimeRefused(f"{name!r} was not sent", "there is no such signal", "give one such as SIGTERM")
    return number


def would_notice(number: int, status: str) -> bool:
    """Whether a first process handles the signal, or blocks it so as to read it later.

    The kernel drops all others, except SIGKILL and SIGSTOP, for the first process of a pid namespace: waiting for an
    effect would be waiting out the whole grace time. `status`: the text of /proc/PID/status; unknown counts as yes.
    Source: pid_namespaces(7), "The namespace init process"; proc_pid_status(5).
    """
    masks = {}
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name in ("SigBlk", "SigCgt"):
            try:
                masks[name] = int(value, 16)
            except ValueError:
                return True
    if len(masks) < 2 or number in (signal.SIGKILL, signal.SIGSTOP):
        return True
    return bool((masks["SigBlk"] | masks["SigCgt"]) >> (number - 1) & 1)
