"""Which nodes a service may run on, by what operators signed about them: labels, zone, name. Nothing that a node says counts."""

from __future__ import annotations

from collections.abc import Iterable

from skerry.core.intent import Node


def name_of(path: str) -> str:
    """ "vps-1" of "node/vps-1"."""
    return path.removeprefix("node/")


def unmet(constraints: Iterable[str], path: str, node: Node) -> str:
    """The first constraint that this node does not satisfy, "" if there is none.

    Forms: `label.<key>==value`, `zone==value`, `node==name`, each also with `!=`. What can't be read is never satisfied: a
    newer agent may know it, and running in the wrong place is worse than waiting.
    """
    for constraint in constraints:
        wanted = "==" in constraint
        left, sign, value = constraint.partition("==" if wanted else "!=")
        found = _value(left.strip(), path, node) if sign else None
        if found is None or (found == value.strip()) is not wanted:
            return constraint
    return ""


def _value(left: str, path: str, node: Node) -> str | None:
    if left.startswith("label."):
        return node.labels.get(left.removeprefix("label."), "")
    return {"zone": node.zone, "node": name_of(path)}.get(left)
