"""What a document of kind `alert` may say. What it takes to reach a receiver is for fixed hosts and operators alone."""

from __future__ import annotations

import re

from skerry.core.alerting.rules import RULES
from skerry.core.intent import Alert
from skerry.core.records import MachineSlot
from skerry.trust.bounds import NUMBER_MAX, SUBJECT, base64_of, count, matches, name, need, node_path, within
from skerry.trust.identity import is_key

MEASURES_MAX = 32
METRIC = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]{0,199}")
OF = re.compile(r"(node/)?|[a-z0-9][a-z0-9./-]{0,199}")
AT = re.compile(r"[^\x00-\x1f\x7f]{0,255}")


def alert(body: Alert) -> None:
    if body.receiver is not None:
        matches(body.receiver.at, "at", AT, "at most 255 characters, none of them a control character")
    count(body.rules, "rules", 64)
    for rule, setting in body.rules.items():
        name(rule, "rules")
        for field in ("limit", "for_s", "clear_s"):
            within(getattr(setting, field), f"{field} of {rule}", -1, NUMBER_MAX)
    count(body.measures, "measures", MEASURES_MAX)
    for rule, measure in body.measures.items():
        name(rule, "measures")
        need(rule not in RULES, "measures", f"{rule} is the name of a built-in rule")
        matches(
            measure.metric, f"metric of {rule}", METRIC, "a figure's name has letters, digits, _ and :, at most 200"
        )
        matches(
            measure.of, f"of of {rule}", OF, "must be an app, a service, a slot, a host's path, or node/ for all hosts"
        )
        within(measure.limit, f"limit of {rule}", -NUMBER_MAX, NUMBER_MAX)
        for field in ("for_s", "clear_s"):
            within(getattr(measure, field), f"{field} of {rule}", 0, NUMBER_MAX)
    count(body.silences, "silences", 100)
    for silence in body.silences:
        within(silence.until, "until", 0, NUMBER_MAX)
        if silence.rule:
            name(silence.rule, "silences")
        need(not silence.subject or SUBJECT.fullmatch(silence.subject) is not None, "silences", "is no subject")
    count(body.boxes, "boxes", 1000)
    for holder, box in body.boxes.items():
        need(is_key(holder) or holder.startswith("node/"), "boxes", "a box is for a node's path or a key")
        if holder.startswith("node/"):
            node_path(holder, "boxes")
            need(MachineSlot.of_path(holder) is None, "boxes", "a rented machine never gets what reaches a receiver")
        base64_of(box, f"boxes of {holder}", 49, 8192)
