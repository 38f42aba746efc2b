"""The guard's process: listens to the agent, keeps its table in /run, ends what is over, and tells systemd that it lives.

`python3 -I -m skerry.guarding.guard --run DIR`, by systemd as skerry-leases.service. Nothing in it waits for anybody: each
packet is answered, each look at the clock done, in some milliseconds. systemd kills it if it stands still for longer than
its watchdog allows, and starts it anew; it goes on from its state file, and ends at once what ran out meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import logging
import os
import selectors
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from skerry.errors import SkerryError
from skerry.guarding import cutting
from skerry.guarding.table import Table
from skerry.guarding.words import PACKET_MAX_BYTES, Answer, read_ask, socket_path, state_path
from skerry.net.commands import CommandFailed
from skerry.net.nft import Nft
from skerry.outside import UNREADABLE
from skerry.runtime.cgroups import Cgroups

TICK_S = 0.2  # at most between two looks; the watchdog is told at each
AGAIN_S = 0.05  # the same while something is to be ended and still lives
CALLERS_MAX = 8
STALLED_S = 0.1  # between reading the clock and having told the kernel: longer, and it is told anew
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4

log = logging.getLogger("skerry.guard")


def now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Guard:
    """`run`: the agent's run directory."""

    def __init__(
        self, run: Path, nft: Nft, cgroups: Cgroups, *, now_s: Callable[[], float] = now_s, table: str = cutting.TABLE
    ) -> None:
        self._state, self._path = state_path(run), socket_path(run)
        self._nft, self._cgroups, self._now_s, self._name = nft, cgroups, now_s, table
        self._table = Table()
        self._looked_at = -1  # the generation of this host's rules when ours were last found there
        self._lives: set[str] = set()  # ended and not yet seen to be gone
        self._rules_due = False
        self._selector = selectors.DefaultSelector()
        self._listener: socket.socket | None = None

    def begin(self) -> None:
        """Take up the state of an earlier guard: what it had to end is ended before anybody is listened to."""
        with contextlib.suppress(FileNotFoundError):
            try:
                self._table = Table.decode(self._state.read_bytes())
            except UNREADABLE as error:
                log.error(
                    "%s can't be read (%s); the kernel's rules stand until the agent says anew", self._state, error
                )
        if self._table.held:
            self._lives = {kept.id for kept in self._table.ended()}
            self._rules_due = True
            self.look()
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        before = os.umask(0o177)
        try:
            self._listener.bind(str(self._path))
        finally:
            os.umask(before)
        self._listener.listen(CALLERS_MAX)
        self._selector.register(self._listener, selectors.EVENT_READ)

    def turn(self) -> None:
        """Wait for a packet, a time that is over, or a tick, and do what is to be done."""
        next_s = self._table.next_s()
        most_s = AGAIN_S if self._lives or self._rules_due else TICK_S
        wait_s = most_s if next_s is None else max(0.0, min(most_s, next_s - self._now_s()))
        for key, _ in self._selector.select(wait_s):
            if key.fileobj is self._listener:
                self._let_in()
            elif isinstance(key.fileobj, socket.socket):
                self._hear(key.fileobj)
        self.look()

    def look(self) -> None:
        """End what is over; put the rules back if somebody took them away."""
        if due := self._table.end_due(self._now_s()):
            for kept in due:
                log.warning("%s (lease %d) has outlived its lease: it is killed and cut off", kept.id, kept.number)
            self._lives |= {kept.id for kept in due}
            self._rules_due = True  # the addresses stay refused, also where the kernel's time runs slower
        for kept in self._table.ended():
            if kept.id in self._lives or cutting.runs(kept, self._cgroups):  # one that was about to start comes later
                self._lives.add(kept.id)
                if cutting.end(kept, self._cgroups):
                    self._lives.discard(kept.id)
        if due:
            self._save()
        try:
            if self._rules_due or (self._table.held and self._rules_gone()):
                self._tell_kernel()
        except CommandFailed as failed:
            self._rules_due = True
            log.error("the kernel did not take the rules: %s", failed)

    def hear(self, packet: bytes) -> Answer:
        """What a packet asks for is on disk and in the kernel before it is answered."""
        refused = ""
        try:
            ask = read_ask(packet, self._now_s())
            if ask.wanted is not None:
                self._table.want(ask.wanted, lambda kept: cutting.runs(kept, self._cgroups))
                self._lives &= {each.kept.id for each in self._table.held}
                self._save()
                self._tell_kernel()
                self.look()
        except SkerryError as error:
            refused = str(error)
            self._rules_due = True
        except OSError as error:
            refused = f"its state can't be written: {error}"
        return Answer(program=sys.executable, held=self._table.held, lately=self._table.lately, refused=refused)

    def close(self) -> None:
        self._selector.close()
        if self._listener is not None:
            self._listener.close()
        self._nft.close()

    def _tell_kernel(self) -> None:
        """Raises CommandFailed. Done once more if we stood still meanwhile: the kernel counts from when it heard of it."""
        while True:
            began_s = self._now_s()
            guarded = {each.kept.address for each in self._table.held}
            text = cutting.render(guarded, self._table.alive(began_s), self._name)
            self._nft.run_now(text if guarded else cutting.removed(self._name))
            if self._now_s() - began_s <= STALLED_S:
                break
        self._rules_due = False
        self._looked_at = self._nft.generation()

    def _rules_gone(self) -> bool:
        """Others' changes are looked at once each."""
        if (generation := self._nft.generation()) == self._looked_at:
            return False
        self._looked_at = generation
        return not self._nft.has(f"chain ip {self._name} own")

    def _save(self) -> None:
        """On a tmpfs: a reboot takes it away, and with it all that was guarded."""
        self._state.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = self._state.with_suffix(".new")
        new.write_bytes(self._table.encode())
        new.replace(self._state)

    def _let_in(self) -> None:
        assert self._listener is not None
        caller, _ = self._listener.accept()
        callers = [key for key in self._selector.get_map().values() if key.fileobj is not self._listener]
        if len(callers) >= CALLERS_MAX:  # an agent has one, the next one another: more is a mistake
            caller.close()
            return
        caller.setblocking(False)
        self._selector.register(caller, selectors.EVENT_READ)

    def _hear(self, caller: socket.socket) -> None:
        try:
            packet = caller.recv(PACKET_MAX_BYTES)
            if packet:
                caller.send(msgspec.json.encode(self.hear(packet)))
                return
        except OSError as error:
            log.warning("a caller was lost: %s", error)
        self._selector.unregister(caller)
        caller.close()


def stand_firm() -> None:
    """Have this process run before others and stay in memory, as far as the host allows: it works without, only later."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("-900")
    with contextlib.suppress(OSError):
        ctypes.CDLL(None).mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT)


def notify(state: str) -> None:
    """Tell systemd (sd_notify(3)); nothing where it isn't listening."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
            sock.connect("\0" + path[1:] if path.startswith("@") else path)
            sock.send(state.encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("/run/skerry"), dest="run_dir")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    own = Path(sys.executable).with_name("nft")
    guard = Guard(options.run_dir, Nft(str(own) if own.exists() else "nft"), Cgroups())
    guard.begin()
    stand_firm()
    notify("READY=1")
    while True:
        guard.turn()
        notify("WATCHDOG=1")


if __name__ == "__main__":
    main()
