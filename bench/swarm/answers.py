"""Who answers, asked from outside as any client would: the same probe for both, each request on a connection of its own."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from demo.clients import Beside

TIMEOUT_S = 1.0
PAUSE_S = 0.02
QUIET_S = 0.5  # so long no older version answers, before it is believed that it is gone
LOOK_S = 0.01
NEVER_S = 180.0


class Answer(NamedTuple):
    """What one replica said of itself. Seconds of the monotonic clock."""

    begun_s: float
    ended_s: float
    version: str
    replica: str


class Watch(Beside):
    """Asks all doors of these hosts again and again, a thread for each host, from `with` to its end.

    `doors`: of a host, where its published ports are just now, as host:port.
    """

    def __init__(self, doors: Callable[[str], Sequence[str]], hosts: Sequence[str]) -> None:
        self._doors = doors
        self._lock = threading.Lock()
        self._answers: list[Answer] = []
        super().__init__(hosts)

    def _run(self, host: str) -> None:
        while not self._stop.wait(PAUSE_S):
            try:
                doors = self._doors(host)
            except (OSError, http.client.HTTPException):
                continue
            for door in doors:
                if answer := ask(door):
                    with self._lock:
                        self._answers.append(answer)

    def all_answer(self, replicas: int, version: str, since_s: float) -> float:
        """Waits until so many replicas of this version have answered requests made after `since_s`, and no other version any more;
        gives when that was so. Raises TimeoutError."""
        while (now_s := time.monotonic()) < since_s + NEVER_S:
            with self._lock:
                answers = [answer for answer in self._answers if answer.begun_s >= since_s]
            first: dict[str, float] = {}
            for answer in answers:
                if answer.version == version:
                    first.setdefault(answer.replica, answer.ended_s)
            last_old_s = max((answer.ended_s for answer in answers if answer.version != version), default=0.0)
            if len(first) >= replicas and now_s > last_old_s + QUIET_S:
                return max(last_old_s, *first.values())
            time.sleep(LOOK_S)
        raise TimeoutError(f"{len(first)} of {replicas} replicas of version {version} after {NEVER_S:.0f} s")


def ask(door: str) -> Answer | None:
    """One request. None: no answer, or not one of ours."""
    begun_s = time.monotonic()
    connection = http.client.HTTPConnection(door, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        version, _, replica = answer.read(100).decode().strip().partition(" ")
    except (OSError, http.client.HTTPException, UnicodeDecodeError):
        return None
    finally:
        connection.close()
    return Answer(begun_s, time.monotonic(), version, replica) if answer.status == 200 else None
