"""Kubernetes on the same trace: the horizontal pod autoscaler by its defaults, under it cluster-autoscaler by its own.

Sources: the documentation of HorizontalPodAutoscaler (autoscaling/v2: looks every 15 s; 80 % where no metric is given;
10 % tolerance; up by the more of ×2 and +4 pods in 15 s; down by the highest recommendation of 300 s) and cluster-autoscaler's
FAQ (looks every 10 s; a node whose pods ask for less than half of it and fit elsewhere is unneeded; it goes after 10 minutes
of that, and not within 10 minutes of an addition). The defaults are flattered: metrics are exact and 15 s old, pods start at
once, the scheduler packs and moves pods as if it were free, and what a node runs besides takes nothing.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from skerry.sim.elastic.fleet import DAY_MINUTES, Outcome, Terms, just_enough

PODS = 4  # that fill a machine
TARGET = 0.8
TOLERANCE = 0.1
TICK_S = 5
HPA_S, STABLE_S, UP_PODS, UP_TIMES = 15, 300, 4, 2
SCAN_S, UNNEEDED_S, AFTER_ADD_S, BELOW = 10, 600, 600, 0.5


class Nodes:
    """Pods on nodes, spread as the scheduler's default does it; the emptiest node is the one that may go."""

    def __init__(self, start_s: int, least: int) -> None:
        self.start_s, self.least = start_s, least
        self.pods = [0] * least  # on each node
        self.asked_s = [-start_s] * least
        self.unneeded_s: list[int | None] = [None] * least
        self.added_s = -AFTER_ADD_S
        self.pending = 0
        self.changes = 0

    def ready(self, now_s: int) -> list[int]:
        return [at for at, asked in enumerate(self.asked_s) if asked + self.start_s <= now_s]

    def want(self, pods: int, now_s: int) -> None:
        """So many pods: new ones to the emptiest ready node, the fullest loses one first, pending ones before all."""
        more = pods - sum(self.pods) - self.pending
        self.pending = max(0, self.pending + more)
        for _ in range(sum(self.pods) + self.pending - pods):
            self.pods[max(range(len(self.pods)), key=self.pods.__getitem__)] -= 1
        ready = self.ready(now_s)
        while self.pending:
            emptiest = min(ready, key=self.pods.__getitem__)
            if self.pods[emptiest] >= PODS:
                return
            self.pods[emptiest] += 1
            self.pending -= 1

    def scan(self, now_s: int) -> None:
        coming = sum(asked + self.start_s > now_s for asked in self.asked_s)
        missing = math.ceil(self.pending / PODS) - coming
        if missing > 0:
            self.pods += [0] * missing
            self.asked_s += [now_s] * missing
            self.unneeded_s += [None] * missing
            self.added_s, self.changes = now_s, self.changes + missing
        ready = self.ready(now_s)
        free = sum(PODS - self.pods[at] for at in ready)
        for at in ready:
            fits = self.pods[at] <= free - (PODS - self.pods[at])
            needed = self.pending > 0 or self.pods[at] >= BELOW * PODS or not fits
            since = self.unneeded_s[at]
            self.unneeded_s[at] = None if needed else now_s if since is None else since
        if now_s - self.added_s < AFTER_ADD_S:
            return
        gone = [at for at in ready if (s := self.unneeded_s[at]) is not None and now_s - s >= UNNEEDED_S]
        empty = [at for at in gone if not self.pods[at]] or gone[
            :1
        ]  # all that are empty at once, else one and its pods
        for at in sorted(empty[: len(self.pods) - self.least], reverse=True):
            self.pending += self.pods[at]
            for ring in (self.pods, self.asked_s, self.unneeded_s):
                del ring[at]
            self.changes += 1


def kubernetes(trace: Sequence[int], terms: Terms, *, target: float = TARGET) -> Outcome:
    nodes = Nodes(terms.start * 60, terms.least)
    wanted, said = 1, deque[tuple[int, int]]()
    pod = terms.capacity / PODS
    late = paid_s = 0.0
    rate = float(trace[0])
    for now_s in range(0, len(trace) * 60, TICK_S):
        if now_s % HPA_S == 0:
            wanted = _wanted(rate / pod, wanted, sum(nodes.pods), target, said, now_s)
            rate = float(trace[now_s // 60])
            nodes.want(wanted, now_s)
        if now_s % SCAN_S == 0:
            nodes.scan(now_s)
            nodes.want(wanted, now_s)
        late += max(0.0, trace[now_s // 60] - sum(nodes.pods) * pod) * TICK_S / 60
        paid_s += TICK_S * len(nodes.pods)
    return Outcome(
        paid_s / 60 / just_enough(trace, terms), late / sum(trace), nodes.changes / (len(trace) / DAY_MINUTES)
    )


def _wanted(load: float, now: int, running: int, target: float, said: deque[tuple[int, int]], now_s: int) -> int:
    """`load`: in whole pods. `said`: recommendations and when, of the last 300 s."""
    ratio = load / max(running, 1) / target
    if ratio > 1 and running < now:  # pods that don't run yet count as idle when it goes up
        ratio = max(1.0, load / now / target)
        running = now
    recommended = now if abs(ratio - 1) <= TOLERANCE else max(1, math.ceil(ratio * running - 1e-9))
    said.append((now_s, recommended))
    while said[0][0] <= now_s - STABLE_S:
        said.popleft()
    if recommended < now:
        return min(now, max(number for _, number in said))
    return min(recommended, max(UP_TIMES * now, now + UP_PODS))
