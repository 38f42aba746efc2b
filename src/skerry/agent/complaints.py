"""What no honest host and no honest stranger does, counted by who did it, and told as event `misdeed`: each culprit once a minute
at most, with all that it did meanwhile. An event for every forged record would be a way to fill the diary.

Who is named is who can be proven: the key at the other end of the link, or the key under the fact; of strangers their address.
What also happens among honest hosts of different versions, or to one that was away, counts once there is too much of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from skerry.errors import SkerryError
from skerry.mesh import door, links
from skerry.trust.refusals import Quota, RateExceeded

TOLD_AGAIN_S = 60.0  # of one culprit, and of all strangers
GATHER_S = 2.0  # from the first of them: the event says how many came at once
STRANGERS = 64  # addresses that are told apart; what comes from further ones is counted together
STRANGERS_TOLD = 4  # in a minute, those with the most first
EXAMPLE_CHARS = 200
ELSEWHERE = "strangers"  # all those that are not told one by one
MANY = 100  # things that strangers did together, each of them too little to be told

FORGED = "records with a false signature"
TWICE = "two facts under one number"
NO_FRAME = "frames that are none"
POISONED = "objects and images with other bytes than signed"
NOT_TO_SIGN = "records that its keys may not sign"
BAD_RECORDS = "records that are none, or beyond their bounds"
OTHER_CLOUD = "records of another cloud"
TOO_MANY = "more facts than a host may have"
TOO_FAST = "more than its rate allows"
REQUESTS = "requests that were not its to make"

OF_CODES = {
    "false-signature": FORGED, "malformed": BAD_RECORDS, "too-big": BAD_RECORDS, "out-of-bounds": BAD_RECORDS,
    "root-fork": NOT_TO_SIGN, "unknown-key": NOT_TO_SIGN, "unknown-author": NOT_TO_SIGN, "barred-key": NOT_TO_SIGN,
    "role-does-not-cover": NOT_TO_SIGN, "threshold-not-met": NOT_TO_SIGN, "out-of-pool": NOT_TO_SIGN,
    "wrong-cloud": OTHER_CLOUD, "quota": TOO_MANY, "rate": TOO_FAST, "bad-bundle": POISONED, "bad-image": POISONED,
    "object-refused": POISONED, "not-for-you": REQUESTS, "request-refused": REQUESTS, "verb-not-allowed": REQUESTS,
}  # fmt: skip
# How many of them within a minute are a misdeed; of what isn't named here, one.
FROM = {
    NOT_TO_SIGN: 20,  # a host that was away gets records before the policy that allows them
    BAD_RECORDS: 20,  # a newer agent knows kinds that this one doesn't
    TOO_MANY: 20,
    TOO_FAST: 100,  # times that it was made to wait: a new host is filled at the full rate
    REQUESTS: 3,
    links.STREAMS: 20,
    links.STREAM_ENDED: 5,
    links.CONNECTIONS: 240,
    links.HALF_OPEN: 3,
    door.UNFINISHED_ONES: 20,
    door.TURNED_AWAY: 20,
}


class _Doer:
    def __init__(self, since_s: float) -> None:
        self.since_s = since_s
        self.told_s = -TOLD_AGAIN_S
        self.deeds: Counter[str] = Counter()
        self.example = ""

    def is_enough(self) -> bool:
        return any(count >= FROM.get(deed, 1) for deed, count in self.deeds.items())

    def is_due(self, now_s: float) -> bool:
        return self.is_enough() and now_s >= max(self.since_s + GATHER_S, self.told_s + TOLD_AGAIN_S)


class Complaints:
    """`note(kind, subject, reason, more)` writes an event. `latest`: when a host was told last, and what of it, for the alarm."""

    def __init__(self, note: Callable[..., Any], now_s: Callable[[], float]) -> None:
        self._note = note
        self._now_s = now_s
        self._doers: dict[str, _Doer] = {}  # enrolled ones and clients: there are no more than those
        self._strangers: dict[str, _Doer] = {}
        self._named_s: list[float] = []  # when strangers were told one by one
        self._together_s = -TOLD_AGAIN_S
        self.latest = (0.0, "")

    def against(self, who: str, deed: str, example: str = "", count: int = 1) -> None:
        """`who`: a node's path, a client, or an address that showed no key. `deed`: one of this file's, or of the mesh's."""
        known = who.startswith(("node/", "client "))
        if deed == links.CONNECTIONS and not who.startswith("node/"):
            return  # an operator's scripts may come as often as the door lets them
        doers = self._doers if known else self._strangers
        if not known and who not in doers and len(doers) >= STRANGERS:
            self._make_room()
        doer = doers.setdefault(who, _Doer(self._now_s()))
        if not doer.deeds:
            doer.since_s = self._now_s()
        doer.deeds[deed] += count
        if example:
            doer.example = example[:EXAMPLE_CHARS]

    def refused(self, refusal: SkerryError, who: str) -> None:
        """Something of theirs was refused. Most refusals are no misdeed: what is old, or late, or was not known yet."""
        if (deed := OF_CODES.get(refusal.code)) is not None:
            author = refusal.author if isinstance(refusal, Quota | RateExceeded) else ""
            self.against(author or who, deed, str(refusal))

    def look(self) -> None:
        """To be called each second."""
        now_s = self._now_s()
        for who, doer in self._doers.items():
            if doer.is_due(now_s):
                self.latest = (now_s, f"{who.removeprefix('node/')}: {self._tell(who, doer, now_s)}"[:EXAMPLE_CHARS])
            elif now_s >= doer.since_s + TOLD_AGAIN_S:
                doer.deeds.clear()
        self._look_at_strangers(now_s)

    def _look_at_strangers(self, now_s: float) -> None:
        due = [who for who, doer in self._strangers.items() if who != ELSEWHERE and doer.is_due(now_s)]
        due.sort(key=self._weight)
        self._named_s = [at_s for at_s in self._named_s if now_s < at_s + TOLD_AGAIN_S]
        for who in due[: STRANGERS_TOLD - len(self._named_s)]:
            self._tell(who, self._strangers[who], now_s)
            self._named_s.append(now_s)
        full = len(self._named_s) == STRANGERS_TOLD
        rest = [
            w for w, doer in self._strangers.items() if doer.deeds and (full or w == ELSEWHERE or not doer.is_enough())
        ]
        since_s = min((self._strangers[who].since_s for who in rest), default=now_s)
        if -sum(map(self._weight, rest)) >= MANY and now_s >= max(since_s, self._together_s + TOLD_AGAIN_S) + GATHER_S:
            together = _Doer(since_s)
            for who in rest:
                together.deeds += self._strangers.pop(who).deeds
            self._tell(
                f"{ELSEWHERE} at {len(rest)}{'' if len(rest) < STRANGERS else ' or more'} addresses", together, now_s
            )
            self._together_s = now_s
        for who in [who for who, doer in self._strangers.items() if now_s >= doer.since_s + TOLD_AGAIN_S]:
            if not (-self._weight(who) >= MANY if who == ELSEWHERE else self._strangers[who].is_due(now_s)):
                del self._strangers[who]

    def _make_room(self) -> None:
        """Who did least of them is counted with the rest: so whoever does much is found among however many."""
        least = max((who for who in self._strangers if who != ELSEWHERE), key=self._weight)
        doer = self._strangers.pop(least)
        rest = self._strangers.setdefault(ELSEWHERE, _Doer(doer.since_s))
        rest.since_s = min(rest.since_s, doer.since_s) if rest.deeds else doer.since_s
        rest.deeds += doer.deeds

    def _weight(self, who: str) -> int:
        return -self._strangers[who].deeds.total()

    def _tell(self, who: str, doer: _Doer, now_s: float) -> str:
        took_s = max(1, now_s - doer.since_s)
        what = ", ".join(f"{deed}: {count}" for deed, count in doer.deeds.most_common())
        why = f"{what}; within {took_s:.0f} s" + (f"; such as: {doer.example}" if doer.example else "")
        self._note("misdeed", who, why, {deed: str(count) for deed, count in doer.deeds.items()})
        doer.told_s = now_s
        doer.deeds.clear()
        doer.example = ""
        return what
