"""`x-skerry: allow`: who of other apps may reach a service, and what the lint may find in its image."""

from __future__ import annotations

from skerry.client.compose import values
from skerry.client.compose.section import Value
from skerry.core.intent import ALLOWABLE


def allowed_of(value: Value | None) -> tuple[dict[str, str], tuple[str, ...]]:
    """(kind of what the lint may find -> why, who may reach it). A mapping holds kinds; a list holds who, and such mappings."""
    kinds: dict[str, str] = {}
    callers: dict[str, None] = {}
    if value is None:
        return kinds, ()
    for item in [value] if value.is_mapping else value.one_or_many():
        if item.is_mapping:
            kinds |= _kinds(item)
        elif (text := item.text()) is None:
            pass
        elif text in ALLOWABLE:
            item.mistake("each kind needs its reason", f"write allow: {{{text}: why it is needed}}")
        elif (caller := item.read(_caller)) is not None:
            callers[caller] = None
    return kinds, tuple(callers)


def _caller(text: str) -> str:
    """An app or a service of one. Raises ValueError."""
    parts = text.split(".")
    if len(parts) > 2 or not all(values.NAME.fullmatch(part) for part in parts):
        raise ValueError(
            f"{text[:80]!r} is neither an app nor a service of one: write app.service, or the app's name alone"
        )
    return text


def _kinds(value: Value) -> dict[str, str]:
    """A kind without a reason is a mistake: whoever reads `ps` shall know it."""
    allowed: dict[str, str] = {}
    for kind, reason in value.pairs():
        said = "" if reason.is_null else reason.text()
        if kind not in ALLOWABLE:
            reason.mistake("is no kind of what the lint finds", f"known: {', '.join(ALLOWABLE)}")
        elif said is not None and not said.strip():
            reason.mistake("has no reason", "say in a line why it is needed")
        elif said is not None:
            allowed[kind] = said.strip()
    return allowed
