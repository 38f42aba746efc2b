"""The listening socket, and what a stranger gets before the handshake is done: few at once, few from one address."""

from __future__ import annotations

import socket
from collections import Counter

UNFINISHED = 64
UNFINISHED_AN_ADDRESS = 8


class Door(socket.socket):
    """A listening socket that closes at once whatever knocks while too many others have not finished their handshake.

    asyncio begins the handshake as soon as it has accepted, and tells nobody when one fails. So the door keeps the
    accepted sockets itself: a closed one has no number any more, a finished one is told by `finished`.
    """

    def __init__(self, host: str, port: int) -> None:
        self.known: frozenset[str] = frozenset()  # addresses of enrolled hosts: strangers can't use up their places
        super().__init__(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        self._unfinished: dict[int, tuple[socket.socket, str]] = {}
        try:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.bind((host, port))
        except OSError:
            self.close()
            raise
        self.setblocking(False)

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        connection, address = super().accept()
        self._unfinished = {number: each for number, each in self._unfinished.items() if each[0].fileno() == number}
        counts = Counter(host for _, host in self._unfinished.values())
        strangers = sum(count for host, count in counts.items() if host not in self.known)
        full = strangers >= UNFINISHED and address[0] not in self.known
        if full or counts[address[0]] >= UNFINISHED_AN_ADDRESS:
            connection.close()
            raise ConnectionAbortedError("too many unfinished handshakes")  # asyncio goes on listening
        self._unfinished[connection.fileno()] = (connection, address[0])
        return connection, address

    def finished(self, number: int) -> None:
        """The handshake over the connection with this file number is done."""
        self._unfinished.pop(number, None)
