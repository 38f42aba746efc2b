"""How bad: words and figures of several lists on one scale. Pure. Source: CVSS v3.1 specification, section 7."""

from __future__ import annotations

import math
from typing import Literal

Severity = Literal["unknown", "negligible", "low", "medium", "high", "critical"]
ORDER: tuple[Severity, ...] = ("unknown", "negligible", "low", "medium", "high", "critical")

_WORDS: dict[str, Severity] = {
    "unimportant": "negligible",
    "negligible": "negligible",
    "none": "negligible",
    "low": "low",
    "moderate": "medium",
    "medium": "medium",
    "important": "high",
    "high": "high",
    "critical": "critical",
}
_VECTOR = {"AV": "NALP", "AC": "LH", "PR": "NLH", "UI": "NR", "S": "UC", "C": "NLH", "I": "NLH", "A": "NLH"}
_ATTACK = {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2}
_COMPLEXITY = {"L": 0.77, "H": 0.44}
_USER = {"N": 0.85, "R": 0.62}
_IMPACT = {"N": 0.0, "L": 0.22, "H": 0.56}


def severity_of(word: str) -> Severity:
    """ "moderate" -> "medium"; what no list says in these words is unknown. Debian marks a guess by stars: "low**"."""
    return _WORDS.get(word.strip().rstrip("*").lower(), "unknown")


def worst(severities: list[Severity]) -> Severity:
    return max(severities, key=ORDER.index, default="unknown")


def cvss_score(vector: str) -> float | None:
    """The base score of a CVSS 3.0 or 3.1 vector; None for anything else, also for one that is not well formed."""
    head, _, rest = vector.partition("/")
    if head not in ("CVSS:3.0", "CVSS:3.1") or len(vector) > 400:
        return None
    metrics = dict(part.split(":", 1) for part in rest.split("/") if ":" in part)
    if any(len(metrics.get(key, "")) != 1 or metrics[key] not in values for key, values in _VECTOR.items()):
        return None
    changed = metrics["S"] == "C"
    rights = {"N": 0.85, "L": 0.68 if changed else 0.62, "H": 0.5 if changed else 0.27}[metrics["PR"]]
    base = 1 - math.prod(1 - _IMPACT[metrics[key]] for key in "CIA")
    impact = 7.52 * (base - 0.029) - 3.25 * (base - 0.02) ** 15 if changed else 6.42 * base
    exploit = 8.22 * _ATTACK[metrics["AV"]] * _COMPLEXITY[metrics["AC"]] * rights * _USER[metrics["UI"]]
    if impact <= 0:
        return 0.0
    total = min((1.08 if changed else 1.0) * (impact + exploit), 10.0)
    return math.ceil(round(total * 100_000) / 10_000) / 10


def severity_of_score(score: float) -> Severity:
    """Source: CVSS v3.1 specification, section 5."""
    if score >= 9:
        return "critical"
    if score >= 7:
        return "high"
    if score >= 4:
        return "medium"
    return "low" if score > 0 else "negligible"
