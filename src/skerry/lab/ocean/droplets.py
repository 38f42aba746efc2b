"""One droplet and its actions as the API shows them at a moment. Times are unix seconds; nothing here acts."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from skerry.lab.ocean import catalog

CENT_USD = 0.01
LEAST_S = 60.0


class Pace(msgspec.Struct, frozen=True):
    """How long things take. `lists_s`, `tags_s`: until a new droplet is in lists, and in lists by tag."""

    boot_s: float = 40.0
    lists_s: float = 2.0
    tags_s: float = 5.0
    gone_s: float = 3.0  # a destroyed one is still shown for so long
    action_s: float = 5.0

    def times(self, factor: float) -> Pace:
        return Pace(*(getattr(self, field) * factor for field in self.__struct_fields__))


class Action(msgspec.Struct, kw_only=True):
    id: int
    droplet: int
    region: str
    type: str
    started_s: float
    ends_s: float  # inf: not known yet
    errored: bool = False

    def state(self, now: float) -> str:
        if now < self.ends_s:
            return "in-progress"
        return "errored" if self.errored else "completed"

    def shown(self, now: float) -> dict[str, Any]:
        return {
            "id": self.id,
            "status": self.state(now),
            "type": self.type,
            "started_at": stamp(self.started_s),
            "completed_at": stamp(self.ends_s) if now >= self.ends_s else None,
            "resource_id": self.droplet,
            "resource_type": "droplet",
            "region": catalog.region(self.region),
            "region_slug": self.region,
        }


class Droplet(msgspec.Struct, kw_only=True):
    """`active_s`, `gone_s`: inf while not known. `power`: what it is once it is active."""

    id: int
    name: str
    region: str
    size: str
    image: str
    user_data: str
    tags: list[str]
    created_s: float
    active_s: float
    lists_s: float
    tags_s: float
    address: str = ""
    power: Literal["active", "off"] = "active"
    destroyed_s: float = math.inf
    gone_s: float = math.inf
    vanishes: bool = False  # 202 was said, and then it is not there
    clock_s: float = 0.0  # how wrong the provider's clock was in `created_at`
    vpc: str = ""
    spent_usd: float = 0.0  # at the sizes that it had before
    since_s: float = 0.0  # from when the present size counts

    def there(self, now: float) -> bool:
        return now < self.gone_s and not self.vanishes

    def listed(self, now: float, tag: str = "") -> bool:
        return self.there(now) and now >= (self.tags_s if tag else self.lists_s)

    def state(self, now: float) -> str:
        return "new" if now < self.active_s else self.power

    def shown(self, now: float, busy: bool) -> dict[str, Any]:
        row = catalog.size(self.size)
        assert row
        v4 = []
        if now >= self.active_s and self.address:
            v4 = [{"ip_address": self.address, "netmask": "255.255.255.0", "gateway": "", "type": "public"}]
        return {
            "id": self.id,
            "name": self.name,
            "memory": row.memory,
            "vcpus": row.vcpus,
            "disk": row.disk,
            "disk_info": row.shown()["disk_info"],
            "locked": busy or now < self.active_s or now >= self.destroyed_s,
            "status": self.state(now),
            "kernel": None,
            "created_at": stamp(self.created_s + self.clock_s),
            "features": [],
            "backup_ids": [],
            "next_backup_window": None,
            "snapshot_ids": [],
            "image": catalog.image(self.image),
            "volume_ids": [],
            "size": row.shown(),
            "size_slug": self.size,
            "networks": {"v4": v4, "v6": []},
            "region": catalog.region(self.region),
            "tags": self.tags if now >= self.tags_s else [],
            "vpc_uuid": self.vpc,
        }

    def cost_usd(self, now: float) -> float:
        """By the second, from the order to its end, off or not; at least 60 s or a cent. What never came costs nothing."""
        if self.vanishes:
            return 0.0
        end = min(now, self.destroyed_s)
        total = self.spent_usd + self._at_this_size(max(end, self.created_s + LEAST_S))
        return max(total, CENT_USD)

    def resized(self, size: str, now: float) -> None:
        self.spent_usd += self._at_this_size(now)
        self.since_s, self.size = now, size

    def _at_this_size(self, end: float) -> float:
        row = catalog.size(self.size)
        assert row
        return row.hourly / 3600 * max(0.0, end - max(self.since_s, self.created_s))


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
