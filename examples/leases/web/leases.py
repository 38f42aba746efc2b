"""Named leases, for locks and elections: a client of the socket that SKERRY_LEASES names. Copy it; it needs the standard library alone.

leases = Leases()
held = leases.acquire("nightly-report", wait_s=30)
if held:
    while work_is_left() and leases.renew(held):   # some times in each `for_s`, about 4 s
        do_a_little(fencing=held.number)
    leases.release(held)
"""

import json
import os
import socket
import time
from dataclasses import dataclass


class LeaseError(Exception):
    """The request was refused, for another reason than that somebody else has the lease."""


@dataclass
class Held:
    name: str
    number: int  # grows with each holder: hand it to whatever you write to, which refuses a lower one
    until: float  # of time.monotonic(): act no longer than this

    @property
    def is_good(self) -> bool:
        return time.monotonic() < self.until


class Leases:
    """One connection, for one thread."""

    def __init__(self, path: str = "") -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path or os.environ["SKERRY_LEASES"])
        self._lines = self._socket.makefile("rb")

    def acquire(self, name: str, wait_s: float = 0.0) -> Held | None:
        """None: somebody else has it, still after that time."""
        asked, answer = self._ask(do="acquire", lease=name, wait_s=wait_s)
        held = Held(name, answer["number"], asked + answer["for_s"]) if answer["ok"] else None
        if held is not None and time.monotonic() > asked + 0.5:
            self.renew(held)  # it waited: its time began while it did
        return held

    def renew(self, held: Held) -> bool:
        """False: it is lost, stop at once."""
        asked, answer = self._ask(do="renew", lease=held.name, number=held.number)
        held.until = asked + answer["for_s"] if answer["ok"] else 0.0
        return bool(answer["ok"])

    def release(self, held: Held) -> None:
        held.until = 0.0
        self._ask(do="release", lease=held.name, number=held.number)

    def watch(self, name: str, number: int = 0, held: bool = False, wait_s: float = 30.0) -> dict:
        """How it stands as soon as that is otherwise than told: {"number", "held", "host", "yours"}."""
        return self._ask(do="watch", lease=name, number=number, held=held, wait_s=wait_s)[1]

    def _ask(self, **request: object) -> tuple[float, dict]:
        """When it was asked (from then on the time of a lease counts), and the answer."""
        sent = time.monotonic()
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        line = self._lines.readline()
        if not line:
            raise ConnectionError("the host's agent is not there")
        answer = json.loads(line)
        if not answer["ok"] and answer["error"] not in ("held", "lost"):
            raise LeaseError(f"{answer['error']}: {answer['why']}")
        return sent, answer
