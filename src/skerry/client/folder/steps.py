"""One step of a plan. Shapes only."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from skerry.errors import BadInput

Kind = Literal["host", "role", "pool", "tools", "receiver", "rule", "app"]
# Hosts first: without one nobody keeps what is signed, and receivers are sealed to them. Rules look at figures of apps.
ORDER: tuple[Kind, ...] = ("host", "role", "pool", "tools", "receiver", "app", "rule")


class CantBePlanned(BadInput):
    """The folder asks for what can't be done by a change."""

    code = "cannot-be-planned"


class Field(msgspec.Struct, frozen=True):
    """`old` None: it isn't there yet; `new` None: it goes."""

    field: str
    old: Any
    new: Any


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """`fields`: what a change changes; empty for what is added or removed whole."""

    action: Literal["add", "change", "remove"]
    kind: Kind
    name: str
    fields: tuple[Field, ...] = ()

    @property
    def path(self) -> str:
        return f"{self.kind}/{self.name}"
