"""What a pool may say, and what a keeper may say of the pool's machines: nothing that an operator has not signed before."""

from __future__ import annotations

import hashlib
import ipaddress
import re

from skerry.core.intent import MANUAL, Node, Offer, Pool
from skerry.core.records import MachineSlot
from skerry.trust.bounds import (
    CPUS_MAX,
    MACHINES_MAX,
    MEMORY_MAX_BYTES,
    VALUE,
    base64_of,
    count,
    digest_or_none,
    key,
    matches,
    name,
    need,
    node_path,
    subnet,
    within,
)
from skerry.trust.identity import is_key

PROVIDER = re.compile(r"[a-z][a-z0-9-]{0,31}")
WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/@+-]{0,127}")  # a size, a region, an image, as providers write them
URL = re.compile(r"https?://[!-~]{1,500}|[a-z0-9+]{1,32}:(///|//)[!-~]{0,500}")
OPTION = re.compile(r"[^\x00-\x1f\x7f]{0,1000}")
USD_MAX = 1_000_000.0
MONTH_S = 31 * 86_400.0


def pool(body: Pool) -> None:
    count(body.others, "others", 7)
    names = [offer.name for offer in body.others]
    need(len(set(names)) == len(names), "others", "each needs a name of its own")
    need(
        not body.others or all(offer.provider != MANUAL for offer in body.offers().values()),
        "others",
        "a person's machines are a pool of their own",
    )
    need(not (body.others and body.size), "size", "is one provider's word: with others, say what a machine needs")
    for offer in body.others:
        matches(offer.name, "others.name", PROVIDER, "small letters, digits and dashes, at most 32")
    for offer in body.offers().values():
        _offer(offer)
    within(body.max, "max", 0, MACHINES_MAX)
    within(body.min, "min", 0, body.max)
    need(not body.size or WORD.fullmatch(body.size) is not None, "size", "is no such name")
    count(body.regions, "regions", 16)
    for region in body.regions:
        matches(region, "regions", VALUE, "at most 63 letters, digits, - _ .")
    within(body.cpus, "cpus", 0, CPUS_MAX)
    within(body.memory_bytes, "memory_bytes", 0, MEMORY_MAX_BYTES)
    within(body.price_usd_month, "price_usd_month", 0, USD_MAX)
    within(body.spend_usd_month, "spend_usd_month", 0, USD_MAX)
    within(body.creates_per_hour, "creates_per_hour", 1, 1000)
    for field in ("join_s", "down_s", "drain_s", "age_s", "grace_s"):
        within(getattr(body, field), field, 1, MONTH_S)
    within(body.weight, "weight", 0, 10_000)
    count(body.labels, "labels", 64)
    for label, value in body.labels.items():
        matches(label, "labels", VALUE, "at most 63 letters, digits, - _ .")
        need(not value or VALUE.fullmatch(value) is not None, "labels", "at most 63 letters, digits, - _ .")
    network = ipaddress.IPv4Network(subnet(body.network))
    need(
        network.prefixlen <= 24 and 1 << (24 - network.prefixlen) >= body.max,
        "network",
        "must hold a /24 for each machine",
    )
    digest_or_none(body.bundle, "bundle")
    count(body.keepers, "keepers", 16)
    for keeper, of in body.keepers.items():
        node_path(keeper, "keepers")
        need(MachineSlot.of_path(keeper) is None, "keepers", "a machine of a pool keeps no pool")
        key(of, "keepers")
    count(body.tokens, "tokens", 64)
    for holder, box in body.tokens.items():
        if not is_key(holder):
            node_path(holder, "tokens")
        base64_of(box, f"tokens of {holder}", 49, 4096)


def _offer(body: Offer) -> None:
    matches(body.provider, "provider", PROVIDER, "is no provider's name")
    need(not body.image or WORD.fullmatch(body.image) is not None, "image", "is no such name")
    need(not body.endpoint or URL.fullmatch(body.endpoint) is not None, "endpoint", "must be a URL")
    count(body.options, "options", 32)
    for option, value in body.options.items():
        matches(option, "options", VALUE, "at most 63 letters, digits, - _ .")
        matches(value, f"options.{option}", OPTION, "one line of at most 1,000 characters")


def machine(path: str, node: Node, of: Pool, cloud: str) -> None:
    """An enrolment of a pool's machine, whoever signed it: its place in all orders is the pool's and its path's, not the signer's."""
    slot = MachineSlot.of_path(path)
    assert slot is not None
    name(slot.pool, "path")
    if node.state == "expelled":
        return
    need(not of.deleted and slot.index < of.max, "path", f"pool {slot.pool} has {of.max} machines at most")
    need(node.salt == salt_of(cloud, slot), "salt", "is the hash of cloud and path for a pool's machine")
    need(node.subnet == subnet_of(of, slot.index), "subnet", "is the pool's network's own for this machine")
    need(node.weight == of.weight, "weight", "must be the pool's")
    need(node.labels == of.labels, "labels", "must be the pool's")
    need(node.zone in (*of.regions, slot.pool), "zone", "must be one of the pool's regions, or the pool")


def salt_of(cloud: str, slot: MachineSlot) -> str:
    """A machine's place in all orders is settled before anybody rents it: no keeper can grind one."""
    return hashlib.sha256(f"{cloud}\0{slot}".encode()).hexdigest()[:16]


def subnet_of(pool: Pool, index: int) -> str:
    """The index-th /24 of the pool's network."""
    base = int(ipaddress.IPv4Network(pool.network).network_address)
    return f"{ipaddress.IPv4Address(base + (index << 8))}/24"
