"""A signed app as a compose file: what `load` would read back as the same. What compose has no word for is told, not hidden."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from io import StringIO
from typing import Any, NamedTuple

import msgspec

from skerry.client.changes import flat, whole
from skerry.client.compose import ComposeErrors, parse
from skerry.client.compose.schedule import in_words
from skerry.client.compose.service import CONDITIONS
from skerry.core.intent import App, Needs, Probe, Release, Restart, Scale, Service, Update

SHOWN = "syslog+udp://localhost/"  # stands for a receiver of logs, whose URL is sealed
Values = Mapping[str, Mapping[str, str]]


class Written(NamedTuple):
    """`text`: the file. `variables`: (service, NAME) of a sealed value -> the variable in its place; of a receiver of logs ("", its
    name). `lost`: what can't be said.
    """

    text: str
    variables: dict[tuple[str, str], str]
    lost: list[str]


def compose_of(name: str, app: App, release: Release | None) -> Written:
    """Values that are sealed are left to variables, one for each service: SERVICE_NAME."""
    images = release.images if release is not None else {}
    variables = _variables(app)
    file: dict[str, Any] = {
        "name": name,
        "services": {
            key: _service(key, service, images.get(key, ""), variables) for key, service in app.services.items()
        },
    }
    if app.volumes:
        file["volumes"] = {
            volume: {"x-skerry": {"disposable": True}} if disposable else {}
            for volume, disposable in app.volumes.items()
        }
    own: dict[str, Any] = {"pools": list(app.pools)} if app.pools else {}
    if app.ship:
        own["logs"] = {"ship": [_Variable(f"${{{variables['', name]}}}") for name in _in_order(app.ship)]}
    if own:
        file["x-skerry"] = own
    text = yaml_text(_plain(file))
    return Written(text, variables, _lost(name, app, text, variables))


def yaml_text(content: dict[str, Any]) -> str:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 120
    out = StringIO()
    yaml.dump(_quoted(content), out)
    return out.getvalue()


def _quoted(value: Any) -> Any:
    """With quotes around texts of breaks that only YAML 1.1 knows: unquoted, ruamel.yaml reads them as spaces."""
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    if isinstance(value, dict):
        return {_quoted(key): _quoted(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_quoted(part) for part in value]
    if isinstance(value, str) and not _BREAKS.isdisjoint(value):
        return DoubleQuotedScalarString(value)
    return value


_BREAKS = frozenset("\x85\u2028\u2029")


class _Variable(str):
    """A text in which `$` means a variable."""


def _variables(app: App) -> dict[tuple[str, str], str]:
    """Names that no other service has, and hardly a shell: ${PATH} would be the reader's own."""
    found: dict[tuple[str, str], str] = {}
    for service, body in app.services.items():
        for key in body.environment:
            name = re.sub(r"[^A-Z0-9]", "_", service.upper()) + "_" + re.sub(r"[^A-Za-z0-9_]", "_", key)
            name = f"_{name}" if name[0].isdigit() else name
            while name in found.values():
                name += "_"
            found[service, key] = name
    for n, key in enumerate(_in_order(app.ship), 1):
        name = f"LOGS_SHIP_{n}"
        while name in found.values():
            name += "_"
        found["", key] = name
    return found


def _in_order(ship: Mapping[str, str]) -> list[str]:
    """Receivers of logs as they stood in the file: "receiver-2" before "receiver-10"."""
    return sorted(ship, key=lambda name: (len(name), name))


def _plain(value: Any) -> Any:
    """With every `$` doubled that isn't a variable's."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, _Variable):
        return str(value)
    return value.replace("$", "$$") if isinstance(value, str) else value


def _service(name: str, service: Service, image: str, variables: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    own: dict[str, Any] = {}
    out: dict[str, Any] = {"image": image}
    for key in ("command", "entrypoint", "expose"):
        if value := getattr(service, key):
            out[key] = list(value)
    for key in ("user", "working_dir", "hostname", "stop_signal"):
        if value := getattr(service, key):
            out[key] = value
    if service.environment:
        out["environment"] = {key: _Variable(f"${{{variables[name, key]}}}") for key in service.environment}
    if service.ports:
        out["ports"] = [f"{port.published}:{port.target}/{port.protocol}" for port in service.ports]
    mounts = _mounts(service)
    if mounts:
        out["volumes"] = mounts
    if service.capabilities:
        out["cap_add"] = list(service.capabilities)
    if service.core_bytes:
        out["ulimits"] = {"core": service.core_bytes}
    if service.depends_on:
        words = {ours: word for word, ours in CONDITIONS.items()}
        out["depends_on"] = {each.service: {"condition": words[each.condition]} for each in service.depends_on}
    if service.aliases:
        out["networks"] = {"default": {"aliases": list(service.aliases)}}
    if service.stop_grace_s != 10.0:
        out["stop_grace_period"] = seconds(service.stop_grace_s)
    if service.writable and not _in_mounts(service):
        own["writable"] = list(service.writable)
    if service.drain_s != 0.2:
        own["drain"] = seconds(service.drain_s)
    if service.callers:
        own["allow"] = [*service.callers, *([dict(service.allow)] if service.allow else [])]
    elif service.allow:
        own["allow"] = dict(service.allow)
    if service.agents:
        own["agents"] = True
    if service.leases:
        own["leases"] = True
    if service.probe is not None:
        own["probe"] = _probe(service.probe)
    if (endpoint := service.metrics) is not None:
        own["metrics"] = {"port": endpoint.port, "path": endpoint.path}
        own["metrics"] |= {"names": list(endpoint.names)} if endpoint.names else {}
    if service.scale is not None:
        own["scale"] = _scale(service.scale)
    if service.canary:
        own["canary"] = [
            {"share": f"{number(round(step.share * 100, 4))}%", "hold": seconds(step.hold_s)} for step in service.canary
        ]
    if deploy := _deploy(service):
        out["deploy"] = deploy
    own |= _ties(service)
    return out | ({"x-skerry": own} if own else {})


def _in_mounts(service: Service) -> bool:
    """A path with a colon can't stand in `writable`."""
    return any(":" in path for path in service.writable)


def _mounts(service: Service) -> list[Any]:
    made: list[Any] = []
    for mount in service.volumes:
        if ":" in mount.target:
            long = {"type": "volume", "source": mount.volume, "target": mount.target}
            made.append(long | ({"read_only": True} if mount.read_only else {}))
        else:
            made.append(f"{mount.volume}:{mount.target}{':ro' if mount.read_only else ''}")
    return made + [{"type": "tmpfs", "target": path} for path in service.writable if _in_mounts(service)]


def _scale(scale: Scale) -> dict[str, Any]:
    said: dict[str, Any] = {"min": scale.min, "max": scale.max}
    target: dict[str, Any] = {"cpu": f"{number(round(scale.cpu * 100, 3))}%"} if scale.cpu else {}
    target |= {"connections": number(scale.connections)} if scale.connections else {}
    if scale.metric:
        target["metric"] = {"name": scale.metric, "target": number(scale.metric_target)}
    if target:
        said["target"] = target
    times = {"step": scale.step_s, "up": scale.up_s, "down": scale.down_s, "idle": scale.idle_s}
    said |= {key: seconds(value) for key, value in times.items()}
    return said | ({"schedule": [in_words(each) for each in scale.schedules]} if scale.schedules else {})


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
    otherwise = max(service.scale.min, 1) if service.scale is not None else 1
    deploy: dict[str, Any] = {"replicas": service.replicas} if service.replicas != otherwise else {}
    if service.update != Update():
        deploy["update_config"] = _update(service.update)
    if service.rollback is not None:
        deploy["rollback_config"] = _update(service.rollback)
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
        elif not needs.reserve_memory_bytes:
            wanted["memory"] = "0b"
        deploy["resources"] = {k: v for k, v in (("limits", limits), ("reservations", wanted)) if v}
    if placement := _placement(service):
        deploy["placement"] = placement
    if service.placement.every_node:
        deploy = {"mode": "global"} | {key: part for key, part in deploy.items() if key != "replicas"}
    return deploy


def _placement(service: Service) -> dict[str, Any]:
    of = service.placement
    found: dict[str, Any] = {"constraints": list(service.constraints)} if service.constraints else {}
    if of.spread:
        found["preferences"] = [{"spread": level} for level in of.spread]
    return found | ({"max_replicas_per_node": of.max_per_node} if of.max_per_node else {})


def _ties(service: Service) -> dict[str, Any]:
    """What `x-skerry` says of places."""
    of = service.placement
    found: dict[str, Any] = {"near": list(of.near)} if of.near else {}
    if of.away:
        found["apart"] = {key: {} for key in of.apart} | {name: {"required": False} for name in of.away}
    elif of.apart:
        found["apart"] = list(of.apart)
    return found


def _update(update: Update) -> dict[str, Any]:
    said = {
        "parallelism": update.parallelism,
        "delay": seconds(update.delay_s),
        "monitor": seconds(update.monitor_s),
        "order": update.order,
        "failure_action": update.failure_action,
    }
    return said | ({"max_failure_ratio": update.max_failure_ratio} if update.max_failure_ratio else {})


def _amounts(memory_bytes: int, cpus: float) -> dict[str, str]:
    return ({"memory": f"{memory_bytes}b"} if memory_bytes else {}) | ({"cpus": number(cpus)} if cpus else {})


def number(value: float) -> str:
    """All of its digits, and no exponent."""
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def seconds(value: float) -> str:
    """As compose writes a duration."""
    ms = round(value * 1000, 3)
    return f"{number(ms)}ms" if 0 < value < 1 and ms.is_integer() else f"{number(value)}s"


def _lost(name: str, app: App, text: str, variables: Mapping[tuple[str, str], str]) -> list[str]:
    """Fields that differ once the file is read back. A zone's offsets are another year's, perhaps: its name counts."""
    try:
        plain = {variable: "x" if service else f"{SHOWN}{variable}" for (service, _), variable in variables.items()}
        read = parse(text, environ=plain, name=name)
    except ComposeErrors as errors:
        return [str(mistake) for mistake in errors.mistakes]
    services = {
        key: _comparable(msgspec.structs.replace(plan.service, environment=dict.fromkeys(plan.environment, "")))
        for key, plan in read.services.items()
    }
    signed = {
        key: _comparable(
            msgspec.structs.replace(service, environment=dict.fromkeys(service.environment, ""), attempt=0, init=False)
        )
        for key, service in app.services.items()
    }
    again = msgspec.structs.replace(read.app(), services=services)
    was = msgspec.structs.replace(app, services=signed, fallback="", ship={})
    old, new = flat(whole(was)), flat(whole(again))
    return [f"{field}: {old.get(field)}" for field in sorted({*old, *new}) if old.get(field) != new.get(field)]


def _comparable(service: Service) -> Service:
    scale = service.scale
    if scale is None:
        return service
    schedules = tuple(
        msgspec.structs.replace(each, offsets=() if each.zone else each.offsets) for each in scale.schedules
    )
    return msgspec.structs.replace(service, scale=msgspec.structs.replace(scale, schedules=schedules))
