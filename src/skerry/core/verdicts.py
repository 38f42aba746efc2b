"""Which versions have failed. Evidence is gathered from declines; a verdict lasts until a newer version, over restarts too."""

from __future__ import annotations

from skerry.core.constraints import name_of
from skerry.core.facts import Decline, Verdict
from skerry.core.records import Slot
from skerry.core.rollout import has_failed
from skerry.core.situation import Situation
from skerry.core.versions import AppWant


def review_verdicts(s: Situation, app: str) -> bool:
    """Publish our verdicts about an app's newest version, and say whether what counts as failed has changed."""
    want = s.wants.get(app)
    if want is None:
        return False
    before = {key for key in s.failed if key[0] == app}
    now = {(app, service, spec) for service, spec in want.newest.items() if _judge(s, app, service, spec, want)}
    for key, about in list(s.known.facts.get("verdict", {}).items()):
        name, _, service = key.partition(".")
        own = about.get(s.me)
        if name == app and isinstance(own, Verdict) and want.known and want.newest.get(service) != own.spec:
            s.publish("verdict", key, None, "there is a newer version")
    s.failed = (s.failed - before) | now
    return before != now


def _judge(s: Situation, app: str, service: str, spec: str, want: AppWant) -> bool:
    key, name = (app, service, spec), f"{app}.{service}"
    own = s.known.of(s.me, "verdict", name, Verdict)
    if own is not None and own.spec == spec:
        return True
    seen = {node: why for node, why in s.evidence.get(key, {}).items() if node in s.known.nodes}
    if seen and key not in s.settled and (key in s.sole or has_failed(seen, _candidates(s, app, service, spec))):
        reason = "; ".join(f"{name_of(node)}: {why}" for node, why in sorted(seen.items()))
        s.note("verdict", name, f"this version failed on {reason}")
        s.publish("verdict", name, Verdict(spec=spec, evidence=seen), reason)
        return True
    # Evidence that we haven't seen counts by most of those who hold a slot of it: one liar turns nobody back.
    holders = _holders(s, app, service, want)
    say = sum(
        isinstance(v, Verdict) and v.spec == spec
        for node, v in s.known.about("verdict", name).items()
        if node in holders
    )
    return say * 2 > len(holders) > 0


def _candidates(s: Situation, app: str, service: str, spec: str) -> list[str]:
    """Nodes that could run the version as far as anybody knows: not down, not drained, no decline for want of room."""
    want = s.wants[app].services.get(service)
    declined: set[str] = set()
    for index in range(want.service.replicas if want is not None else 0):
        for node, decline in s.known.about("decline", str(Slot(app, service, index))).items():
            if isinstance(decline, Decline) and decline.spec == spec and not decline.failed:
                declined.add(node)
    return [n for n in s.eligible(app, service) if not s.presence.is_down(n) and s.is_active(n) and n not in declined]


def _holders(s: Situation, app: str, service: str, want: AppWant) -> set[str]:
    found: set[str] = set()
    service_want = want.services.get(service)
    for index in range(service_want.service.replicas if service_want is not None else 0):
        found |= set(s.known.about("claim", str(Slot(app, service, index))))
    return {node for node in found if node in s.known.nodes and not s.presence.is_down(node)}
