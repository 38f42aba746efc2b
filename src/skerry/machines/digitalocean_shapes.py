"""What of DigitalOcean's answers is read, strictly and with bounds; what is there besides is left alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

from skerry.machines.contract import Server, Size

Id = Annotated[int, msgspec.Meta(ge=1, le=(1 << 53) - 1)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Text = Annotated[str, msgspec.Meta(max_length=255)]
Amount = Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
Price = Annotated[float, msgspec.Meta(ge=0, le=1e6)]
Texts = Annotated[list[Text], msgspec.Meta(max_length=1000)]


class V4(msgspec.Struct, frozen=True):
    ip_address: Annotated[str, msgspec.Meta(pattern=r"^\d{1,3}(\.\d{1,3}){3}$")]
    type: Literal["public", "private"]


class Networks(msgspec.Struct, frozen=True):
    v4: Annotated[list[V4], msgspec.Meta(max_length=32)] = []


class Slug(msgspec.Struct, frozen=True):
    slug: Name


class Paid(msgspec.Struct, frozen=True):
    price_hourly: Price


class Droplet(msgspec.Struct, frozen=True):
    id: Id
    name: Name
    status: Literal["new", "active", "off", "archive"]
    locked: bool
    created_at: datetime
    networks: Networks
    region: Slug
    size_slug: Name
    size: Paid
    tags: Texts

    def server(self) -> Server:
        v4 = sorted(self.networks.v4, key=lambda network: network.type != "public")
        return Server(
            id=str(self.id),
            name=self.name,
            state="off" if self.status == "archive" else self.status,
            addresses=tuple(network.ip_address for network in v4),
            tags=tuple(
                tag.lower() for tag in self.tags
            ),  # it shows the first spelling that anybody gave, and compares without
            size=self.size_slug,
            region=self.region.slug,
            price_usd_hour=self.size.price_hourly,
            created_s=(self.created_at if self.created_at.tzinfo else self.created_at.replace(tzinfo=UTC)).timestamp(),
            busy=self.locked,
        )


class SizeRow(msgspec.Struct, frozen=True):
    slug: Name
    vcpus: Amount
    memory: Amount  # MiB
    disk: Amount  # GiB
    price_hourly: Price
    price_monthly: Price
    regions: Texts
    available: bool

    def size(self) -> Size:
        return Size(
            name=self.slug,
            cpus=float(self.vcpus),
            memory_bytes=self.memory << 20,
            disk_bytes=self.disk << 30,
            price_usd_hour=self.price_hourly,
            price_usd_month=self.price_monthly,
            regions=tuple(self.regions),
        )


class Account(msgspec.Struct, frozen=True):
    droplet_limit: Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]
    status: Text
    status_message: Annotated[str, msgspec.Meta(max_length=10_000)] = ""


class Key(msgspec.Struct, frozen=True):
    id: Id
    fingerprint: Text


class Action(msgspec.Struct, frozen=True):
    id: Id
    status: Literal["in-progress", "completed", "errored"]


class Target(msgspec.Struct, frozen=True):
    addresses: Texts = []


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    protocol: Text
    ports: Text
    sources: Target | None = None
    destinations: Target | None = None


class Firewall(msgspec.Struct, frozen=True):
    id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F-]{36}$")]
    name: Text
    inbound_rules: list[Rule] | None = None
    outbound_rules: list[Rule] | None = None
    tags: Texts | None = None


class Meta(msgspec.Struct, frozen=True):
    total: Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]


class Pages(msgspec.Struct, frozen=True):
    next: str = ""


class Links(msgspec.Struct, frozen=True):
    pages: Pages = Pages()


class Page(msgspec.Struct, frozen=True):
    meta: Meta
    links: Links = Links()


class DropletPage(Page, frozen=True, kw_only=True):
    droplets: Annotated[list[Droplet], msgspec.Meta(max_length=200)]


class SizePage(Page, frozen=True, kw_only=True):
    sizes: Annotated[list[SizeRow], msgspec.Meta(max_length=200)]


class RegionPage(Page, frozen=True, kw_only=True):
    regions: Annotated[list[Slug], msgspec.Meta(max_length=200)]


class KeyPage(Page, frozen=True, kw_only=True):
    ssh_keys: Annotated[list[Key], msgspec.Meta(max_length=200)]


class FirewallPage(Page, frozen=True, kw_only=True):
    firewalls: Annotated[list[Firewall], msgspec.Meta(max_length=200)]


class OfDroplet(msgspec.Struct, frozen=True):
    droplet: Droplet


class OfAccount(msgspec.Struct, frozen=True):
    account: Account


class OfAction(msgspec.Struct, frozen=True):
    action: Action
