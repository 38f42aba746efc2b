"""`x-skerry: scale` of a service: between which bounds its replicas follow which load, and when other bounds hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from skerry.client.compose import values
from skerry.client.compose.endpoint import metric_name
from skerry.client.compose.schedule import EXAMPLE, schedule
from skerry.client.compose.section import Section, Value
from skerry.client.compose.table import X_SCALE, X_TARGET, X_TARGET_METRIC
from skerry.core.intent import Scale, Schedule, Service

REPLICAS_MAX = 1000
CONNECTIONS_MAX = 1_000_000
AIM_MAX = 1e15
RING_STEPS = 60  # figures of so many steps are kept
STEP_MAX_S = 3600.0
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)\s*%")


def scale_of(value: Value | None) -> Scale | None:
    if value is None:
        return None
    section = value.section(X_SCALE)
    high = _number(section, "max")
    if high is None and section.get("max") is None:
        value.mistake("has no max", "write scale: {min: 1, max: 5, target: {cpu: 60%}}")
    low = _number(section, "min")
    low = 1 if low is None else low
    high = max(low, 1) if high is None else high
    if high < max(low, 1) and (said := section.get("max")) is not None:
        said.mistake(f"is less than {'min' if low > 1 else 'one'}", "min ≤ max, and max is 1 or more")
        high = max(low, 1)
    cpu, connections, metric, metric_target = _target(section)
    step_s = _seconds(section, "step", 60.0, 1.0, STEP_MAX_S)
    window_s = RING_STEPS * step_s
    scale = Scale(
        min=low,
        max=high,
        cpu=cpu,
        connections=connections,
        step_s=step_s,
        up_s=_seconds(section, "up", 0.0, 0.0, window_s),
        down_s=_seconds(section, "down", min(1200.0, window_s), 0.0, window_s),
        idle_s=_seconds(section, "idle", min(300.0, window_s), 1.0, window_s),
        schedules=tuple(_schedules(section.get("schedule"))),
    )
    # Said only where it is asked for: what isn't said is not in the document, and hosts of earlier builds take it.
    return msgspec.structs.replace(scale, metric=metric, metric_target=metric_target) if metric else scale


def _number(section: Section, key: str) -> int | None:
    value = section.get(key)
    return value.number(0, REPLICAS_MAX) if value else None


def _target(section: Section) -> tuple[float, float, str, float]:
    """(cpu, connections, a metric's name and target); 0 and "" for what isn't aimed at."""
    target = section.section("target", X_TARGET)
    if target is None:
        return 0.0, 0.0, "", 0.0
    cpu, connections, metric = target.get("cpu"), target.get("connections"), target.section("metric", X_TARGET_METRIC)
    if cpu is None and connections is None and metric is None:
        target.value.mistake("names neither cpu nor connections", "write target: {cpu: 60%}, or {connections: 50}")
    share = cpu.read(_share) if cpu else None
    count = connections.number(1, CONNECTIONS_MAX) if connections else None
    name, aim = _metric(metric) if metric is not None else ("", 0.0)
    return share or 0.0, float(count or 0), name, aim


def _metric(section: Section) -> tuple[str, float]:
    name, target = section.get("name"), section.get("target")
    if name is None or target is None:
        section.value.mistake("needs a name and a target", "write metric: {name: queue_length, target: 30}")
        return "", 0.0
    said, aim = name.read(metric_name), target.read(_aim)
    return (said, aim) if said and aim else ("", 0.0)


def _aim(text: str) -> float:
    try:
        aim = float(text)
    except ValueError:
        aim = 0.0
    if not 0 < aim <= AIM_MAX:
        raise ValueError(f"{text[:20]!r} is no number above 0: so much of it one replica should have")
    return aim


def _share(text: str) -> float:
    match = _PERCENT.fullmatch(text.strip())
    if match is None or not 1 <= float(match[1]) <= 100:
        raise ValueError(f"{text[:20]!r} is no share of what a replica may use: write it as 60%, from 1% to 100%")
    return float(match[1]) / 100


def _seconds(section: Section, key: str, otherwise: float, low: float, high: float) -> float:
    value = section.get(key)
    seconds = value.read(values.duration_s) if value else None
    if value is None or seconds is None:
        return otherwise
    if not low <= seconds <= high:
        steps = "" if key == "step" else f": figures of {RING_STEPS} steps are kept"
        value.mistake(f"should be {low:g}s to {high:g}s{steps}", "" if key == "step" else "make `step` longer")
        return otherwise
    return seconds


def _schedules(value: Value | None) -> Iterator[Schedule]:
    """A list of lines, or a mapping: `weekdays 8-20: min 3` without quotes is one to YAML."""
    if value is None:
        return
    for item in value.items() if not value.is_mapping else [value]:
        if item.is_mapping:
            pairs = [(when, said.text(), said) for when, said in item.pairs()]
        else:
            text = item.text()
            when, colon, said_bounds = (text or "").rpartition(":")
            if text is not None and not colon:
                item.mistake(f"{text[:40]!r} has no bounds", f"write it as {EXAMPLE}")
            pairs = [(when, said_bounds if colon else None, item)]
        for when, bounds, place in pairs:
            if bounds is None:
                continue
            try:
                yield schedule(when, bounds)
            except ValueError as error:
                place.mistake(str(error))


def check_scale(service: Service, value: Value, replicas: Value | None, disposable: Mapping[str, bool]) -> None:
    """What only shows beside the rest of the service. `replicas`: where `deploy.replicas` stands."""
    scale = service.scale
    assert scale is not None
    if replicas is not None and not scale.min <= service.replicas <= scale.max:
        replicas.mistake(
            f"{service.replicas} is not within the {scale.min} to {scale.max} of x-skerry: scale",
            "with scale it is how many there are at first: choose one within, or remove it",
        )
    for what, fix in conflicts(service, disposable):
        value.mistake(what, fix)


def conflicts(service: Service, disposable: Mapping[str, bool]) -> Iterator[tuple[str, str]]:
    """(what, fix) of whatever in a service doesn't go with its scale."""
    scale = service.scale
    assert scale is not None
    most = max(scale.max, *(schedule.max for schedule in scale.schedules), 1)
    least = min([scale.min, *(schedule.min for schedule in scale.schedules if schedule.min >= 0)])
    if scale.metric and service.metrics is None:
        yield f"nothing says where {scale.metric} is told", "add x-skerry: metrics: {port: 9100}"
    if not (scale.cpu or scale.connections or scale.metric) and most > max(least, 1):
        yield "has no target", "write target: {cpu: 60%}, or {connections: 50}"
    if scale.connections and not (service.ports or service.expose):
        yield "there is no port on which connections could be counted", "add ports or expose, or aim at cpu"
    if least == 0 and not (service.expose or any(port.protocol == "tcp" for port in service.ports)):
        yield (
            "min 0 needs a TCP port: only a connection wakes what sleeps",
            "add ports, or expose for services that find it by its name, or write min: 1",
        )
    if least == 0 and (datagrams := next((port for port in service.ports if port.protocol == "udp"), None)):
        yield (
            f"UDP port {datagrams.published} doesn't go with min 0: a datagram can't be held, and wakes nothing",
            "write min: 1, or make a service of its own of what speaks UDP",
        )
    kept = [mount.volume for mount in service.volumes if not disposable.get(mount.volume, False)]
    if kept and most > 1:
        yield (
            f"volume {kept[0]} is not disposable, so max can only be 1: each replica would keep data of its own, "
            "and what goes with the load would leave its data behind",
            f"write max: 1, or volumes: {{{kept[0]}: {{x-skerry: {{disposable: true}}}}}}, or deploy: replicas instead of scale",
        )
    if service.restart.condition != "any":
        yield "a job ends by itself: it can't follow the load", "remove scale, or write restart: always"
