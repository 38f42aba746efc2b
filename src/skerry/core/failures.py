"""What has failed of a version, as far as this node has heard, and whether a failure counts against it. Reads the situation."""

from __future__ import annotations

from skerry.core import canary
from skerry.core.facts import Decline
from skerry.core.records import Slot
from skerry.core.rollout import tolerated
from skerry.core.situation import Situation
from skerry.core.versions import Want


def failed_slots(s: Situation, of: Slot, want: Want) -> set[Slot]:
    """Slots of a service in which that version has failed somewhere, as far as this node has heard."""
    found = set(s.failed_slots.get((of.app, of.service, want.spec), ()))
    numbers = s.numbers(of.app, of.service)
    for index in numbers:
        slot = of._replace(index=index)
        declines = s.known.about("decline", str(slot)).values()
        if any(isinstance(d, Decline) and d.failed and d.spec == want.spec for d in declines):
            found.add(slot)
    return {slot for slot in found if slot.index in numbers}


def beyond_tolerance(s: Situation, app: str, service: str, want: Want) -> bool:
    """Whether more slots have failed than `max_failure_ratio` lets. Of those that a canary tries first none may."""
    update, numbers = want.service.update, sorted(s.numbers(app, service))
    if update.max_failure_ratio <= 0:
        return True
    failed = failed_slots(s, Slot(app, service, 0), want)
    tried = numbers[: max((step.slots for step in canary.steps_of(want.service.canary, len(numbers))), default=0)]
    too_many = len(failed) > tolerated(update.max_failure_ratio, len(numbers))
    return too_many or any(slot.index in tried for slot in failed)


def is_on_trial(s: Situation, slot: Slot, spec: str, well_s: float | None, monitor_s: float) -> bool:
    """Whether what ends now counts against its version: within the monitor's time, or in a canary that is not over."""
    if well_s is None or (slot.app, slot.service, spec) in s.settled:
        return False
    return s.now - well_s <= monitor_s or is_canary(s, slot, spec)


def is_canary(s: Situation, slot: Slot, spec: str) -> bool:
    """Whether this is the new version in a slot that tries it before the others."""
    want = s.wants[slot.app].services.get(slot.service) if slot.app in s.wants else None
    if want is None or want.spec != spec or (slot.app, slot.service, spec) in s.settled:
        return False
    if not want.service.canary:
        return False
    numbers = sorted(s.numbers(slot.app, slot.service))
    return any(slot.index in numbers[: step.slots] for step in canary.steps_of(want.service.canary, len(numbers)))
