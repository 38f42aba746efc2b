"""The bricks that checks are made of: each raises OutOfBounds with the field's name and the rule. No document is
known here.
"""

from __future__ import annotations

import base64
import ipaddress
import math
import re
from collections.abc import Collection
from typing import Any

from skerry.core.records import MachineSlot
from skerry.trust.identity import is_key
from skerry.trust.refusals import OutOfBounds

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")  # never a dash first: names become arguments and host names
VALUE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
HASH = re.compile(r"[0-9a-f]{64}")
SUBJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@+-]{0,127}")  # of an alert
MEMORY_MAX_BYTES = 1 << 50
CPUS_MAX = 4096.0
PRIVATE = [ipaddress.ip_network(n) for n in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")]
MACHINES_MAX = 250  # of one pool
NUMBER_MAX = 2**53  # what every JSON reader keeps exactly


def need(holds: bool, field: str, rule: str) -> None:
    if not holds:
        raise OutOfBounds("a record was not accepted", f"{field}: {rule}", "mend it and sign it again")


def count(values: Collection[Any], field: str, most: int, least: int = 0) -> None:
    need(least <= len(values) <= most, field, f"{least} to {most} are allowed")


def within(value: float, field: str, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):  # the words are only made for what is refused
        need(False, field, f"must be {low:g} to {high:g}")


def matches(text: str, field: str, pattern: re.Pattern[str], rule: str) -> None:
    need(pattern.fullmatch(text) is not None, field, rule)


def name(text: str, field: str) -> None:
    matches(text, field, NAME, "a name has 1 to 63 of a-z, 0-9 and -, no - first")


def key(text: str, field: str) -> None:
    need(is_key(text), field, "a key is 64 lower-case hex digits")


def keys(values: Collection[str], field: str, most: int, least: int = 0) -> None:
    count(values, field, most, least)
    for value in values:
        key(value, field)
    need(len(set(values)) == len(values), field, "the same key is named twice")


def digest_or_none(text: str, field: str) -> None:
    need(not text or HASH.fullmatch(text) is not None, field, "a hash is 64 lower-case hex digits, or nothing")


def base64_of(text: str, field: str, least: int, most: int) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = b""
    need(least <= len(data) <= most, field, f"must be base64 of {least} to {most} bytes")
    return data


def node_path(text: str, field: str) -> None:
    head, _, rest = text.partition("/")
    need(head == "node", field, "must be node/<name> or node/<pool>/<index>")
    if "/" in rest:
        machine_slot(rest, field)
    else:
        name(rest, field)


def machine_slot(text: str, field: str) -> MachineSlot:
    """`<pool>/<index>`, index below MACHINES_MAX and written plainly."""
    slot = MachineSlot.read(text)
    need(slot is not None and slot.index < MACHINES_MAX, field, f"must be <pool>/<index>, below {MACHINES_MAX}")
    assert slot is not None
    name(slot.pool, field)
    return slot


def image(text: str, field: str) -> None:
    matches(text, field, DIGEST, "an image is named by its digest, sha256:<64 hex digits>, never by a tag")


def subnet(text: str) -> ipaddress.IPv4Network:
    """A private IPv4 network, written as one."""
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        network = None
    need(
        network is not None
        and str(network) == text
        and 16 <= network.prefixlen <= 30
        and any(network.subnet_of(private) for private in PRIVATE),  # type: ignore[arg-type]
        "subnet",
        "must be a private IPv4 network such as 10.77.3.0/24",
    )
    assert network is not None
    return network
