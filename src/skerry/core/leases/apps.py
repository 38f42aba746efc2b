"""Leases that containers take by name: what this node asks for and votes for. Pure, as all of core.

The same voters, clocks and numbers as those of exclusive slots; who of a host's containers has a lease is the agent's affair.
A lease of `app` is granted to a node that may run the app, for as long as it asks again in time.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2s
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from skerry.core.constraints import name_of
from skerry.core.effects import Lease, Leased
from skerry.core.facts import Ask, Grant, Votes
from skerry.core.leases.holder import Holder, Mine
from skerry.core.leases.quorum import Voters, too_few, voters_of, winner
from skerry.core.leases.shared import NAMES_MAX, Budget, granted, grants_of, holder_of, top, votes_of
from skerry.core.leases.voter import Case, Later, Voter, Yes
from skerry.core.timing import Timing

if TYPE_CHECKING:
    from skerry.core.situation import Situation

_FOREVER = float("inf")
_TICK_S = 0.001
_BURST, _A_SECOND = 40.0, 5.0  # facts for asking, and as many for voting, of the 20 a second that a node may tell
_DIRECT = 150.0  # a second, of those that go to voters and askers alone (trust/rates.py takes 200 of one author)
_OPEN_S = 0.02  # so long the next ask waits for the answers to the last one, and what is wanted meanwhile goes with it
_OTHERS_S = 0.05  # what voters and askers know everybody else is told that much later, folded


class _Heard(NamedTuple):
    ask: Ask
    at_s: float


class AppLeases:
    def __init__(self, timing: Timing) -> None:
        self.timing = timing
        self.voters = Voters()
        self.voter = Voter(timing.lease_s, timing.lease_rho)
        self.wanted: dict[str, Mapping[str, int]] = {}  # app -> name -> ticket: another ticket, another number
        self.due: set[str] = set()  # apps
        self.next_s = 0.0
        self.begun = False
        self._holders: dict[str, Holder] = {}
        self._tickets: dict[str, dict[str, int]] = {}  # of what is asked for or held
        self._numbers: dict[str, int] = {}  # "app/name" -> the highest that this life asked for
        self._again: dict[str, float] = {}  # "app/name" -> not asked for before that
        self._heard: dict[tuple[str, str], _Heard] = {}  # (node, app)
        self._kept: dict[str, dict[str, Grant]] = {}  # app -> what our own disk held of our grants when we started
        self._told: dict[str, tuple[Lease, ...]] = {}
        self._asks, self._votes = Budget(_BURST, _A_SECOND), Budget(_BURST, _A_SECOND)
        self._direct_asks, self._direct_votes = Budget(_DIRECT, _DIRECT), Budget(_DIRECT, _DIRECT)
        self._owed: dict[tuple[str, str], float] = {}  # (kind, app) -> when everybody is to be told what few know
        self._next: dict[str, float] = {}
        self._now_s = 0.0
        self._life, self._turn = 0, 0

    def begin(self, s: Situation) -> None:
        """What an earlier life held runs out by itself: nobody here knows what still acts under it."""
        self._life, self._turn = s.boot, max(0, int(s.clock * 1000))
        for key in [key for key, about in s.known.facts.get("ask", {}).items() if key and s.me in about]:
            s.publish("ask", key, None, "this node has started anew")

    def want(self, app: str, wanted: Mapping[str, int]) -> None:
        self.wanted[app] = wanted
        self.due.add(app)

    def heard(self, s: Situation, node: str, kind: str, app: str, from_disk: bool) -> None:
        """A fact about an app's leases has come."""
        self.due.add(app)
        if kind == "votes" and from_disk and node == s.me:
            self._kept[app] = _grants(s.known.of(s.me, "votes", app, Votes))
        elif kind == "ask":
            ask = s.known.of(node, "ask", app, Ask)
            if ask is None:
                self._heard.pop((node, app), None)
            elif not from_disk:
                self._heard[node, app] = _Heard(ask, s.now)

    def review(self, s: Situation) -> None:
        if not self.due and s.now < self.next_s:
            return
        if not self.begun:
            self.begun = True
            self.voters = voters_of(s.known)
            self.voter.begin(s.boot_s)
        voters = voters_of(s.known)
        if voters != self.voters:
            self.voters = voters
            self.voter.changed(s.now)
            self.due |= {*self.wanted, *(app for _, app in self._heard)}
        apps = sorted(self.due | {app for app, at_s in self._next.items() if at_s <= s.now})
        self.due = set()
        self._now_s = s.now
        for app in apps:
            self._next.pop(app, None)
            asked = self._hold(s, app)
            if s.me in self.voters.all:
                if asked:  # it leaves before our own disk is waited for
                    self._at(app, s.now)
                else:
                    self._vote(s, app)
                    self._hold(s, app)  # our own vote may be the one that was missing
            self._tell_others(s, app)
            self._look_who_goes(s, app)
            self._tell(s, app)
        self.next_s = min(self._next.values(), default=_FOREVER)

    def _at(self, app: str, at_s: float) -> None:
        """Look at it again then; never at once, or rounding could make an endless loop."""
        self._next[app] = min(max(at_s, self._now_s + _TICK_S), self._next.get(app, _FOREVER))

    def _look_who_goes(self, s: Situation, app: str) -> None:
        """Who has not asked again for the length of a lease counts no more."""
        for (_, of), heard in self._heard.items():
            if of == app and (ends_s := heard.at_s + self.timing.lease_s) > s.now:
                self._at(app, ends_s)

    # --- holding ------------------------------------------------------------------------------------------------------

    def _hold(self, s: Situation, app: str) -> bool:
        """Whether it has asked just now."""
        wanted = self.wanted.get(app, {})
        holder = self._holders.get(app)
        if holder is None:
            if not wanted:
                return False
            holder = self._holders[app] = Holder(self.timing.lease_s, self.timing.lease_rho, 0.0)
            holder.begin(self._life, self._turn)
        tickets, votes = self._tickets.setdefault(app, {}), votes_of(s.known, self.voters, app)
        for name in list(holder.leases):
            if wanted.get(name) != tickets.get(name):
                holder.free(name, s.now)
        for name, ticket in wanted.items():
            if name not in holder.leases and self._may_ask(s, app, name, ticket):
                tickets[name] = ticket
                self._take(s, app, holder, name, votes)
        promises = {voter: told for voter, of in votes.items() if (told := _Told.read(of, s.me)) is not None}
        for name, mine in list(holder.leases.items()):
            until_s = holder.count(name, self.voters, promises)  # type: ignore[arg-type]
            won = holder_of(self.voters, votes, name)
            if mine.held and (until_s <= s.now or (won is not None and won.number > mine.number)):
                mine.held = False
                holder.drop(name)  # the agent has to say that it wants it again: under another ticket
            elif not mine.held and until_s > s.now:
                mine.held, mine.split_s = True, None
            elif not mine.held:
                self._contend(s, app, holder, name, mine, votes)
        asked = self._ask(s, app, holder)
        self._at(app, holder.next_s())
        return asked

    def _may_ask(self, s: Situation, app: str, name: str, ticket: int) -> bool:
        if self._tickets[app].get(name) == ticket and f"{app}/{name}" not in self._again:
            return False  # it was held under this ticket, and lost
        again_s = self._again.get(f"{app}/{name}", 0.0)
        if s.now < again_s:
            self._at(app, again_s)
            return False
        self._again.pop(f"{app}/{name}", None)
        return True

    def _take(self, s: Situation, app: str, holder: Holder, name: str, votes: Mapping[str, Votes]) -> None:
        lease = f"{app}/{name}"
        number = max(top(votes, name), self._numbers.get(lease, 0)) + 1
        self._numbers[lease] = number
        holder.take(name, number, s.now)

    def _contend(
        self, s: Situation, app: str, holder: Holder, name: str, mine: Mine, votes: Mapping[str, Votes]
    ) -> None:
        """As for slots: of several with votes of one number none may ever have enough; all but one give theirs back."""
        grants = grants_of(votes, name)
        won = winner(self.voters, grants)
        forgotten = any(name not in of.granted and of.floor >= mine.number for of in votes.values())
        if forgotten or (won is not None and won.holder != s.me and won.number >= mine.number):
            self._take(s, app, holder, name, votes)
            return
        rivals = {grant.holder for grant in grants.values() if grant.number >= mine.number} - {s.me}
        if not rivals:
            mine.split_s = None
            return
        mine.split_s = s.now if mine.split_s is None else mine.split_s
        ripe_s = mine.split_s + self.timing.lease_split_s
        if s.now < ripe_s:
            self._at(app, ripe_s)
        elif all(_lot(name, mine.number, s.me) < _lot(name, mine.number, other) for other in rivals):
            self._take(s, app, holder, name, votes)
        else:
            holder.free(name, s.now)
            self._again[f"{app}/{name}"] = s.now + self.timing.lease_split_s

    def _ask(self, s: Situation, app: str, holder: Holder) -> bool:
        """What is new goes to the voters alone, if enough are neighbours, one ask at a time, and else by the budget; what is held is
        renewed in any case, and everybody hears of it.
        """
        renews = bool(holder.leases) and s.now >= holder.asked_s + holder.renew_s
        to = () if renews else self._voters_linked(s)
        if to:
            at_s = max(s.now + self._direct_asks.wait_s(s.now), holder.open_until(_OPEN_S))
        else:
            at_s = s.now if renews else s.now + self._asks.wait_s(s.now)
        if at_s > s.now:
            self._at(app, at_s)
            return False
        ask = holder.ask(s.now)
        if ask is None:
            return False
        self._heard[s.me, app] = _Heard(said := _full(app, ask), s.now)
        why = "asks voters for an app's leases"
        if not to or not (ask.leases or ask.freed):
            self._asks.take()
            self._owed.pop(("ask", app), None)
            s.publish("ask", app, said if ask.leases or ask.freed else None, why)
        else:
            self._direct_asks.take()
            self._owed.setdefault(("ask", app), s.now + _OTHERS_S)
            s.publish("ask", app, msgspec.structs.replace(said, direct=True), why, to=to)
        return True

    def _voters_linked(self, s: Situation) -> tuple[str, ...]:
        """The voters that are neighbours, () if these and we are too few."""
        linked = {voter for voter in self.voters.all if voter != s.me and s.presence.linked_up(voter)}
        return tuple(sorted(linked)) if self.voters.agree({*linked, s.me}) else ()

    def _tell_others(self, s: Situation, app: str) -> None:
        """By the budget: what only voters and askers were told."""
        for kind, budget in (("ask", self._asks), ("votes", self._votes)):
            due_s = self._owed.get((kind, app))
            if due_s is None or (kind, app) in s.binding:
                continue
            if (at_s := max(due_s, s.now + budget.wait_s(s.now))) > s.now:
                self._at(app, at_s)
                continue
            del self._owed[kind, app]
            said = s.known.about(kind, app).get(s.me)
            if isinstance(said, Ask | Votes) and said.direct:
                budget.take()
                s.publish(kind, app, msgspec.structs.replace(said, direct=False), "tells everybody")

    # --- voting -------------------------------------------------------------------------------------------------------

    def _vote(self, s: Situation, app: str) -> None:
        own = s.known.of(s.me, "votes", app, Votes)
        grants = _grants(own)
        if self.voter.is_silent(s.now):
            self._at(app, self.voter.speaks_s)
            if self._kept.get(app) != grants:
                return
        if ("votes", app) in s.binding:
            return  # what we have just granted is on its way to our disk
        if wait_s := self._direct_votes.wait_s(s.now):
            self._at(app, s.now + wait_s)
            return
        fresh = {
            node: heard.ask for (node, of), heard in self._heard.items()
            if of == app and s.now < heard.at_s + self.timing.lease_s and self._may_have(s, app, node)
        }  # fmt: skip
        votes = votes_of(s.known, self.voters, app)
        before, floor = dict(grants), own.floor if own is not None else 0
        for name in sorted({name for ask in fresh.values() for name in _names(app, ask.leases)}):
            number = top(votes, name)
            askers = sorted(
                (_lot(name, number, node), node) for node, ask in fresh.items() if f"{app}/{name}" in ask.leases
            )
            for _, node in askers:
                asked = Grant(number=fresh[node].leases[f"{app}/{name}"], holder=node)
                if grants.get(name) != asked and self._grants(s, app, name, asked, grants.get(name), votes, floor):
                    if name not in grants and len(grants) >= NAMES_MAX:
                        room = self._room(s, app, grants, fresh)
                        if not room:
                            continue
                        floor = max(floor, grants.pop(room).number)
                        if asked.number <= floor:
                            continue  # it sees that, and asks again above it
                    grants[name] = asked
        said = _votes(app, grants, fresh, own, floor, self.voters.turn)
        if (own is not None and msgspec.structs.replace(own, direct=False) == said) or not (own or said.granted):
            return
        for name, grant in grants.items():
            if (ask := fresh.get(grant.holder)) is not None and ask.leases.get(f"{app}/{name}") == grant.number:
                self.voter.promised(f"{app}/{name}", s.now)
        why = "answers what is asked of an app's leases"
        to: tuple[str, ...] = ()
        if grants != before or self._votes.wait_s(s.now):
            to = tuple(node for node in sorted(fresh) if node != s.me and s.presence.linked_up(node))
        if to:
            self._direct_votes.take()
            self._owed.setdefault(("votes", app), s.now + _OTHERS_S)
            said = msgspec.structs.replace(said, direct=True)
        else:
            self._votes.take()
            self._owed.pop(("votes", app), None)
        if grants != before:
            s.bind("votes", app, said, why, to=to)
        else:
            s.publish("votes", app, said, why, to=to)

    def _may_have(self, s: Situation, app: str, node: str) -> bool:
        """Only who may run the app may hold its leases, whatever it asks."""
        want = s.wants.get(app)
        asks = want is not None and any(of.service.leases for of in want.services.values())
        return asks and node in s.known.nodes and s.known.may_read(app, node)

    def _grants(
        self, s: Situation, app: str, name: str, asked: Grant, own: Grant | None, votes: Mapping[str, Votes], floor: int
    ) -> bool:
        if own is None and asked.number <= floor:
            return False
        settled = winner(self.voters, grants_of(votes, name), settled=True)
        case = Case(
            f"{app}/{name}", asked.holder, asked.number, own=own, own_freed=own is not None and self._freed(app, name, own),
            settled=settled, settled_freed=True, top=top(votes, name),
        )  # fmt: skip
        answer = self.voter.answer(case, s.now)
        if isinstance(answer, Later):
            self._at(app, answer.at_s)
        return isinstance(answer, Yes)

    def _freed(self, app: str, name: str, grant: Grant) -> bool:
        heard = self._heard.get((grant.holder, app))
        return heard is not None and heard.ask.freed.get(f"{app}/{name}", 0) >= grant.number

    def _room(self, s: Situation, app: str, grants: Mapping[str, Grant], fresh: Mapping[str, Ask]) -> str:
        """A name that nobody holds or asks for: the one with the lowest number is forgotten, its number is not."""
        asked = {name for ask in fresh.values() for name in _names(app, ask.leases)}
        idle = [
            (grant.number, name) for name, grant in grants.items()
            if name not in asked and (self._freed(app, name, grant) or not self.voter.is_bound(f"{app}/{name}", s.now))
        ]  # fmt: skip
        return min(idle, default=(0, ""))[1]

    # --- telling the agent --------------------------------------------------------------------------------------------

    def _tell(self, s: Situation, app: str) -> None:
        """Of an app that this node's containers take leases of: what they have, and who has the others."""
        if app not in self.wanted:
            return
        votes, holder = votes_of(s.known, self.voters, app), self._holders.get(app)
        names = {*self.wanted[app], *(name for of in votes.values() for name in of.granted)}
        told = tuple(self._lease(s, app, name, votes, holder) for name in sorted(names))
        if told != self._told.get(app):
            self._told[app] = told
            s.out.append(Leased(app=app, leases=told, reason="its voters have said something new"))

    def _lease(self, s: Situation, app: str, name: str, votes: Mapping[str, Votes], holder: Holder | None) -> Lease:
        mine = holder.leases.get(name) if holder is not None else None
        ticket = self._tickets.get(app, {}).get(name, 0)
        if mine is not None and mine.held:
            return Lease(name, mine.number, s.me, ticket, mine.until_s)
        won = holder_of(self.voters, votes, name)
        lost = mine is None and ticket == self.wanted[app].get(name) and f"{app}/{name}" not in self._again
        return Lease(
            name,
            won.number if won is not None else 0,
            won.holder if won is not None and self._lives(s, app, name, won) else "",
            ticket,
            lost=lost,
            why=self._why(s, app, name, votes),
        )

    def _lives(self, s: Situation, app: str, name: str, grant: Grant) -> bool:
        """Whether its holder still asks for it."""
        heard = self._heard.get((grant.holder, app))
        asks = heard is not None and s.now < heard.at_s + self.timing.lease_s
        return heard is not None and asks and heard.ask.leases.get(f"{app}/{name}", 0) >= grant.number

    def _why(self, s: Situation, app: str, name: str, votes: Mapping[str, Votes]) -> str:
        """What one that asks waits for, in words."""
        if few := too_few(self.voters, s.presence.is_up):
            return few
        if not self._may_have(s, app, s.me):
            return f"no service of {app} asks for leases"
        if any(len(of.granted) >= NAMES_MAX and name not in of.granted for of in votes.values()):
            return f"{app} has {NAMES_MAX} leases, which is the most"
        won = holder_of(self.voters, votes, name)
        if won is not None and self._lives(s, app, name, won):
            return f"a container on {name_of(won.holder)} has it"
        return "waits for the answers of the voters"


class _Told(NamedTuple):
    """What a voter says of our leases, as `Holder.count` reads a promise."""

    life: int
    turn: int
    leases: Mapping[str, int]
    voting: int

    @classmethod
    def read(cls, votes: Votes, me: str) -> _Told | None:
        if me not in votes.nodes:
            return None
        at = votes.nodes.index(me)
        leases = {name: number for name, (number, holder) in votes.granted.items() if holder == at}
        return cls(*votes.turns[at], leases, votes.voting)


def _votes(
    app: str, grants: Mapping[str, Grant], fresh: Mapping[str, Ask], own: Votes | None, floor: int, voting: int
) -> Votes:
    """An ask that holds nothing of what is granted needs no answer: what was said last stays."""
    nodes = sorted({grant.holder for grant in grants.values()})
    turns = dict(zip(own.nodes, own.turns, strict=True)) if own is not None else {}
    for name, grant in grants.items():
        ask = fresh.get(grant.holder)
        if ask is not None and ask.leases.get(f"{app}/{name}") == grant.number:
            turns[grant.holder] = (ask.life, ask.turn)
    of = {name: (grant.number, nodes.index(grant.holder)) for name, grant in sorted(grants.items())}
    return Votes(
        nodes=tuple(nodes),
        turns=tuple(turns.get(node, (0, 0)) for node in nodes),
        granted=of,
        floor=floor,
        voting=voting,
    )


def _grants(votes: Votes | None) -> dict[str, Grant]:
    return {name: grant for name in (votes.granted if votes else ()) if (grant := granted(votes, name)) is not None}


def _full(app: str, ask: Ask) -> Ask:
    """Under full names, as they stand in facts."""
    leases = {f"{app}/{name}": number for name, number in ask.leases.items()}
    return Ask(
        life=ask.life,
        turn=ask.turn,
        leases=leases,
        freed={f"{app}/{name}": number for name, number in ask.freed.items()},
    )


def _names(app: str, leases: Mapping[str, int]) -> list[str]:
    return [lease.removeprefix(f"{app}/") for lease in leases if lease.startswith(f"{app}/")]


def _lot(name: str, number: int, node: str) -> bytes:
    """Who goes first of several that ask at once: the same for every voter, and another each time."""
    return blake2s(f"{name} {number} {node}".encode(), digest_size=8).digest()
