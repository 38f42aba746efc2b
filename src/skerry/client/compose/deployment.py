"""The `deploy:` part of a service: how many, how updated, what it takes, where it may run, when it starts again."""

from __future__ import annotations

from typing import Any

from skerry.client.compose import values
from skerry.client.compose.section import Section, Value
from skerry.client.compose.table import (
    LIMITS,
    PLACEMENT,
    RESERVATIONS,
    RESOURCES,
    RESTART_POLICY,
    ROLLBACK_CONFIG,
    UPDATE_CONFIG,
)
from skerry.core.intent import Needs, Restart, Update

REPLICAS_MAX = 1000
CORE_MAX = 1 << 40
PIDS_MAX = 1 << 20
ATTEMPTS_MAX = 1_000_000


def replicas_of(deploy: Section | None) -> int:
    if deploy is None:
        return 1
    value = deploy.get("replicas")
    number = value.number(0, REPLICAS_MAX) if value else 1
    return 1 if number is None else number


def update_of(deploy: Section | None, replicas: int) -> Update:
    section = deploy.section("update_config", UPDATE_CONFIG) if deploy else None
    return Update(**_update(section, replicas, "rollback", "pause", "continue")) if section else Update()


def rollback_of(deploy: Section | None, replicas: int) -> Update | None:
    section = deploy.section("rollback_config", ROLLBACK_CONFIG) if deploy else None
    return Update(**{"failure_action": "pause"} | _update(section, replicas, "pause", "continue")) if section else None


def _update(section: Section, replicas: int, *actions: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if (value := section.get("parallelism")) is not None and (count := value.number(0, REPLICAS_MAX)) is not None:
        fields["parallelism"] = count or max(replicas, 1)  # compose: 0 is "all at once"
    for key, field in (("delay", "delay_s"), ("monitor", "monitor_s")):
        if (value := section.get(key)) is not None and (seconds := value.read(values.duration_s)) is not None:
            fields[field] = seconds
    if (value := section.get("order")) is not None and (order := value.one_of("start-first", "stop-first")):
        fields["order"] = order
    if (value := section.get("failure_action")) is not None:
        action = value.one_of(*actions)
        fields |= {"failure_action": action} if action else {}
    if (value := section.get("max_failure_ratio")) is not None and (ratio := value.read(_ratio)) is not None:
        fields["max_failure_ratio"] = ratio
    return fields


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise ValueError(f"{text[:40]!r} is no share: write a number from 0 to 1, such as 0.2")
    return ratio


def needs_of(deploy: Section | None) -> Needs:
    """A memory limit is reserved as well, unless `reservations` says otherwise: what is promised must fit somewhere."""
    resources = deploy.section("resources", RESOURCES) if deploy else None
    if resources is None:
        return Needs()
    limits = resources.section("limits", LIMITS)
    wanted = resources.section("reservations", RESERVATIONS)
    memory_limit, cpus_limit = _amounts(limits)
    memory, cpus = _amounts(wanted)
    pids = limits.get("pids") if limits else None
    if memory and memory_limit and memory > memory_limit and wanted and (value := wanted.get("memory")):
        value.mistake("reserves more memory than its limit allows", "raise limits: memory, or reserve less")
    if cpus and cpus_limit and cpus > cpus_limit and wanted and (value := wanted.get("cpus")):
        value.mistake("reserves more cores than its limit allows", "raise limits: cpus, or reserve less")
    return Needs(
        reserve_memory_bytes=memory_limit or 0 if memory is None else memory,
        reserve_cpus=cpus or 0.0,
        memory_limit_bytes=memory_limit or 0,
        cpus_limit=cpus_limit or 0.0,
        pids_limit=(pids.number(1, PIDS_MAX) if pids else None) or 512,
    )


def _amounts(section: Section | None) -> tuple[int | None, float | None]:
    """(memory in bytes, cores), None for what isn't said."""
    if section is None:
        return None, None
    memory, cpus = section.get("memory"), section.get("cpus")
    return memory.read(values.size_bytes) if memory else None, cpus.read(values.cpus) if cpus else None


def core_bytes_of(ulimits: Section | None) -> int:
    """-1: no limit."""
    value = ulimits.get("core") if ulimits else None
    return (value.read(_core) if value else None) or 0


def _core(text: str) -> int:
    """Below a page there is no core; and 1 means something of its own to the kernel (core(5))."""
    if text in ("-1", "0"):
        return int(text)
    if text.isascii() and text.isdigit() and 4096 <= int(text[:16]) <= CORE_MAX and len(text) <= 15:
        return int(text)
    raise ValueError(f"{text[:40]!r} is not -1, 0 or a number of bytes from 4096 to {CORE_MAX}")


def constraints_of(deploy: Section | None) -> tuple[str, ...]:
    placement = deploy.section("placement", PLACEMENT) if deploy else None
    value = placement.get("constraints") if placement else None
    return tuple(value.texts(values.constraint)) if value else ()


def restart_of(restart: Value | None, deploy: Section | None) -> Restart:
    """`deploy.restart_policy` goes before `restart`, as the specification has it."""
    section = deploy.section("restart_policy", RESTART_POLICY) if deploy else None
    if section is None:
        return (restart.read(_restart_word) if restart else None) or Restart()
    if restart is not None:
        restart.warning("without effect: deploy.restart_policy goes before it")
    fields: dict[str, Any] = {}
    if (value := section.get("condition")) is not None and (condition := value.one_of("none", "on-failure", "any")):
        fields["condition"] = condition
    if (value := section.get("max_attempts")) is not None and (count := value.number(0, ATTEMPTS_MAX)) is not None:
        fields["max_attempts"] = count
    for key, field in (("delay", "delay_s"), ("window", "window_s")):
        if (value := section.get(key)) is not None and (seconds := value.read(values.duration_s)) is not None:
            fields[field] = seconds
    return Restart(**fields)


def _restart_word(text: str) -> Restart:
    word, _, count = text.partition(":")
    if word in ("always", "unless-stopped") and not count:
        return Restart()
    if word in ("no", "false") and not count:  # `restart: no` reads as a text or, in older YAML, as false
        return Restart(condition="none")
    if word == "on-failure" and (not count or (count.isascii() and count.isdigit() and len(count) < 7)):
        return Restart(condition="on-failure", max_attempts=int(count or 0))
    raise ValueError(f"{text[:40]!r} is not one of no, always, on-failure, on-failure:N, unless-stopped")
