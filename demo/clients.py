"""The client outside: it keeps reading and writing through the hosts' published ports while machines die and versions change.

Time-out 1 s, one retry on another host; a request has failed when its retry failed too. Each client waits for its answer
before it asks again, as a browser would.
"""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

TIMEOUT_S = 1.0
PAUSE_S = 0.02
IN_A_ROW = 10  # answers of a version at a host, before it is believed that no other one answers there


@dataclass
class Count:
    """What happened while it was looked at. `versions`: answers by the version that gave them."""

    requests: int = 0
    retried: int = 0
    failed: int = 0
    written: int = 0
    whys: list[str] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=dict)


class Beside:
    """Threads that each run until `with` ends. `_run(what)` of a subclass looks at `_stop` again and again."""

    def __init__(self, run_with: Iterable[Any]) -> None:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(what,), daemon=True) for what in run_with]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10 * TIMEOUT_S)

    def _run(self, what: Any) -> None:
        raise NotImplementedError


class Clients(Beside):
    """`how_many` clients against host:port addresses, from `with` to its end. `write`: every fourth request writes an entry."""

    def __init__(self, addresses: list[str], *, how_many: int = 4, write: bool = True, path: str = "/entries") -> None:
        self._addresses = addresses
        self._write = write
        self._path = path
        self._lock = threading.Lock()
        self._count = Count()
        super().__init__(range(how_many))

    def take(self) -> Count:
        """What has been counted since the last take."""
        with self._lock:
            count, self._count = self._count, Count()
        return count

    def _run(self, number: int) -> None:
        turns = itertools.islice(itertools.cycle(self._addresses), number, None)
        for n in itertools.count():
            if self._stop.wait(PAUSE_S):
                return
            first, second = next(turns), next(turns)
            entry = f"client {number}, entry {n}" if self._write and n % 4 == 0 else None
            version, why = ask(first, entry, self._path)
            retried = bool(why)
            if why:
                version, why = ask(second, entry, self._path)
            with self._lock:
                count = self._count
                count.requests += 1
                count.retried += retried
                count.failed += bool(why)
                count.written += entry is not None and not why
                if why:
                    count.whys.append(f"{time.strftime('%H:%M:%S')} {first}, then {second}: {why}")
                else:
                    count.versions[version] = count.versions.get(version, 0) + 1


class Watch(Beside):
    """Which version answers at each of these addresses, asked again and again, from `with` to its end."""

    def __init__(self, addresses: list[str]) -> None:
        self._answers: dict[str, list[tuple[float, str]]] = {address: [] for address in addresses}
        super().__init__(addresses)

    def everywhere(self, version: str) -> float | None:
        """Since when, on the monotonic clock, only this version answers at all of them, as far as it was seen; None: not yet."""
        since = []
        for answers in self._answers.values():
            latest = list(itertools.takewhile(lambda answer: answer[1] == version, reversed(answers)))
            if len(latest) < IN_A_ROW:
                return None
            since.append(latest[-1][0])
        return max(since)

    def _run(self, address: str) -> None:
        while not self._stop.wait(PAUSE_S):
            version, why = ask(address)
            if not why:
                self._answers[address].append((time.monotonic(), version))


def ask(address: str, entry: str | None = None, path: str = "/entries") -> tuple[str, str]:
    """One request. (version that answered, "") or ("", why it failed)."""
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
    try:
        if entry is None:
            connection.request("GET", path)
        else:
            body = json.dumps({"text": entry})
            connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        if answer.status >= 400:
            return "", f"HTTP {answer.status}"
        return answer.getheader("X-Version", ""), ""
    except (OSError, http.client.HTTPException) as error:
        return "", f"{type(error).__name__} {error}"
    finally:
        connection.close()


def entries(address: str) -> list[str]:
    """All entries of the guestbook. Raises OSError when it can't say."""
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/entries")
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise OSError(f"HTTP {answer.status}: {body[:200].decode(errors='replace')}")
        return [e["text"] if isinstance(e, dict) else e for e in json.loads(body)["entries"]]
    finally:
        connection.close()
