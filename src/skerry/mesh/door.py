"""The listening socket, and what a stranger gets before the handshake is done: few at once, few from one address, none too often."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable

from skerry.trust.rates import Bucket

UNFINISHED = 64
UNFINISHED_AN_ADDRESS = 8
AN_ADDRESS_PER_S, AN_ADDRESS_BURST = 50.0, 200.0  # connections: each handshake costs some milliseconds of our time
ADDRESSES = 1024  # whose rate is remembered; of the others nobody comes often

UNFINISHED_ONES = "handshakes that were never finished"
TURNED_AWAY = "connections beyond what one address may have"


class Door(socket.socket):
    """A listening socket that closes at once whatever knocks too often, or while too many others have not finished their handshake.

    asyncio begins the handshake as soon as it has accepted, and tells nobody when one fails. So the door keeps the
    accepted sockets itself: a closed one has no number any more, a finished one is told by `finished`.
    `complain(address, what)` hears of both; `now_s` reads a monotonic clock.
    """

    def __init__(
        self, host: str, port: int, *, now_s: Callable[[], float], complain: Callable[[str, str], None]
    ) -> None:
        self.known: frozenset[str] = frozenset()  # addresses of enrolled hosts: strangers can't use up their places
        super().__init__(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        self._now_s = now_s
        self._complain = complain
        self._unfinished: dict[int, tuple[socket.socket, str]] = {}
        self._rates: dict[str, Bucket] = {}
        try:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.bind((host, port))
        except OSError:
            self.close()
            raise
        self.setblocking(False)

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        connection, address = super().accept()
        self.look()
        counts = Counter(host for _, host in self._unfinished.values())
        strangers = sum(count for host, count in counts.items() if host not in self.known)
        full = strangers >= UNFINISHED and address[0] not in self.known
        if full or counts[address[0]] >= UNFINISHED_AN_ADDRESS or not self._bucket(address[0]).take(self._now_s()):
            connection.close()
            self._complain(address[0], TURNED_AWAY)
            raise ConnectionAbortedError("too many connections")  # asyncio goes on listening
        self._unfinished[connection.fileno()] = (connection, address[0])
        return connection, address

    def finished(self, number: int) -> None:
        """The handshake over the connection with this file number is done."""
        self._unfinished.pop(number, None)

    def look(self) -> None:
        """Forget and tell of those that ended without a handshake."""
        for number, (connection, host) in list(self._unfinished.items()):
            if connection.fileno() != number:
                del self._unfinished[number]
                self._complain(host, UNFINISHED_ONES)

    def _bucket(self, host: str) -> Bucket:
        bucket = self._rates.pop(host, None) or Bucket(AN_ADDRESS_PER_S, AN_ADDRESS_BURST, self._now_s())
        self._rates[host] = bucket  # the last to be forgotten
        if len(self._rates) > ADDRESSES:
            self._rates.pop(next(iter(self._rates)))
        return bucket
