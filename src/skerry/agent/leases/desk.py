"""Which container of this host has which lease of its app, who waits for one, and until when each was told that it may act.

Core knows hosts; among the containers of a host the first to ask is the first to have it, each under a number of its own. A lease is
let go once its container is gone, has let go of it, or has not asked again by the time that it was told last.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from skerry.core.effects import Lease, Leased
from skerry.core.events import Event, LeasesWanted
from skerry.core.leases.shared import NAMES_MAX

WAITERS_MAX = 64  # of one container
LOOK_S = 0.25


class Refused(Exception):
    """What a container is told. `code`: a stable word of docs/leases.md."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.code, self.why = code, why


class Had(msgspec.Struct, frozen=True):
    """`for_s`: seconds that are left; who was told so counts from before it asked."""

    number: int
    for_s: float


@dataclass
class _Waiter:
    container: str
    got: asyncio.Future[None]


@dataclass
class _Claim:
    """One container's turn. `told_s`: until when it was last told that it may act; `until_s`: core's word."""

    ticket: int
    waiter: _Waiter
    number: int = 0
    until_s: float = 0.0
    told_s: float = 0.0

    @property
    def container(self) -> str:
        return self.waiter.container


@dataclass
class _App:
    claims: dict[str, _Claim] = field(default_factory=dict)  # by the lease's name
    queues: dict[str, deque[_Waiter]] = field(default_factory=dict)
    stands: dict[str, Lease] = field(default_factory=dict)
    watchers: set[asyncio.Future[None]] = field(default_factory=set)
    containers: set[str] = field(default_factory=set)


class LeaseDesk:
    """`post` takes what is wanted to core, `now_s` is core's clock."""

    def __init__(self, *, me: str, post: Callable[[Event], None], now_s: Callable[[], float]) -> None:
        self._me, self._post, self._now_s = me, post, now_s
        self._apps: dict[str, _App] = {}
        self._tickets = 0

    def open(self, app: str, container: str) -> None:
        """A container that may take leases is here."""
        of = self._apps.setdefault(app, _App())
        of.containers.add(container)
        self._want(app)

    def close(self, app: str, container: str) -> None:
        """It is gone: what it had is free."""
        of = self._apps.get(app)
        if of is None:
            return
        of.containers.discard(container)
        for name, queue in list(of.queues.items()):
            for waiter in [waiter for waiter in queue if waiter.container == container]:
                waiter.got.cancel()
                queue.remove(waiter)
            self._forget_if_empty(of, name)
        for name, claim in [(name, claim) for name, claim in of.claims.items() if claim.container == container]:
            claim.waiter.got.cancel()
            self._end(app, name)

    async def acquire(self, app: str, container: str, name: str, wait_s: float) -> Had:
        """Raises Refused: held, no-voters and the like, once `wait_s` are over."""
        of = self._apps[app]
        claim = of.claims.get(name)
        if claim is not None and claim.container == container and claim.until_s > self._now_s():
            return self._told(claim)
        if sum(waiter.container == container for queue in of.queues.values() for waiter in queue) >= WAITERS_MAX:
            raise Refused("busy", f"{WAITERS_MAX} requests of this container wait already")
        if name not in of.queues and name not in of.claims and len({*of.queues, *of.claims}) >= NAMES_MAX:
            raise Refused("busy", f"containers of this host use {NAMES_MAX} leases of {app} already")
        waiter = _Waiter(container, asyncio.get_running_loop().create_future())
        of.queues.setdefault(name, deque()).append(waiter)
        self._next(app, name)
        try:
            await asyncio.wait([waiter.got], timeout=wait_s)
            if waiter.got.cancelled():
                raise Refused("gone", "the container ends")
            if waiter.got.done():
                claim = of.claims.get(name)
                if claim is None or claim.waiter is not waiter:
                    raise Refused("held", "it was lost before it was told")
                return self._told(claim)
        finally:
            if not waiter.got.done() or waiter.got.cancelled():
                self._leave(app, name, waiter)
        stands, ours = of.stands.get(name), of.claims.get(name)
        if ours is not None and ours.number:
            raise Refused("held", "another container of this host has it")
        raise Refused(
            "held", stands.why if stands is not None and stands.why else "waits for the answers of the voters"
        )

    def renew(self, app: str, container: str, name: str, number: int) -> Had:
        """Raises Refused: lost."""
        claim = self._apps[app].claims.get(name)
        if claim is None or claim.container != container or claim.number != number or claim.until_s <= self._now_s():
            raise Refused("lost", "it is not this container's under that number, or not any more")
        return self._told(claim)

    def release(self, app: str, container: str, name: str, number: int) -> None:
        """Not held is as good."""
        claim = self._apps[app].claims.get(name)
        if claim is not None and claim.container == container and claim.number == number:
            self._end(app, name)

    async def watch(
        self, app: str, container: str, name: str, seen: tuple[int, bool], wait_s: float
    ) -> tuple[int, bool, str, bool]:
        """(number, whether anybody has it, on which host, whether this container has it), as soon as the first two aren't `seen`; or
        after `wait_s`, as they are.
        """
        of, loop = self._apps[app], asyncio.get_running_loop()
        end_s = loop.time() + wait_s
        while True:
            now = self._state(of, container, name)
            left_s = end_s - loop.time()
            if now[:2] != seen or left_s <= 0:
                return now
            changed: asyncio.Future[None] = loop.create_future()
            of.watchers.add(changed)
            try:
                await asyncio.wait([changed], timeout=left_s)
            finally:
                of.watchers.discard(changed)

    def leased(self, effect: Leased) -> None:
        """What core says of an app's leases now."""
        of = self._apps.get(effect.app)
        if of is None:
            return
        of.stands = {lease.name: lease for lease in effect.leases}
        for lease in effect.leases:
            claim = of.claims.get(lease.name)
            if claim is None or claim.ticket != lease.ticket:
                continue
            if lease.until_s:
                claim.number, claim.until_s = lease.number, lease.until_s
                if not claim.waiter.got.done():
                    claim.waiter.got.set_result(None)
                    claim.told_s = claim.until_s
            elif lease.lost:
                self._end(effect.app, lease.name)
        self._changed(of)

    def look(self) -> None:
        """Let go of what its container has not asked for again."""
        now_s = self._now_s()
        for app, of in self._apps.items():
            for name in [name for name, claim in of.claims.items() if claim.number and claim.told_s <= now_s]:
                self._end(app, name)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _told(self, claim: _Claim) -> Had:
        claim.told_s = claim.until_s
        return Had(claim.number, max(0.0, claim.until_s - self._now_s()))

    def _state(self, of: _App, container: str, name: str) -> tuple[int, bool, str, bool]:
        claim, stands = of.claims.get(name), of.stands.get(name)
        if claim is not None and claim.until_s > self._now_s():
            return claim.number, True, self._me, claim.container == container
        if stands is None:
            return 0, False, "", False
        other = stands.node if stands.node != self._me else ""
        return stands.number, bool(other), other, False

    def _next(self, app: str, name: str) -> None:
        """The next that waits, if nobody here has it or asks for it."""
        of = self._apps[app]
        queue = of.queues.get(name)
        if name not in of.claims and queue:
            self._tickets += 1
            of.claims[name] = _Claim(self._tickets, queue.popleft())
            self._want(app)
        self._forget_if_empty(of, name)

    def _leave(self, app: str, name: str, waiter: _Waiter) -> None:
        of = self._apps[app]
        waiter.got.cancel()
        if (queue := of.queues.get(name)) is not None and waiter in queue:
            queue.remove(waiter)
            self._forget_if_empty(of, name)
        if (claim := of.claims.get(name)) is not None and claim.waiter is waiter:
            self._end(app, name)

    def _end(self, app: str, name: str) -> None:
        of = self._apps[app]
        claim = of.claims.pop(name)
        if not claim.waiter.got.done():  # it was lost before it was told: its turn again
            of.queues.setdefault(name, deque()).appendleft(claim.waiter)
        self._next(app, name)
        if name not in of.claims:
            self._want(app)
        self._changed(of)

    def _forget_if_empty(self, of: _App, name: str) -> None:
        if not of.queues.get(name, True):
            del of.queues[name]

    def _want(self, app: str) -> None:
        self._post(LeasesWanted(app, {name: claim.ticket for name, claim in self._apps[app].claims.items()}))

    def _changed(self, of: _App) -> None:
        for watcher in of.watchers:
            if not watcher.done():
                watcher.set_result(None)
