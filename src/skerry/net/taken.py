"""Which ports of this host other programs listen on. Reads /proc and changes nothing; the parser is pure.

Source: Linux, Documentation/networking/proc_net_tcp.rst. Ports that we publish don't appear: nobody listens on those.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from skerry.core.intent import Port

_TCP_LISTEN, _UDP_UNCONNECTED = "0A", "07"
_MOST_LINES = 100_000


def parse_listening(text: str) -> list[tuple[int, int]]:
    """(port, inode) of the listening sockets in /proc/net/{tcp,tcp6,udp,udp6}. Lines of another form are passed over.

    Sockets bound to 127.0.0.1 count too: the host's own programs expect them there.
    """
    found = []
    for line in text.splitlines()[1:_MOST_LINES]:
        words = line.split()
        if len(words) < 10 or words[3] not in (_TCP_LISTEN, _UDP_UNCONNECTED):
            continue
        try:
            found.append((int(words[1].rpartition(":")[2], 16), int(words[9])))
        except ValueError:
            continue
    return found


def taken_ports(ports: Sequence[Port], proc: Path = Path("/proc")) -> list[tuple[Port, str]]:
    """Those whose `published` some process listens on, with its name ("?" if it can't be told)."""
    inodes: dict[tuple[str, int], int] = {}
    for protocol in {port.protocol for port in ports}:
        for file in (protocol, protocol + "6"):
            try:
                text = (proc / "net" / file).read_text()
            except OSError:  # a kernel without IPv6
                continue
            inodes |= {(protocol, port): inode for port, inode in parse_listening(text)}
    taken = [(port, inodes[key]) for port in ports if (key := (port.protocol, port.published)) in inodes]
    names = _owners({inode for _, inode in taken}, proc) if taken else {}
    return [(port, names.get(inode, "?")) for port, inode in taken]


def _owners(inodes: Iterable[int], proc: Path) -> dict[int, str]:
    """Names of the processes that hold these sockets, by a walk over all open files."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, str] = {}
    for process in proc.glob("[0-9]*"):
        try:
            for file in (process / "fd").iterdir():
                inode = wanted.get(str(file.readlink()))
                if inode is not None and inode not in found:
                    found[inode] = (process / "comm").read_text().strip()
        except OSError:  # it ended meanwhile, or isn't ours to see
            continue
        if len(found) == len(wanted):
            break
    return found
