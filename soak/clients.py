"""The client of the soak: reads and writes the whole time, and remembers every entry that it was told is written.

Like the demo's: time-out 1 s, one retry on another host; failed means that the retry failed too. What failed is told apart:
the store was away (the page answered so) or nobody answered.
"""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass

from demo.clients import Beside, ask

PAUSE_S = 0.15
STORE_AWAY = "HTTP 503"


@dataclass
class Count:
    requests: int = 0
    retried: int = 0
    both_dead: int = 0  # the two that were asked had no power or no cable: no cloud could have answered
    unanswered: int = 0  # the retry failed too
    store_away: int = 0  # answered, twice, that the store is missing

    def add(self, other: Count) -> None:
        self.requests += other.requests
        self.retried += other.retried
        self.both_dead += other.both_dead
        self.unanswered += other.unanswered
        self.store_away += other.store_away


class Clients(Beside):
    """`addresses`: host:port, the two tried by one request are neighbours in it. Every third request writes."""

    def __init__(self, addresses: list[str], how_many: int = 3) -> None:
        self._addresses = addresses
        self._lock = threading.Lock()
        self._count = Count()
        self.written: set[str] = set()
        self.whys: list[str] = []  # the last ones
        self.dead: frozenset[str] = frozenset()  # addresses of hosts that are off or cut; the caller keeps it true
        super().__init__(range(how_many))

    def take(self) -> Count:
        """What has been counted since the last take."""
        with self._lock:
            count, self._count = self._count, Count()
        return count

    def told_written(self) -> set[str]:
        with self._lock:
            return set(self.written)

    def _run(self, number: int) -> None:
        turns = itertools.islice(itertools.cycle(self._addresses), number, None)
        for n in itertools.count():
            if self._stop.wait(PAUSE_S):
                return
            entry = f"client {number}, entry {n}" if n % 3 == 0 else None
            first, second = next(turns), next(turns)
            before = self.dead
            whys = [ask(first, entry)[1]]
            if whys[0]:
                whys.append(ask(second, entry)[1])
            with self._lock:
                self._count.requests += 1
                self._count.retried += bool(whys[0])
                if not whys[-1]:
                    if entry is not None:
                        self.written.add(entry)
                elif whys == [STORE_AWAY, STORE_AWAY]:
                    self._count.store_away += 1
                elif {first, second} <= before | self.dead:
                    self._count.both_dead += 1
                else:
                    self._count.unanswered += 1
                    self.whys = [*self.whys[-49:], f"{first}: {whys[0]}; {second}: {whys[1]}"]
