"""Which versions have failed. Evidence is gathered from declines; a verdict lasts until a newer version, over restarts too."""

from __future__ import annotations

from skerry.core.constraints import name_of
from skerry.core.facts import Decline, Verdict
from skerry.core.failures import beyond_tolerance
from skerry.core.homes import home_of
from skerry.core.records import Slot
from skerry.core.rollout import has_failed
from skerry.core.situation import Situation
from skerry.core.versions import AppWant
from skerry.core.words import told_of


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
    said = {node: v for node, v in s.known.about("verdict", name).items() if isinstance(v, Verdict) and v.spec == spec}
    seen = {node: why for node, why in s.evidence.get(key, {}).items() if node in s.known.nodes}
    # Who says that it failed on itself has declined it, whether or not that decline ever came here.
    seen |= {node: v.evidence[node] for node, v in said.items() if node in v.evidence and node in s.known.nodes}
    if seen and key not in s.settled and _is_enough(s, app, service, spec, want, seen):
        return _say(s, name, spec, seen)
    if not said:
        return False
    # Evidence that we haven't seen counts by most of those who hold a slot of it: one liar turns nobody back.
    electorate = _electorate(s, app, service, want)
    if len(electorate & set(said)) * 2 > len(electorate):
        told = {node: why for v in said.values() for node, why in v.evidence.items() if node != s.me}
        return _say(s, name, spec, told | seen)
    return False


def _is_enough(s: Situation, app: str, service: str, spec: str, want: AppWant, seen: dict[str, str]) -> bool:
    """Whether the version has failed where it was `seen` to: on the slot's home, on two nodes, on the only candidate."""
    sole = any(_is_home(s, node, app, service, want) for node in seen)
    enough = sole or has_failed(seen, _candidates(s, app, service, spec))
    return enough and _beyond_tolerance(s, app, service, want)


def _beyond_tolerance(s: Situation, app: str, service: str, want: AppWant) -> bool:
    """A verdict is about the newest version; once it was turned back, what is wanted is another, with other bounds."""
    found = want.services.get(service)
    return found is None or found.spec != want.newest.get(service) or beyond_tolerance(s, app, service, found)


def _say(s: Situation, name: str, spec: str, evidence: dict[str, str]) -> bool:
    # Without evidence of others': this node forgot that it failed here, and follows what the others remember of it.
    reason = told_of({name_of(node): why for node, why in evidence.items()}) or "this node, as others say"
    s.note("verdict", name, f"this version failed on {reason}")
    s.publish("verdict", name, Verdict(spec=spec, evidence=dict(sorted(evidence.items())[:8])), reason)
    return True


def _is_home(s: Situation, node: str, app: str, service: str, want: AppWant) -> bool:
    """Whether a slot of the service has its data there: then no second node can try it.

    Its saying so isn't enough, or one captured node could turn any version back.
    """
    service_want = want.services.get(service)
    if service_want is None:
        return False
    slots = [Slot(app, service, index) for index in s.numbers(app, service)]
    return any(home_of(s, slot, service_want) == (node,) for slot in slots)


def _candidates(s: Situation, app: str, service: str, spec: str) -> list[str]:
    """Nodes that could run the version as far as anybody knows: not drained, no decline for want of room.

    Those that are down count: one node alone in its part of a network must not condemn a version for all.
    """
    declined: set[str] = set()
    for index in s.numbers(app, service):
        for node, decline in s.known.about("decline", str(Slot(app, service, index))).items():
            if isinstance(decline, Decline) and decline.spec == spec and not decline.failed:
                declined.add(node)
    return [n for n in s.eligible(app, service) if s.is_active(n) and n not in declined]


def _electorate(s: Situation, app: str, service: str, want: AppWant) -> set[str]:
    """Whose word decides: those that hold a slot of the service; of a single one's, all others that are up, or the word of
    one that holds it alone would be everybody's."""
    found: set[str] = set()
    for index in s.numbers(app, service):
        found |= set(s.known.about("claim", str(Slot(app, service, index))))
    holders = {node for node in found if node in s.known.nodes and not s.presence.is_down(node)}
    return holders if len(holders) > 1 else {n for n in s.known.nodes if n != s.me and s.presence.is_up(n)}
