"""All of one node about leases: it votes if it is a voter, holds what it holds, and knows who else holds what.

Whose lease a name may be is asked of `stands`: for slots core/exclusive.py says so. Called by the node at each step; it does
something only when something about leases has come, or is due.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from skerry.core.constraints import name_of
from skerry.core.facts import Ask, Grant, Promise
from skerry.core.leases.holder import Holder, Mine
from skerry.core.leases.quorum import Voters, grants_of, too_few, top, voters_of, winner
from skerry.core.leases.voter import Case, Later, Voter, Yes
from skerry.core.records import Slot
from skerry.core.timing import Timing

if TYPE_CHECKING:
    from skerry.core.situation import Situation

_FOREVER = float("inf")
_LEASES = 40  # a node holds no more: one fact has to name them all


class Stand(NamedTuple):
    """Whether a node may have a lease: `why_not` "" if so. `rank`: the least goes first; `wait_s`: so long it leaves it to others."""

    why_not: str
    rank: int = 0
    wait_s: float = 0.0


class Heard(NamedTuple):
    """The newest ask of a node: what it names, and when it came in this life of ours."""

    asked: dict[str, int]
    at_s: float


class Leases:
    def __init__(self, timing: Timing) -> None:
        self.timing = timing
        self.voters = Voters()
        self.voter = Voter(timing.lease_s, timing.lease_rho)
        self.holder = Holder(timing.lease_s, timing.lease_rho, timing.lease_stop_s)
        self.due = True
        self.next_s = 0.0
        self.begun = False
        self.lost: list[tuple[str, Mine]] = []  # since the last review
        self._heard: dict[str, Heard] = {}  # by node
        self._kept: dict[str, Grant] = {}  # what our own disk held of our grants when we started
        self._renewed: dict[str, dict[str, tuple[Grant, float]]] = {}  # lease -> voter -> what it renewed when
        self._free_since: dict[str, float] = {}
        self._again: dict[str, float] = {}  # lease -> not asked for before that: others are better placed

    # --- what others may ask of it ------------------------------------------------------------------------------------

    def held(self, lease: str, now_s: float, least_s: float = 0.0) -> Mine | None:
        """The lease, if it is ours for `least_s` more at least."""
        mine = self.leases.get(lease)
        return mine if mine is not None and mine.held and mine.until_s - now_s > least_s else None

    @property
    def leases(self) -> Mapping[str, Mine]:
        return self.holder.leases

    def want(self, s: Situation, lease: str) -> str:
        """Ask for it from now on. Gives why it isn't asked for just now, "" if it is."""
        if lease in self.leases:
            return ""
        if s.now < (at := self._again.get(lease, 0.0)):
            self.next_s = min(self.next_s, at)
            return "others asked at the same moment and are better placed"
        if len(self.leases) >= _LEASES:
            return f"this node has {_LEASES} leases, and can't have more"
        self.holder.take(lease, self._next(s, lease), s.now)
        self.due = True
        return ""

    def _next(self, s: Situation, lease: str) -> int:
        return max(top(grants_of(s.known, self.voters, lease)), self.voters.first()) + 1

    def free(self, s: Situation, lease: str) -> None:
        """Let it go, or give up asking. Only when nothing runs under it any more."""
        self.holder.free(lease, s.now)
        self.due = True

    def holder_of(self, s: Situation, lease: str) -> Grant | None:
        """Who has it, by enough voters' grants: it may have run out since, or have been let go."""
        return winner(self.voters, grants_of(s.known, self.voters, lease))

    def newest(self, s: Situation, lease: str) -> Grant | None:
        """The newest lease under which no lower one can be renewed: while voters change, also what the former ones granted."""
        return winner(self.voters, grants_of(s.known, self.voters, lease), settled=True)

    def is_freed(self, s: Situation, lease: str, grant: Grant) -> bool:
        """Whether its holder said that it is its no more."""
        ask = s.known.of(grant.holder, "ask", "", Ask)
        return ask is not None and ask.freed.get(lease, 0) >= grant.number

    def asks(self, s: Situation, lease: str, node: str) -> int:
        """Under which number a node asks for it now, 0: it doesn't."""
        ask = s.known.of(node, "ask", "", Ask)
        return ask.leases.get(lease, 0) if ask is not None else 0

    def why(self, s: Situation, lease: str) -> str:
        """What a lease that we ask for waits for, in words."""
        if few := too_few(self.voters, s.presence.is_up):
            return few
        other = self.holder_of(s, lease)
        if other is not None and other.holder != s.me and not self.is_freed(s, lease, other):
            return (
                f"{name_of(other.holder)} has the lease with number {other.number} until it lets go or its time is over"
            )
        return "waits for the answers of the voters"

    def former_ask(self, s: Situation) -> Ask | None:
        """What an earlier life of this node asked for last, as far as the disk knows."""
        return s.known.of(s.me, "ask", "", Ask)

    def take_lost(self) -> list[tuple[str, Mine]]:
        lost, self.lost = self.lost, []
        return lost

    # --- events -------------------------------------------------------------------------------------------------------

    def heard(self, s: Situation, node: str, kind: str, key: str, from_disk: bool) -> None:
        """A fact about leases has come."""
        if kind == "grant":
            if from_disk and node == s.me and (grant := s.known.of(s.me, "grant", key, Grant)) is not None:
                self._kept[key] = grant
            self.due = s.fence_due = True
            return
        votes = s.me in self.voters.all
        if kind == "promise":
            self.due = self.due or key.endswith(f"@{s.me}")
            promise = s.known.of(node, "promise", key, Promise)
            if votes and promise is not None and not from_disk:
                for lease, number in promise.leases.items():
                    grant = Grant(number=number, holder=key.rpartition("@")[2])
                    self._renewed.setdefault(lease, {})[node] = grant, s.now
            return
        self.due = self.due or votes
        ask = s.known.of(node, "ask", "", Ask)
        before = self._heard.get(node)
        asked = {**ask.leases, **ask.freed} if ask is not None else {}
        if before is None or before.asked != asked:
            for lease in {*asked, *(before.asked if before is not None else ())}:
                if (slot := Slot.read(lease)) is not None and (
                    lease in self.leases or s.claim_of(s.me, slot) is not None
                ):
                    s.touch_slot(slot)  # somebody may be waiting for it, or has it instead
        if ask is not None and not from_disk:
            self._heard[node] = Heard(asked, s.now)

    # --- the step -----------------------------------------------------------------------------------------------------

    def review(self, s: Situation, stands: Callable[[str, str], Stand]) -> bool:
        """Whether there was anything to do."""
        if not self.due and s.now < self.next_s:
            return False
        self.due, self.next_s = False, _FOREVER
        if not self.begun:
            self.begun = True
            self.voters = voters_of(s.known)
            self.voter.begin(s.boot_s)
        voters = voters_of(s.known)
        if voters != self.voters:
            self.voters = voters
            self.voter.changed(s.now)
            for lease, mine in list(self.leases.items()):
                if not mine.held and not mine.resumed:
                    self.holder.take(lease, self._next(s, lease), s.now)
        self._hold(s, stands)
        self._tell(s)
        if s.me in voters.all:
            self._vote(s, stands)
            self._hold(s, stands)  # our own vote may have been the one that was missing
            self._tell(s)
        self.next_s = min(self.next_s, self.holder.next_s())
        return True

    def _tell(self, s: Situation) -> None:
        ask = self.holder.ask(s.now)
        if ask is None:
            return
        said = ask if ask.leases or ask.freed else None
        s.publish("ask", "", said, "asks voters for its leases")
        self._heard[s.me] = Heard({**ask.leases, **ask.freed}, s.now)

    # --- holding ------------------------------------------------------------------------------------------------------

    def _hold(self, s: Situation, stands: Callable[[str, str], Stand]) -> None:
        promises = self._promises(s, f"@{s.me}")
        for lease, mine in list(self.leases.items()):
            until = self.holder.count(lease, self.voters, promises)
            grants = grants_of(s.known, self.voters, lease)
            won = winner(self.voters, grants)
            if mine.held and (until <= s.now or (won is not None and won.number > mine.number)):
                self._lose(lease, mine)
            elif not mine.held and until > s.now:
                mine.held, mine.resumed, mine.split_s = True, False, None
            elif mine.resumed and (
                s.now >= mine.since_s + self.timing.lease_s or (won is not None and won.number > mine.number)
            ):
                self._lose(lease, mine)
            elif mine.resumed:
                self.next_s = min(self.next_s, mine.since_s + self.timing.lease_s)
            elif not mine.held:
                self._contend(s, lease, mine, grants, stands)

    def _lose(self, lease: str, mine: Mine) -> None:
        self.holder.drop(lease)
        mine.held = False
        self.lost.append((lease, mine))

    def _contend(
        self, s: Situation, lease: str, mine: Mine, grants: Mapping[str, Grant], stands: Callable[[str, str], Stand]
    ) -> None:
        """Nobody else's grant is as high as our number, or it was asked for in vain: again, above all, if we are the best to do so.

        Of several that have votes of one number none may ever have enough; all but the best placed give theirs back.
        """
        rivals = {grant.holder for grant in grants.values() if grant.number >= mine.number} - {s.me}
        if not rivals:
            mine.split_s = None
            return
        won = winner(self.voters, grants)
        if won is not None and won.number >= mine.number:
            self.holder.take(lease, self._next(s, lease), s.now)
            return
        if mine.split_s is None:
            mine.split_s = s.now
        ripe = mine.split_s + self.timing.lease_split_s
        if s.now < ripe:
            self.next_s = min(self.next_s, ripe)
            return
        rank = stands(lease, s.me).rank
        if all((rank, s.me) < (stands(lease, other).rank, other) for other in rivals):
            self.holder.take(lease, self._next(s, lease), s.now)
        else:
            self.holder.free(lease, s.now)
            self._again[lease] = s.now + (1 + min(rank, 10)) * s.timing.claim_delay_s

    def _promises(self, s: Situation, key: str) -> dict[str, Promise]:
        told = s.known.about("promise", key)
        return {voter: p for voter, p in told.items() if isinstance(p, Promise) and voter in self.voters.all}

    # --- voting -------------------------------------------------------------------------------------------------------

    def _alive_s(self, lease: str, settled: Grant | None) -> float:
        """When enough of those that granted it were last heard to renew it: a voter that has promised nothing leaves it alone, too."""
        if settled is None:
            return -1e9
        heard = self._renewed.get(lease, {})
        times = {voter: at_s for voter, (grant, at_s) in heard.items() if grant == settled}
        return self.voters.newest(times) or max(times.values(), default=-1e9)

    def _vote(self, s: Situation, stands: Callable[[str, str], Stand]) -> None:
        if self.voter.is_silent(s.now):
            self.next_s = min(self.next_s, self.voter.speaks_s)
        fresh: dict[str, Ask] = {}
        for node, ask in s.known.about("ask", "").items():
            heard = self._heard.get(node)
            if isinstance(ask, Ask) and heard is not None and s.now - heard.at_s < self.timing.lease_s:
                fresh[node] = ask
        askers: dict[str, list[tuple[bool, int, str, int]]] = {}
        for node, ask in fresh.items():
            for lease, number in ask.leases.items():
                own = s.known.of(s.me, "grant", lease, Grant)
                stand = stands(lease, node)
                renews = own is not None and (own.holder, own.number) == (node, number)
                if renews or not stand.why_not:
                    askers.setdefault(lease, []).append((not renews, stand.rank, node, number))
        for lease in sorted(askers):
            for _, _, node, number in sorted(askers[lease]):
                self._judge(s, lease, node, number, stands)
        self._free_since = {lease: at for lease, at in self._free_since.items() if lease in askers}
        for node, ask in fresh.items():
            self._promise(s, node, ask)
        for key, about in list(s.known.facts.get("promise", {}).items()):
            node = key.rpartition("@")[2]
            if s.me in about and s.known.of(node, "ask", "", Ask) is None:
                s.publish("promise", key, None, f"{name_of(node)} asks for nothing any more")

    def _judge(self, s: Situation, lease: str, node: str, number: int, stands: Callable[[str, str], Stand]) -> None:
        own = s.known.of(s.me, "grant", lease, Grant)
        grants = grants_of(s.known, self.voters, lease)
        settled = winner(self.voters, grants, settled=True)
        case = Case(
            lease, node, number, first=self.voters.first(), top=top(grants), own=own,
            own_freed=own is not None and self.is_freed(s, lease, own), settled=settled,
            settled_freed=settled is not None and self.is_freed(s, lease, settled),
            alive_s=self._alive_s(lease, settled),
        )  # fmt: skip
        if ("grant", lease) in s.binding:
            return  # what we have just granted is on its way to our disk
        answer = self.voter.answer(case, s.now)
        if (
            isinstance(answer, Yes)
            and own != Grant(number=number, holder=node)
            and not self._is_turn(s, lease, node, stands)
        ):
            return
        if isinstance(answer, Later):
            self._free_since.pop(lease, None)
            self.next_s = min(self.next_s, answer.at_s)
        elif isinstance(answer, Yes):
            self._free_since.pop(lease, None)
            if own != Grant(number=number, holder=node):
                s.bind("grant", lease, Grant(number=number, holder=node), f"{name_of(node)}: {answer.why}")

    def _is_turn(self, s: Situation, lease: str, node: str, stands: Callable[[str, str], Stand]) -> bool:
        """Of those that want what is free, the better placed have a moment's lead, so that no distant one grabs it first."""
        turn = self._free_since.setdefault(lease, s.now) + stands(lease, node).wait_s
        if s.now < turn:
            self.next_s = min(self.next_s, turn)
        return s.now >= turn

    def _promise(self, s: Situation, node: str, ask: Ask) -> None:
        """All that we granted of an ask, for the length of a lease from now."""
        silent = self.voter.is_silent(s.now)
        leases = {
            lease: number for lease, number in ask.leases.items()
            if (own := s.known.of(s.me, "grant", lease, Grant)) == Grant(number=number, holder=node)
            and ("grant", lease) not in s.binding and not (silent and self._kept.get(lease) != own)
        }  # fmt: skip
        if silent and not leases:
            return
        place = f"@{node}"
        promise = Promise(life=ask.life, turn=ask.turn, leases=leases, voting=self.voters.turn) if leases else None
        if s.known.about("promise", place).get(s.me) == promise:
            return
        for lease in leases:
            self.voter.promised(lease, s.now)
        s.publish("promise", place, promise, f"{name_of(node)} has asked")
