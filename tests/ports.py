"""Ports of this machine for tests, which are asked for before they are taken: so each process has a range of its own, below
those that the kernel gives to outgoing connections.
"""

from __future__ import annotations

import itertools
import os
import socket

FIRST, EACH, PROCESSES = 10_000, 100, 220
_turn = itertools.count()


def free_port() -> int:
    base = FIRST + os.getpid() % PROCESSES * EACH
    for _ in range(EACH):
        port = base + next(_turn) % EACH
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no port is free from {base} on")
