"""Who lives. A newer signed `up`, by any path, proves life; votes of watchers only make death known faster.

Design section 5, "Presence". What the disk held is no sign of life: until it is heard of, an enrolled node is *unknown*, which
holds its slots but gets no traffic; `takeover_after_s` after our own start, unknown becomes down.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import msgspec

from skerry.core.facts import FactBody, Lost
from skerry.core.timing import Timing

Beat = tuple[int, int]  # an `up`'s sequence: (start count, n)


class Seen(msgspec.Struct):
    """What this node knows about the life of another."""

    status: Literal["unknown", "up", "down"] = "unknown"
    since_s: float = 0.0
    linked: bool = False
    missed_s: float | None = None  # its link went down then
    goodbye: bool = False
    beat: Beat = (0, 0)  # of its newest `up`
    beat_s: float = 0.0  # when that, or a link, came
    asked_s: float = -1e9
    said_no: set[str] = set()
    facts_from: int | None = None  # what it told of itself counts from this life on; None: not known yet
    ever_up: bool = False  # in this life of ours
    revived_s: float | None = None  # down, and one newer `up` came: it may be a late one
    why: str = ""


class Change(NamedTuple):
    """A node fell or rose; `why` "": it was up, and only now what it says of its containers counts again."""

    node: str
    up: bool
    why: str


class Presence:
    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._seen: dict[str, Seen] = {}
        self._parted: set[str] = set()  # nodes whose link with us went down and has not come back
        self.me = ""
        self.first_link_s: float | None = None  # of this life
        self.now_s = 0.0  # the time of this step: the node sets it
        self.next_s = 0.0  # nothing here depends on time before that

    def seen(self, node: str) -> Seen:
        seen = self._seen.get(node)
        if seen is None:
            seen = self._seen[node] = Seen(since_s=self.now_s, said_no=set())
        return seen

    def status(self, node: str) -> Literal["unknown", "up", "down"]:
        return "up" if node == self.me else self.seen(node).status

    def is_up(self, node: str) -> bool:
        return node == self.me or self.seen(node).status == "up"

    def is_down(self, node: str) -> bool:
        return node != self.me and self.seen(node).status == "down"

    def counts(self, node: str, boot: int) -> bool:
        """Whether what a node told of its containers in that life of it still says something."""
        if node == self.me:
            return True
        seen = self.seen(node)
        return seen.facts_from is not None and boot >= seen.facts_from

    def any_linked(self) -> bool:
        return any(seen.linked for seen in self._seen.values())

    def linked_up(self, node: str) -> bool:
        seen = self._seen.get(node)
        return seen is not None and seen.linked and seen.status == "up"

    # --- what is told -------------------------------------------------------------------------------------------------

    def link_up(self, node: str, now: float) -> Change | None:
        seen = self.seen(node)
        seen.linked, seen.missed_s, seen.goodbye, seen.beat_s = True, None, False, now
        self._parted.discard(node)
        seen.said_no.clear()
        if self.first_link_s is None:
            self.first_link_s = now
        return self._rise(node, seen, now, "linked")

    def link_down(self, node: str, goodbye: bool, now: float) -> None:
        seen = self.seen(node)
        if seen.linked:
            seen.linked, seen.missed_s, seen.goodbye, seen.asked_s = False, now, goodbye, -1e9
            self._parted.add(node)
            seen.said_no.clear()
        self.next_s = now

    def beat(self, node: str, beat: Beat, from_disk: bool, now: float) -> Change | None:
        """A newer `up`. While down one is not enough: it may be an old one that somebody passed on late."""
        seen = self.seen(node)
        seen.beat = max(seen.beat, beat)
        if from_disk or node == self.me:
            return None
        seen.said_no.clear()
        if seen.status == "down" and not seen.linked:
            if seen.revived_s is None or now - seen.revived_s > self._timing.silent_s:
                seen.revived_s = now
            if now - seen.revived_s < 0.9 * self._timing.up_every_s:
                return None
        seen.beat_s = now
        change = self._rise(node, seen, now, "says that it is up")
        if seen.facts_from is None:
            # Before it was silent it told what may be gone now. One that was never missed may start its agent anew meanwhile.
            seen.facts_from = beat[0]
            return change or Change(node, True, "")
        return change

    def reached(self, node: str, via: str, ok: bool) -> None:
        """The answer of `via`, asked whether it can reach `node`."""
        seen = self.seen(node)
        if ok:
            seen.said_no.discard(via)
        else:
            seen.said_no.add(via)

    def _rise(self, node: str, seen: Seen, now: float, why: str) -> Change | None:
        seen.revived_s = None
        if seen.status == "up":
            return None
        seen.facts_from = None
        seen.status, seen.since_s, seen.why, seen.ever_up = "up", now, why, True
        return Change(node, True, why)

    # --- what follows -------------------------------------------------------------------------------------------------

    def review(
        self, enrolled: Iterable[str], votes: Mapping[str, Mapping[str, FactBody]], now: float
    ) -> tuple[list[Change], list[tuple[str, str]]]:
        """Who fell by now, and whom to ask about whom: (changes, [(node, via)]). `votes`: node -> voter -> its `lost`."""
        timing = self._timing
        changes: list[Change] = []
        asks: list[tuple[str, str]] = []
        self.next_s = now + 3600.0
        soonest_s = math.inf
        for node in enrolled:
            if node == self.me:
                continue
            seen = self._seen.get(node) or self.seen(node)
            if seen.status == "up" and now < seen.beat_s + timing.silent_s and self._nobody_misses(node, seen, votes):
                soonest_s = min(soonest_s, seen.beat_s)  # nearly all of a large cloud
                continue
            if seen.status == "down":
                continue
            if seen.status == "unknown":
                at, why = seen.since_s + timing.takeover_after_s, "not heard of since this node started"
            else:
                at, why = seen.beat_s + timing.silent_s, f"no sign of life for {timing.silent_s:.0f} s"
            if now < at and not seen.linked and seen.status == "up":
                verdict = self._missed(node, seen, votes.get(node, {}), now, asks)
                at, why = (now, verdict) if verdict else (at, why)
            if now >= at:
                seen.status, seen.since_s, seen.revived_s, seen.why = "down", now, None, why
                changes.append(Change(node, False, why))
            else:
                self.next_s = min(self.next_s, at)
        self.next_s = min(self.next_s, soonest_s + timing.silent_s)
        return changes, asks

    def _nobody_misses(self, node: str, seen: Seen, votes: Mapping[str, object]) -> bool:
        return seen.linked or (seen.missed_s is None and not seen.said_no and node not in votes)

    def _missed(
        self, node: str, seen: Seen, votes: Mapping[str, FactBody], now: float, asks: list[tuple[str, str]]
    ) -> str:
        """Why a node without a link to us is down, "" if it isn't (yet); adds whom to ask."""
        timing = self._timing
        against = seen.said_no | {
            voter
            for voter, vote in votes.items()
            if isinstance(vote, Lost) and voter != node and self.is_up(voter) and (vote.boot, vote.beat) >= seen.beat
        } - {self.me}
        if seen.missed_s is None:  # never linked with us: two others must miss it
            return f"{_names(against)} miss it" if len(against) >= 2 else ""
        ready = seen.missed_s + (timing.restart_grace_s if seen.goodbye else 0.0)
        if now < ready:
            self.next_s = min(self.next_s, ready)
            return ""
        how = "closed its link and did not come back" if seen.goodbye else "fell silent"
        others = [other for other, its in self._seen.items() if its.linked and other != node and its.status == "up"]
        if not others:
            return f"it {how}, and there is nobody else to ask"
        if against:
            return f"it {how}, and {_names(against)} can't reach it either"
        if now >= seen.asked_s + timing.ask_again_s:
            seen.asked_s = now
            asks.extend((node, via) for via in sorted(others))
        self.next_s = min(self.next_s, seen.asked_s + timing.ask_again_s)
        return ""

    def lost(self, enrolled: Iterable[str], now: float) -> dict[str, Lost]:
        """Our votes: nodes whose link with us went down and did not come back in time."""
        votes = {}
        for node in enrolled if self._parted else ():
            seen = self.seen(node) if node in self._parted and node != self.me else None
            if seen is None or seen.missed_s is None:
                continue
            ready = seen.missed_s + (self._timing.restart_grace_s if seen.goodbye else 0.0)
            if now >= ready and (seen.status == "down" or seen.beat_s <= ready):
                votes[node] = Lost(boot=seen.beat[0], beat=seen.beat[1], why="its link went down")
        return votes


def _names(nodes: Iterable[str]) -> str:
    return " and ".join(sorted(node.removeprefix("node/") for node in nodes))
