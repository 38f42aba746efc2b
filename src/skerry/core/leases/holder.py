"""What a node holds or asks for, and until when, by its own monotonic clock. Pure. The other half is voter.py."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from skerry.core.facts import Ask, Promise
from skerry.core.leases.quorum import Voters

_TURNS = 16  # asks whose times are remembered: far more than fit into one lease
FREED_FOR = 3  # lengths of a lease for which it is told that one was freed: by then no voter is bound any more


class Mine(msgspec.Struct):
    """A lease that this node asks for or holds. `until_s`: what runs under it must have ended by then; 0: never held."""

    number: int
    since_s: float
    turn: int  # of its first ask
    held: bool = False
    until_s: float = 0.0
    counted_s: float = 0.0  # when the latest ask that enough have answered was made
    resumed: bool = False  # held by an earlier life, and not heard of in this one
    split_s: float | None = None  # since when others have votes of this number too


class Holder:
    def __init__(self, lease_s: float, rho: float, stop_s: float) -> None:
        self._length_s = lease_s * (1 - 2 * rho) - stop_s
        self._freed_s = FREED_FOR * lease_s
        self.renew_s = lease_s / 4
        self.life = 0
        self._turn = 0
        self._asked: dict[int, float] = {}  # turn -> when
        self.leases: dict[str, Mine] = {}
        self.freed: dict[str, tuple[int, float]] = {}  # lease -> (number, when)
        self._told: tuple[dict[str, int], dict[str, int]] | None = None

    def begin(self, life: int, turn: int) -> None:
        """`turn`: one that no earlier life has used, such as milliseconds of a wall clock."""
        self.life, self._turn = life, turn

    @property
    def asked_s(self) -> float:
        """When it was asked last."""
        return self._asked.get(self._turn, float("-inf"))

    def take(self, lease: str, number: int, now_s: float, *, resumed: bool = False) -> Mine:
        """Ask for it anew: under no number that was let go, and nothing that was promised before counts."""
        freed, _ = self.freed.pop(lease, (0, 0.0))
        self.leases[lease] = mine = Mine(max(number, freed + 1), now_s, self._turn + 1, resumed=resumed)
        return mine

    def free(self, lease: str, now_s: float) -> None:
        """Let go: nothing runs under it any more."""
        mine = self.leases.pop(lease, None)
        if mine is not None:
            self.freed[lease] = (mine.number, now_s)

    def drop(self, lease: str) -> None:
        """Asked for no longer, while something may still run under it: its time has to run out."""
        self.leases.pop(lease, None)

    def ask(self, now_s: float) -> Ask | None:
        """What to publish now, None: nothing new is to be said. Call it when something has changed, and when `next_s` has come."""
        self.freed = {lease: at for lease, at in self.freed.items() if now_s < at[1] + self._freed_s}
        leases = {lease: mine.number for lease, mine in self.leases.items()}
        freed = {lease: number for lease, (number, _) in self.freed.items()}
        if self._told == (leases, freed) and (not leases or now_s < self._again_s()):
            return None
        if self._told is None and not leases and not freed:
            return None
        self._told = (leases, freed)
        self._turn += 1
        self._asked[self._turn] = now_s
        for turn in [turn for turn in self._asked if turn <= self._turn - _TURNS]:
            del self._asked[turn]
        return Ask(life=self.life, turn=self._turn, leases=leases, freed=freed)

    def open_until(self, wait_s: float) -> float:
        """When to give up waiting for answers to the last ask before another one is made; 0: it is answered, or asks for nothing."""
        asked_s = self.asked_s
        waits = any(mine.turn <= self._turn and mine.counted_s < asked_s for mine in self.leases.values())
        return asked_s + wait_s if waits else 0.0

    def next_s(self) -> float:
        """When to ask again, or when a lease ends."""
        ends = [mine.until_s for mine in self.leases.values() if mine.held]
        renew = [self._again_s()] if self.leases and self._turn in self._asked else []
        forget = [at_s + self._freed_s for _, at_s in self.freed.values()]
        return min((*ends, *renew, *forget), default=float("inf"))

    def _again_s(self) -> float:
        """Sooner where what is held has not been renewed: an ask, or an answer, was lost."""
        asked_s = self._asked[self._turn]
        lost = any(mine.held and mine.counted_s < asked_s for mine in self.leases.values())
        return asked_s + (self.renew_s / 3 if lost else self.renew_s)

    def count(self, lease: str, voters: Voters, promises: Mapping[str, Promise]) -> float:
        """Until when the lease is ours by these promises; less than before it never gets. 0: too few promise it."""
        mine = self.leases[lease]
        times = {
            voter: self._asked[promise.turn]
            for voter, promise in promises.items()
            if promise.life == self.life and promise.turn >= mine.turn and promise.turn in self._asked
            and promise.leases.get(lease) == mine.number and promise.voting <= voters.turn
        }  # fmt: skip
        newest = voters.newest(times)
        if newest is not None:
            mine.counted_s = max(mine.counted_s, newest)
            mine.until_s = max(mine.until_s, newest + self._length_s)
        return mine.until_s

    def answered(self, promises: Mapping[str, Promise], now_s: float, within_s: float) -> set[str]:
        """Voters that have answered one of the asks of the last `within_s` seconds."""
        return {
            voter for voter, promise in promises.items()
            if promise.life == self.life and self._asked.get(promise.turn, -1e9) >= now_s - within_s
        }  # fmt: skip
