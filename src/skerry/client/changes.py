"""What differs between two bodies, field by field, for people who are about to sign."""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.core.intent import Body


def changed_fields(old: Body | None, new: Body) -> list[tuple[str, Any, Any]]:
    """(field, old, new) of every difference; a field that isn't there is None, one that was left at its default is that."""
    before = flat(whole(old)) if old is not None else {}
    after = flat(whole(new) if old is not None else msgspec.to_builtins(new))
    return [
        (field, before.get(field), after.get(field))
        for field in sorted(before.keys() | after.keys())
        if before.get(field) != after.get(field)
    ]


def whole(value: Any) -> Any:
    """As plain dicts and lists, with the fields that are at their defaults, too."""
    if isinstance(value, msgspec.Struct):
        return {field: whole(part) for field, part in msgspec.structs.asdict(value).items()}
    if isinstance(value, dict):
        return {key: whole(part) for key, part in value.items()}
    return [whole(part) for part in value] if isinstance(value, tuple) else value


def flat(value: Any, at: str = "") -> dict[str, Any]:
    """A tree as one level: "services.web.ports[0].target" -> value."""
    if isinstance(value, dict):
        return {k: v for key, inner in value.items() for k, v in flat(inner, f"{at}.{key}" if at else str(key)).items()}
    if isinstance(value, (list, tuple)) and any(isinstance(v, dict) for v in value):
        return {k: v for i, inner in enumerate(value) for k, v in flat(inner, f"{at}[{i}]").items()}
    return {at: value}
