"""A signed app as a compose file: what `load` would read back as the same. What has no key in compose is told, not hidden."""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.client.changes import flat
from skerry.client.compose import ComposeErrors, parse
from skerry.core.intent import App, Needs, Probe, Release, Restart, Service, Update


def compose_of(name: str, app: App, release: Release | None) -> tuple[dict[str, Any], list[str]]:
    """(the file, what of the app it can't say). Values that are sealed are left to variables of the same name."""
    images = release.images if release is not None else {}
    file: dict[str, Any] = {
        "name": name,
        "services": {key: _service(service, images.get(key, "")) for key, service in app.services.items()},
    }
    if app.volumes:
        file["volumes"] = {
            volume: {"x-skerry": {"disposable": True}} if disposable else {}
            for volume, disposable in app.volumes.items()
        }
    return file, _lost(name, app, file)


def _service(service: Service, image: str) -> dict[str, Any]:
    own: dict[str, Any] = {}
    out: dict[str, Any] = {"image": image}
    for key in ("command", "entrypoint", "expose"):
        if value := getattr(service, key):
            out[key] = list(value)
    for key in ("user", "working_dir", "hostname", "stop_signal"):
        if value := getattr(service, key):
            out[key] = value
    if service.environment:
        out["environment"] = {key: f"${{{key}}}" for key in service.environment}
    if service.ports:
        out["ports"] = [f"{port.published}:{port.target}/{port.protocol}" for port in service.ports]
    if service.volumes:
        out["volumes"] = [f"{m.volume}:{m.target}{':ro' if m.read_only else ''}" for m in service.volumes]
    if service.capabilities:
        out["cap_add"] = list(service.capabilities)
    if service.depends_on:
        words = {
            "started": "service_started",
            "healthy": "service_healthy",
            "completed": "service_completed_successfully",
        }
        out["depends_on"] = {each.service: {"condition": words[each.condition]} for each in service.depends_on}
    if service.aliases:
        out["networks"] = {"default": {"aliases": list(service.aliases)}}
    if service.stop_grace_s != 10.0:
        out["stop_grace_period"] = seconds(service.stop_grace_s)
    if service.writable:
        own["writable"] = list(service.writable)
    if service.drain_s != 0.2:
        own["drain"] = seconds(service.drain_s)
    if service.allow:
        own["allow"] = dict(service.allow)
    if service.probe is not None:
        own["probe"] = _probe(service.probe)
    if service.scale is not None:
        scale = service.scale
        target = {"cpu": f"{scale.cpu * 100:g}%"} if scale.cpu else {}
        target |= {"connections": f"{scale.connections:g}"} if scale.connections else {}
        times = {"step": scale.step_s, "up": scale.up_s, "down": scale.down_s, "idle": scale.idle_s}
        own["scale"] = {"min": scale.min, "max": scale.max, "target": target} | {
            key: seconds(value) for key, value in times.items()
        }
    if deploy := _deploy(service):
        out["deploy"] = deploy
    return out | ({"x-skerry": own} if own else {})


def _probe(probe: Probe) -> dict[str, Any]:
    asked: dict[str, Any] = (
        {"http": probe.path, "port": probe.port} if probe.kind == "http" else {probe.kind: probe.port}
    )
    return asked | {
        "interval": seconds(probe.interval_s),
        "timeout": seconds(probe.timeout_s),
        "retries": probe.retries,
        "start_period": seconds(probe.start_period_s),
    }


def _deploy(service: Service) -> dict[str, Any]:
    deploy: dict[str, Any] = {"replicas": service.replicas} if service.replicas != 1 else {}
    if service.update != Update():
        update = service.update
        deploy["update_config"] = {
            "parallelism": update.parallelism,
            "delay": seconds(update.delay_s),
            "monitor": seconds(update.monitor_s),
            "order": update.order,
            "failure_action": update.failure_action,
        }
    if service.restart != Restart():
        restart = service.restart
        deploy["restart_policy"] = {
            "condition": restart.condition,
            "delay": seconds(restart.delay_s),
            "max_attempts": restart.max_attempts,
            "window": seconds(restart.window_s),
        }
    if service.needs != Needs():
        needs = service.needs
        limits = _amounts(needs.memory_limit_bytes, needs.cpus_limit) | (
            {"pids": needs.pids_limit} if needs.pids_limit != 512 else {}
        )
        wanted = _amounts(needs.reserve_memory_bytes, needs.reserve_cpus)
        if needs.reserve_memory_bytes == needs.memory_limit_bytes:
            wanted.pop("memory", None)
        deploy["resources"] = {k: v for k, v in (("limits", limits), ("reservations", wanted)) if v}
    if service.constraints:
        deploy["placement"] = {"constraints": list(service.constraints)}
    return deploy


def _amounts(memory_bytes: int, cpus: float) -> dict[str, str]:
    return ({"memory": f"{memory_bytes}b"} if memory_bytes else {}) | ({"cpus": f"{cpus:g}"} if cpus else {})


def seconds(value: float) -> str:
    """As compose writes a duration, to the millisecond."""
    return f"{value:g}s" if value >= 1 or not value else f"{value * 1000:g}ms"


def _lost(name: str, app: App, file: dict[str, Any]) -> list[str]:
    """Fields that differ once the file is read back; environment apart, which is compared by its names."""
    names = {key for service in app.services.values() for key in service.environment}
    try:
        read = parse(msgspec.json.encode(file).decode(), environ=dict.fromkeys(names, "x"), name=name)
    except ComposeErrors as errors:
        return [str(mistake) for mistake in errors.mistakes]
    services = {
        key: msgspec.structs.replace(plan.service, environment=dict.fromkeys(plan.environment, ""))
        for key, plan in read.services.items()
    }
    signed = {
        key: msgspec.structs.replace(service, environment=dict.fromkeys(service.environment, ""), attempt=0, init=False)
        for key, service in app.services.items()
    }
    again = App(services=services, volumes=dict(read.volumes))
    was = msgspec.structs.replace(app, services=signed, fallback="")
    old, new = flat(_whole(was)), flat(_whole(again))
    return [f"{field}: {old.get(field)}" for field in sorted({*old, *new}) if old.get(field) != new.get(field)]


def _whole(value: Any) -> Any:
    """With the fields that are at their defaults, too."""
    if isinstance(value, msgspec.Struct):
        return {field: _whole(part) for field, part in msgspec.structs.asdict(value).items()}
    if isinstance(value, dict):
        return {key: _whole(part) for key, part in value.items()}
    return [_whole(part) for part in value] if isinstance(value, tuple) else value
