"""The node's mind: events in, effects out. Gathering, deciding and acting live in the files beside this one.

The caller owns clock, disk and network. Its loop:

    core = NodeCore()
    effects = core.step(Booted(...), now)                    # then, in one go, before anything else:
    for record in disk: effects += core.step(RecordAccepted(record, from_disk=True), now)
    for container in adopted: effects += core.step(ContainerFound(...), now)
    for image in held: effects += core.step(ImageReady(image), now)
    while True: carry_out(effects); effects = core.step(next_event(), now)

Nothing is decided before the first event that is none of these four (a Timer: the answer to each asks for one at once).
"""

from __future__ import annotations

from skerry.core.effects import Effect
from skerry.core.events import Event
from skerry.core.timing import Timing


class NodeCore:
    """One node's decisions. Deterministic: the same events at the same times give the same effects.

    Facts that it publishes count for itself at once; their echo (RecordAccepted from "") is welcome and changes nothing.
    The caller fills `heads` and `clock` of the fact `up` when it signs it.
    """

    def __init__(self, timing: Timing | None = None) -> None:
        self.timing = timing or Timing()

    def step(self, event: Event, now: float) -> list[Effect]:
        """What to do about `event`. `now`: seconds of a monotonic clock, never less than at the step before."""
        raise NotImplementedError
