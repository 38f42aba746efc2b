"""A container's sockets with their owners, from /proc/PID/net, without joining its network. Pure parsers, then one reader.

Sources: Linux, Documentation/networking/proc_net_tcp.rst; proc(5) (net/tcp, net/udp, net/unix); include/net/tcp_states.h.
"""

from __future__ import annotations

import contextlib
import ipaddress
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from skerry.observe.look.job import Job
from skerry.observe.look.procfs import parse_stat, parse_status, processes_of

TABLE_BYTES = 16 << 20  # of one table: 100,000 connections
DESCRIPTORS_MAX = 200_000
PATH_MAX = 256
TCP_STATES = (
    "", "established", "syn-sent", "syn-received", "fin-wait-1", "fin-wait-2", "time-wait", "closed", "close-wait",
    "last-ack", "listening", "closing", "syn-received",
)  # fmt: skip
UDP_STATES = {1: "connected", 7: "bound"}
UNIX_STATES = {1: "unconnected", 2: "connecting", 3: "connected", 4: "closing"}
UNIX_KINDS = {1: "stream", 2: "datagram", 5: "packets"}
_ACCEPTS = 1 << 16


class Socket(NamedTuple):
    """`waiting_in`, `waiting_out`: bytes that nobody has read, or that the other end hasn't confirmed; of a listening one the
    connections that nobody has accepted, and how many may wait.
    """

    kind: str
    local: str
    remote: str
    state: str
    waiting_in: int
    waiting_out: int
    uid: int
    inode: int


def parse_inet(kind: str, text: str) -> Iterator[Socket]:
    """Of net/tcp, tcp6, udp, udp6. Lines that are none are left out."""
    for line in text.splitlines()[1:]:
        words = line.split()
        try:
            state = int(words[3], 16)
            out, into = (int(part, 16) for part in words[4].split(":"))
            yield Socket(
                kind,
                _address(words[1]),
                _address(words[2]),
                _state(kind, state),
                into,
                out,
                int(words[7]),
                int(words[9]),
            )
        except (IndexError, ValueError):
            continue


def parse_unix(text: str) -> Iterator[Socket]:
    """Of net/unix. A path may hold spaces; an abstract one begins with @."""
    for line in text.splitlines()[1:]:
        words = line.split(None, 7)
        try:
            flags, kind, state = int(words[3], 16), int(words[4], 16), int(words[5], 16)
            told = "listening" if flags & _ACCEPTS else UNIX_STATES.get(state, str(state))
            path = words[7][:PATH_MAX] if len(words) > 7 else ""
            yield Socket(f"unix {UNIX_KINDS.get(kind, str(kind))}", path, "", told, 0, 0, -1, int(words[6]))
        except (IndexError, ValueError):
            continue


def sockets(job: Job) -> Iterator[dict[str, Any]]:
    """A row for each socket, at most `job.limit`, then a summary. Of one that several processes have, the first is told."""
    owners, complete = _owners(job)
    shown, more = 0, not complete
    for socket in _all(job):
        if shown == job.limit:
            more = True
            break
        pid, name = owners.get(socket.inode, (0, ""))
        if not pid and socket.kind.startswith("unix"):
            continue  # of another container with the same network, or in flight
        shown += 1
        yield socket._asdict() | {"pid": pid, "process": name}
    yield {"shown": shown, "more": more}


def _all(job: Job) -> Iterator[Socket]:
    for process in processes_of(job.pids):
        for kind in ("tcp", "tcp6", "udp", "udp6"):
            with contextlib.suppress(OSError):  # a kernel without IPv6
                yield from parse_inet(kind, process.read(f"net/{kind}", TABLE_BYTES))
        with contextlib.suppress(OSError):
            yield from parse_unix(process.read("net/unix", TABLE_BYTES))
        return


def _owners(job: Job) -> tuple[dict[int, tuple[int, str]], bool]:
    """Inode -> pid inside and name; and whether all descriptors were seen."""
    found: dict[int, tuple[int, str]] = {}
    seen = 0
    for process in processes_of(job.pids):
        with contextlib.suppress(OSError):
            inner = int((parse_status(process.read("status")).get("NSpid", "").split() or ["0"])[-1])
            name = parse_stat(process.read("stat")).name
            for _, target in process.links("fd"):
                seen += 1
                if seen > DESCRIPTORS_MAX:
                    return found, False
                if target.startswith("socket:["):
                    found.setdefault(int(target[8:-1]), (inner, name))
    return found, True


def _state(kind: str, number: int) -> str:
    if kind.startswith("udp"):
        return UDP_STATES.get(number, str(number))
    return TCP_STATES[number] if 0 < number < len(TCP_STATES) else str(number)


def _address(word: str) -> str:
    """Of "0100007F:1F90": the kernel writes each 32 bits in the order of its processor."""
    host, _, port = word.partition(":")
    raw = bytes.fromhex(host)
    if sys.byteorder == "little":
        raw = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    address = ipaddress.ip_address(raw)
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    told = "*" if address.is_unspecified else f"[{address}]" if address.version == 6 else str(address)
    number = int(port, 16)
    return f"{told}:{number or '*'}"
