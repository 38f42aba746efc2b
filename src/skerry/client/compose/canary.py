"""`x-skerry: canary` of a service: which share of its slots tries a new version first, and for how long."""

from __future__ import annotations

import re

from skerry.client.compose import values
from skerry.client.compose.section import Value
from skerry.client.compose.table import X_CANARY
from skerry.core.canary import steps_of
from skerry.core.intent import CanaryStep, Service

STEPS_MAX = 8
EXAMPLE = "canary: [{share: 10%, hold: 5m}]"
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)\s*%")


def canary_of(value: Value | None) -> tuple[CanaryStep, ...]:
    if value is None:
        return ()
    steps: list[CanaryStep] = []
    for item in value.items():
        section = item.section(X_CANARY)
        said, hold = section.get("share"), section.get("hold")
        if said is None or hold is None:
            item.mistake("needs a share and how long it is held", f"write {EXAMPLE}")
            continue
        share, hold_s = said.read(_share), hold.read(values.duration_s)
        if share is None or hold_s is None:
            continue
        if steps and share <= steps[-1].share:
            said.mistake("is no more than the step before it", "write the smallest share first")
            continue
        steps.append(CanaryStep(share=share, hold_s=hold_s))
    if len(steps) > STEPS_MAX:
        value.mistake(f"has more than {STEPS_MAX} steps", "leave some out")
    return tuple(steps[:STEPS_MAX])


def _share(text: str) -> float:
    match = _PERCENT.fullmatch(text.strip())
    if match is None or not 0 < float(match[1]) < 100:
        raise ValueError(f"{text[:20]!r} is no share of the slots: write it as 10%, more than 0% and less than 100%")
    return round(float(match[1]) / 100, 6)


def check_canary(service: Service, value: Value) -> None:
    """What only shows beside the rest of the service."""
    if service.canary and service.update.failure_action == "continue":
        value.mistake(
            "update_config says failure_action: continue: a version that fails would never get past its first step",
            "write failure_action: rollback, or pause",
        )
    most = service.scale.max if service.scale is not None else service.replicas
    if service.canary and not steps_of(service.canary, most):
        value.warning(
            f"without effect: of {most} slot{'s' if most != 1 else ''} the first step has all", "raise deploy: replicas"
        )
