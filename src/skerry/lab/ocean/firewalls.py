"""Cloud firewalls, kept and shown; the lab's network does not enforce them."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from skerry.lab.ocean import orders
from skerry.lab.ocean.droplets import stamp
from skerry.lab.ocean.orders import Refused, unprocessable


class Rule(msgspec.Struct, kw_only=True):
    protocol: str
    ports: str
    sources: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    destinations: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class Firewall(msgspec.Struct, kw_only=True):
    name: str
    inbound_rules: list[Rule] | None = None
    outbound_rules: list[Rule] | None = None
    droplet_ids: list[int] | None = None
    tags: list[orders.Tag] | None = None


class Firewalls:
    def __init__(self) -> None:
        self._all: dict[str, dict[str, Any]] = {}

    def rows(self) -> list[dict[str, Any]]:
        return list(self._all.values())

    def add(self, body: bytes, tags: dict[str, str], now: float) -> dict[str, Any]:
        wanted = self._read(body, tags)
        if any(each["name"] == wanted.name for each in self._all.values()):
            raise Refused(409, "conflict", "duplicate name")
        return self._put(str(uuid.uuid4()), wanted, now)

    def change(self, id: str, body: bytes, tags: dict[str, str], now: float) -> dict[str, Any]:
        self._find(id)
        return self._put(id, self._read(body, tags), now)

    def remove(self, id: str) -> None:
        self._find(id)
        del self._all[id]

    def _find(self, id: str) -> None:
        if id not in self._all:
            raise Refused(404, "not_found", "The resource you were accessing could not be found.")

    def _read(self, body: bytes, tags: dict[str, str]) -> Firewall:
        wanted = orders.read(body, Firewall)
        if not wanted.inbound_rules and not wanted.outbound_rules:
            raise unprocessable("must have at least one rule")
        unknown = [tag for tag in wanted.tags or () if tag.lower() not in tags]
        if unknown:  # a firewall takes existing tags only
            raise unprocessable(f"tag {unknown[0]} does not exist")
        return wanted

    def _put(self, id: str, wanted: Firewall, now: float) -> dict[str, Any]:
        shown = msgspec.to_builtins(wanted)
        made = {"id": id, "status": "succeeded", "created_at": stamp(now), "pending_changes": [], **shown}
        self._all[id] = {**made, "droplet_ids": wanted.droplet_ids or [], "tags": wanted.tags or []}
        return self._all[id]
