"""What a fact may say: its key's form, its figures, and nothing about what belongs to others.

Words (`reason`, `why`, `detail`) have no rule but the fact's 4 KiB: whoever shows them makes them safe for a terminal.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

from skerry.core.alerting.rules import RULES
from skerry.core.facts import (
    Alarm,
    Ask,
    Audit,
    Claim,
    FactBody,
    Grant,
    Home,
    Load,
    Lost,
    Machine,
    Promise,
    Rent,
    Sent,
    SlotState,
    Up,
    Verdict,
    Votes,
    Wake,
    Wish,
)
from skerry.core.intent import Node
from skerry.core.records import Fact, MachineSlot, Slot
from skerry.trust.bounds import (
    CPUS_MAX,
    HASH,
    MEMORY_MAX_BYTES,
    NUMBER_MAX,
    SUBJECT,
    count,
    image,
    machine_slot,
    matches,
    name,
    need,
    node_path,
    within,
)

OF_OTHERS = ("restart-loop", "budget", "unknown-machine")  # rules whose subject is not the node that sees it
MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")
OWN_LEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}")
APP_LEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
MACHINE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")


def fact(record: Fact, author: Node) -> None:
    """A fact within what this author may say about itself. `author`: its enrolment."""
    _FACT_KEYS[record.kind](record.key)
    if record.kind in ("alarm", "sent"):
        _alert(record)
    if record.body is not None:
        _fact_body(record.body, author)


def _slot(text: str) -> None:
    try:
        slot = Slot.parse(text)
    except ValueError:
        need(False, "key", "must be a slot: app.service/index")
        return
    name(slot.app, "key")
    name(slot.service, "key")
    within(slot.index, "key", 0, 999)
    need(str(slot) == text, "key", "must be a slot: app.service/index")


def _nothing(text: str) -> None:
    need(not text, "key", "must be empty")


def _image(text: str) -> None:
    image(text, "key")


def _slot_at_node(text: str) -> None:
    slot, _, node = text.rpartition("@")
    _slot(slot)
    node_path(node, "key")


def _service(text: str) -> None:
    app, _, service = text.partition(".")
    name(app, "key")
    name(service, "key")


def _node_path(text: str) -> None:
    node_path(text, "key")


def _machine_slot(text: str) -> None:
    machine_slot(text, "key")


def _lease(text: str, field: str = "key") -> None:
    """The name of an exclusive slot, or of a lease of an app's own: app/NAME."""
    if Slot.read(text) is not None:
        _slot(text)
        return
    app, _, own = text.partition("/")
    name(app, field)
    matches(own, field, OWN_LEASE, "must be a slot, or app/NAME")


def _asker(text: str) -> None:
    group, _, node = text.rpartition("@")
    _group(group)
    node_path(node, "key")


def _group(text: str) -> None:
    """Leases are asked for together; a group of its own is what an app's containers ask for."""
    if text:
        name(text, "key")


def _rule_and_subject(text: str) -> None:
    rule, _, subject = text.partition(":")
    name(rule, "key")
    matches(subject, "key", SUBJECT, "must be rule:subject")


def _alert(record: Fact) -> None:
    """A node raises alarm about itself, its slots and its pools; alerts are sent by fixed nodes."""
    rule, _, subject = record.key.partition(":")
    if record.kind == "sent":
        need(MachineSlot.of_path(record.node) is None, "key", "alerts are sent by fixed hosts")
    elif rule in RULES and rule not in OF_OTHERS:  # whose slot or pool that is, core asks its facts
        need(f"node/{subject}" == record.node, "key", "a node raises alarm about itself alone")
    elif rule not in RULES and f"node/{subject}" != record.node:  # of operators' own, over figures
        _slot(subject)


_FACT_KEYS: dict[str, Callable[[str], None]] = {
    "up": _nothing, "object": _image, "claim": _slot, "decline": _slot, "slot": _slot, "home": _slot, "saw": _slot_at_node,
    "lost": _node_path, "verdict": _service, "load": _service, "wish": _service, "wake": _service,
    "machine": _machine_slot, "rent": lambda text: name(text, "key"), "audit": _nothing,
    "ask": _group, "grant": _lease, "promise": _asker, "votes": lambda text: name(text, "key"),
    "alarm": _rule_and_subject, "sent": _rule_and_subject,
}  # fmt: skip


def _fact_body(body: FactBody, author: Node) -> None:
    if isinstance(body, Up):
        for field in ("root", "policy", "uptime_s", "memory_bytes", "cpus", "clock"):
            within(getattr(body, field), field, 0, NUMBER_MAX)
        within(body.cpus, "cpus", 0, CPUS_MAX)
        within(body.memory_bytes, "memory_bytes", 0, MEMORY_MAX_BYTES)
        for field in ("free_cpus", "free_memory_bytes"):  # may be below zero: more is reserved than there is
            within(getattr(body, field), field, -(NUMBER_MAX), NUMBER_MAX)
    elif isinstance(body, SlotState):
        if body.image or body.state != "exited":  # a slot that only left its data here names none
            image(body.image, "image")
        if body.address:  # else a captured node could draw other hosts' traffic, or send it to strangers
            need(_is_in(body.address, author.subnet), "address", "must be in the node's own subnet")
        for field in ("restarts", "since", "fencing"):
            within(getattr(body, field), field, 0, NUMBER_MAX)
    elif isinstance(body, Claim):
        image(body.image, "image")
        within(body.rank, "rank", 0, 1_000_000)
    elif isinstance(body, Home):
        node_path(body.node, "node")
    elif isinstance(body, Lost):
        within(body.boot, "boot", 0, NUMBER_MAX)
        within(body.beat, "beat", 0, NUMBER_MAX)
    elif isinstance(body, Verdict):
        for node in body.evidence:
            node_path(node, "key")
    elif isinstance(body, Load):
        within(body.step_s, "step_s", 1, 86_400)
        within(body.step, "step", 0, NUMBER_MAX)
        for field in ("cpu", "connections", "fresh", "replicas"):
            ring = getattr(body, field)
            need(len(ring) == len(body.cpu), field, "all rings have one length")
            for figure in ring:
                within(figure, field, 0, NUMBER_MAX)
        need(len(body.metric) in (0, len(body.cpu)), "metric", "all rings have one length")
        for figure in body.metric:
            within(figure, "metric", 0, NUMBER_MAX)
        need(len(body.metric_of) <= 200, "metric_of", "at most 200 characters")
        count(body.cpu, "cpu", 60)
    elif isinstance(body, Wish):
        within(body.replicas, "replicas", 0, 1000)
        within(body.step, "step", 0, NUMBER_MAX)
    elif isinstance(body, Wake):
        within(body.since, "since", 0, NUMBER_MAX)
    elif isinstance(body, Machine):
        for field in ("price_usd_hour", "token_until", "created", "since", "tries"):
            within(getattr(body, field), field, 0, NUMBER_MAX)
        need(not body.token or HASH.fullmatch(body.token) is not None, "token", "is a hash of 64 lower-case hex digits")
        matches(body.id or "0", "id", MACHINE_ID, "must be a provider's id of a machine")
        matches(body.offer or "0", "offer", MACHINE_ID, "must be the name of a pool's offer")
    elif isinstance(body, Rent):
        _rent(body)
    elif isinstance(body, Ask | Promise):
        within(body.life, "life", 0, NUMBER_MAX)
        within(body.turn, "turn", 0, NUMBER_MAX)
        for field in ("leases", "freed") if isinstance(body, Ask) else ("leases",):
            count(getattr(body, field), field, 64)
            for lease, number in getattr(body, field).items():
                _lease(lease, field)
                within(number, field, 1, NUMBER_MAX)
        if isinstance(body, Promise):
            within(body.voting, "voting", 0, NUMBER_MAX)
    elif isinstance(body, Votes):
        _votes(body)
    elif isinstance(body, Grant):
        within(body.number, "number", 1, NUMBER_MAX)
        node_path(body.holder, "holder")
    elif isinstance(body, Audit):
        within(body.n, "n", 1, NUMBER_MAX)
        matches(body.hash, "hash", HASH, "a hash is 64 lower-case hex digits")
    elif isinstance(body, Alarm):
        within(body.since, "since", 0, NUMBER_MAX)
        for field in ("figure", "limit"):
            within(getattr(body, field), field, -NUMBER_MAX, NUMBER_MAX)
    elif isinstance(body, Sent):
        for field in ("round", "since", "time"):
            within(getattr(body, field), field, 0, NUMBER_MAX)
        for field in ("told", "cleared"):
            count(getattr(body, field), field, 32)
            for receiver in getattr(body, field):
                name(receiver, field)
    # Have says all by its key; Decline and Saw hold a spec and words only, which 4 KiB bound.


def _votes(body: Votes) -> None:
    count(body.nodes, "nodes", 32)
    need(len(body.turns) == len(body.nodes), "turns", "each node has one")
    for node in body.nodes:
        node_path(node, "nodes")
    for numbers in body.turns:
        for number in numbers:
            within(number, "turns", 0, NUMBER_MAX)
    count(body.granted, "granted", 32)
    for lease, (number, at) in body.granted.items():
        matches(lease, "granted", APP_LEASE, "a lease's name has 1 to 40 of A-Z, a-z, 0-9 and _ . -")
        within(number, "granted", 1, NUMBER_MAX)
        within(at, "granted", 0, len(body.nodes) - 1)
    within(body.floor, "floor", 0, NUMBER_MAX)
    within(body.voting, "voting", 0, NUMBER_MAX)


def _rent(body: Rent) -> None:
    within(body.step_s, "step_s", 1, 31 * 86_400)
    if body.next is not None:
        within(body.next.usd_hour, "usd_hour", -1, NUMBER_MAX)
        within(body.next.cpus, "cpus", 0, CPUS_MAX)
        within(body.next.memory_bytes, "memory_bytes", 0, MEMORY_MAX_BYTES)
    for field in ("creates", "wishes"):
        count(getattr(body, field), field, 64)
        for at, figure in getattr(body, field):
            within(at, field, 0, NUMBER_MAX)
            within(figure, field, 0, 10_000)
    count(body.carried, "carried", 16)
    for keeper in body.carried:
        node_path(keeper, "carried")
    for months in (body.spent_usd, *body.carried.values()):
        count(months, "spent_usd", 4)
        for month, usd in months.items():
            matches(month, "spent_usd", MONTH, "a month is written 2026-11")
            within(usd, "spent_usd", 0, NUMBER_MAX)


def _is_in(address: str, network: str) -> bool:
    try:
        return ipaddress.IPv4Address(address) in ipaddress.IPv4Network(network)
    except ValueError:
        return False
