"""What can be rented: sizes with prices, regions, images. Prices are made up where the description names none."""

from __future__ import annotations

from typing import Any

import msgspec


class Row(msgspec.Struct, frozen=True):
    """A size. `regions`: where it is offered."""

    slug: str
    vcpus: int
    memory: int  # MiB
    disk: int  # GiB
    hourly: float
    monthly: float
    regions: tuple[str, ...] = ("ams3", "fra1", "nyc3")
    available: bool = True

    def shown(self) -> dict[str, Any]:
        return {
            "slug": self.slug,
            "memory": self.memory,
            "vcpus": self.vcpus,
            "disk": self.disk,
            "transfer": float(self.vcpus),
            "price_monthly": self.monthly,
            "price_hourly": self.hourly,
            "regions": list(self.regions) if self.available else [],
            "available": self.available,
            "description": "Basic",
            "disk_info": [{"type": "local", "size": {"amount": self.disk, "unit": "gib"}}],
        }


SIZES = (
    Row("s-1vcpu-1gb", 1, 1024, 25, 0.00744, 5.0),
    Row("s-1vcpu-2gb", 1, 2048, 50, 0.01786, 12.0),
    Row("s-2vcpu-2gb", 2, 2048, 60, 0.02679, 18.0, ("ams3", "fra1")),
    Row("s-2vcpu-4gb", 2, 4096, 80, 0.03571, 24.0),
    Row("s-4vcpu-8gb", 4, 8192, 160, 0.07143, 48.0),
    Row("s-8vcpu-32gb", 8, 32768, 320, 0.28571, 192.0, available=False),
)
REGIONS = {"ams3": "Amsterdam 3", "fra1": "Frankfurt 1", "nyc3": "New York 3"}
IMAGES = {
    "debian-12-x64": (129211873, "Debian", "12 x64"),
    "ubuntu-24-04-x64": (155133621, "Ubuntu", "24.04 (LTS) x64"),
}


def size(slug: str) -> Row | None:
    return next((row for row in SIZES if row.slug == slug), None)


def region(slug: str) -> dict[str, Any]:
    return {
        "name": REGIONS[slug],
        "slug": slug,
        "features": ["metadata", "storage"],
        "available": True,
        "sizes": [row.slug for row in SIZES if row.available and slug in row.regions],
    }


def image(slug: str) -> dict[str, Any]:
    number, distribution, name = IMAGES[slug]
    return {
        "id": number,
        "name": name,
        "distribution": distribution,
        "slug": slug,
        "public": True,
        "regions": list(REGIONS),
        "created_at": "2026-01-05T12:00:00Z",
        "min_disk_size": 10,
        "type": "base",
        "size_gigabytes": 2.5,
        "tags": [],
        "status": "available",
    }


def image_of(named: object) -> str | None:
    """The slug of what a request names, by slug or by number."""
    return next((slug for slug, row in IMAGES.items() if named in (slug, row[0])), None)
