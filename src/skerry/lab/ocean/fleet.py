"""All droplets of the account and what is done with them, under the simulator's clock. The one place that calls machines.

Each droplet has one pair of hands of its own: what is asked of its machine is done in order, while others' goes on.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import msgspec

from skerry.lab.ocean.droplets import Action, Droplet, Pace
from skerry.lab.ocean.orders import unprocessable

log = logging.getLogger(__name__)

FOR_EVER = ("rebuild", "restore", "password_reset")  # these need the scope droplet:admin
DONE = (
    "reboot",
    "power_cycle",
    "shutdown",
    "power_off",
    "power_on",
    "resize",
    "rename",
    "enable_ipv6",
    "snapshot",
    "rebuild",
)


class Machines(Protocol):
    """Where droplets really run. Each call blocks until it is done; a droplet's calls never overlap."""

    def boot(self, droplet: Droplet) -> str:
        """The address that it got."""
        ...

    def power(self, droplet: Droplet, *, on: bool) -> None: ...

    def remove(self, droplet: Droplet) -> None: ...

    def who(self, address: str) -> int | None:
        """The droplet that has this address now."""
        ...


class Ask(msgspec.Struct, kw_only=True):
    """The body of an action."""

    type: str
    size: str = ""
    name: str = ""
    image: str | int = ""
    disk: bool = False


class Fleet:
    """Not safe by itself: the simulator holds `lock` around each call."""

    def __init__(self, machines: Machines | None, clock: Callable[[], float], pace: Pace) -> None:
        self.machines = machines
        self.clock = clock
        self.pace = pace
        self.lock = threading.RLock()
        self.droplets: dict[int, Droplet] = {}
        self.actions: dict[int, Action] = {}
        self._open: list[tuple[Action, Ask]] = []
        self._hands: dict[int, ThreadPoolExecutor] = {}
        self._ends: dict[int, threading.Event] = {}
        self._number = 3164440

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def settle(self) -> None:
        """Let what has come to its end by now take effect."""
        now = self.clock()
        for action, ask in [each for each in self._open if each[0].ends_s <= now]:
            self._open.remove((action, ask))
            droplet = self.droplets[action.droplet]
            if action.errored:
                continue
            if ask.type in ("shutdown", "power_off"):
                droplet.power = "off"
            elif ask.type == "power_on":
                droplet.power = "active"
            elif ask.type == "resize":
                droplet.resized(ask.size, action.ends_s)
            elif ask.type == "rename":
                droplet.name = ask.name

    def busy(self, droplet: Droplet) -> bool:
        return any(action.droplet == droplet.id for action, _ in self._open)

    def add(self, droplet: Droplet, *, stuck: bool = False) -> Action:
        now = self.clock()
        self.droplets[droplet.id] = droplet
        droplet.active_s = math.inf
        if not (stuck or droplet.vanishes):
            if self.machines:
                self._ends[droplet.id] = threading.Event()
                self._by_hand(droplet, lambda: self._boot(droplet))
            else:
                droplet.address = f"198.18.{droplet.id % 65536 // 256}.{droplet.id % 256}"
                droplet.active_s = now + self.pace.boot_s
        return self._action(droplet, "create", droplet.active_s)

    def destroy(self, droplet: Droplet) -> None:
        now = self.clock()
        if droplet.destroyed_s < math.inf:
            return
        droplet.destroyed_s, droplet.gone_s = now, now + self.pace.gone_s
        if self.machines and droplet.id in self._hands:
            self._ends[droplet.id].set()
            self._by_hand(droplet, lambda: self._remove(droplet))

    def act(self, droplet: Droplet, ask: Ask) -> Action:
        """Raises Refused."""
        now = self.clock()
        if ask.type not in DONE:
            raise unprocessable(f"{ask.type} is not an action that the simulator does")
        if now < droplet.active_s or self.busy(droplet):
            raise unprocessable("Droplet already has a pending event.")
        if ask.type == "power_on" and droplet.power == "active":
            raise unprocessable("Droplet is already powered on.")
        if ask.type in ("shutdown", "power_off", "reboot", "power_cycle") and droplet.power == "off":
            raise unprocessable("Droplet is currently off.")
        if ask.type == "resize" and droplet.power != "off":
            raise unprocessable("Droplet must be powered off before it can be resized.")
        action = self._action(droplet, ask.type, math.inf if self.machines else now + self.pace.action_s)
        self._open.append((action, ask))
        if self.machines:
            self._by_hand(droplet, lambda: self._carry_out(droplet, action))
        return action

    def close(self) -> None:
        for event in self._ends.values():
            event.set()
        for hands in self._hands.values():
            hands.shutdown(wait=True, cancel_futures=True)

    def _action(self, droplet: Droplet, type: str, ends_s: float) -> Action:
        action = Action(
            id=self.next_number(),
            droplet=droplet.id,
            region=droplet.region,
            type=type,
            started_s=self.clock(),
            ends_s=ends_s,
        )
        self.actions[action.id] = action
        return action

    def _by_hand(self, droplet: Droplet, job: Callable[[], None]) -> None:
        if droplet.id not in self._hands:
            self._hands[droplet.id] = ThreadPoolExecutor(1, thread_name_prefix=f"droplet-{droplet.id}")
        self._hands[droplet.id].submit(job)

    def _boot(self, droplet: Droplet) -> None:
        assert self.machines
        if self._ends[droplet.id].wait(self.pace.boot_s):
            return
        try:
            address = self.machines.boot(droplet)
        except Exception:  # as a placement that fails there: 202 was no promise
            log.exception("droplet %s did not boot", droplet.id)
            with self.lock:
                droplet.vanishes = True
            return
        with self.lock:
            droplet.address, droplet.active_s = address, self.clock()
            for action in self.actions.values():
                if action.droplet == droplet.id and action.type == "create":
                    action.ends_s = droplet.active_s

    def _remove(self, droplet: Droplet) -> None:
        assert self.machines
        try:
            self.machines.remove(droplet)
        except Exception:
            log.exception("droplet %s is not gone", droplet.id)
        with self.lock:
            self._hands.pop(droplet.id).shutdown(wait=False)

    def _carry_out(self, droplet: Droplet, action: Action) -> None:
        assert self.machines
        try:
            if action.type in ("reboot", "power_cycle", "shutdown", "power_off"):
                self.machines.power(droplet, on=False)
            if action.type in ("reboot", "power_cycle", "power_on"):
                self.machines.power(droplet, on=True)
            if action.type == "rebuild":
                self.machines.remove(droplet)
                self.machines.boot(droplet)
        except Exception:
            log.exception("%s of droplet %s failed", action.type, droplet.id)
            action.errored = True
        with self.lock:
            action.ends_s = self.clock()
