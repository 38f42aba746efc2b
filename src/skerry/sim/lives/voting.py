"""Who votes about leases in a life: named at its beginning, changed as `skerry host voters set` does, and set right in peace.

One laptop alone names them, and never over anything but what it named last: two that do so at once, parted, are no part of a life.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import msgspec

from skerry.core.intent import Policy
from skerry.sim.lives.host import Host

if TYPE_CHECKING:
    from skerry.sim.lives.life import Life

POLICY = "policy"
ROUNDS = 8  # of looking whether most of the old ones know of the new
ROUND_S = 5.0


class Voting:
    """`now`, `before`: paths, as the newest policy that was accepted names them. `ever`: all that voted at some time."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.chance = random.Random(f"voters {life.plan.seed}")
        self.now: tuple[str, ...] = ()
        self.before: tuple[str, ...] = ()
        self.ever: set[str] = set()
        self._seen = life.office.laptops[0].heads[POLICY]

    def begin(self, host: Host) -> None:
        self._name(host, self._drawn(self.life.plan.voters), ())

    def change(self, host: Host, number: int) -> None:
        """The next step: first old and new together, then the new alone, once most of the old know of it."""
        if self.before:
            if self._most_know():
                self._name(host, self.now, ())
            return
        wanted = self._drawn((1, 3, 3, 5)[number % 4])
        if set(wanted) != set(self.now):
            self._name(host, wanted, self.now)

    def settle(self, host: Host) -> None:
        """In peace: a change that was begun is ended, and who is gone for good is replaced; where most are, by an operator's word."""
        living = {host.path for host in self.life.members() if host.on}
        for _ in range(ROUNDS):
            if not self.before and set(self.now) <= living:
                return
            for voters in (self.before, self.now):
                if voters and 2 * len(living & {*voters}) <= len(voters):
                    self.life.say("most of the voters are dead: an operator says so")
                    self._name(host, self._drawn(3), ())
                    break
            else:
                if not self.before:
                    self._name(host, self._drawn(3), self.now)
                elif self._most_know():
                    self._name(host, self.now, ())
            self.life.cluster.run(ROUND_S)

    def _drawn(self, number: int) -> tuple[str, ...]:
        """Of honest hosts that are of the cloud, as many as it takes: those that live first."""
        members = self.life.members()
        some = [host.path for host in members if host.on] or [host.path for host in members]
        most = max(n for n in (1, 3, 5) if n <= max(1, min(number, len(some))))
        return tuple(self.chance.sample(some, most))

    def _name(self, host: Host, voters: tuple[str, ...], before: tuple[str, ...]) -> None:
        held, laptop = host.trusted.document(POLICY), self.life.office.laptops[0]
        if held is None or not isinstance(held.body, Policy) or held.hash != self._seen.hash:
            return  # it does not know yet what was named last: another one will
        turn = held.body.voting + 1 if self.ever else 0
        body = msgspec.structs.replace(held.body, voters=voters, voters_before=before, voting=turn)
        laptop.heads[POLICY] = self._seen
        after = f", before {' '.join(map(_name, before))}" if before else ""
        self.life.say(f"voters are {' '.join(map(_name, voters))}{after}, at {_name(host.path)}")
        if self.life.acts.sign(host, 0, POLICY, body):
            self.now, self.before, self._seen = voters, before, laptop.heads[POLICY]
            self.ever |= {*voters}

    def _most_know(self) -> bool:
        know = 0
        for path in self.before:
            host = self.life.cluster.host(path)
            held = host.trusted.document(POLICY) if host.core is not None else None
            know += held is not None and held.hash == self._seen.hash
        return 2 * know > len(self.before)


def _name(path: str) -> str:
    return path.removeprefix("node/")
