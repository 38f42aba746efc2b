"""What an app may ask of every host that runs it. Bounds only: whether the parts make sense together is the client's
to say, with the line of the compose file; here stands what no signature makes acceptable.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from itertools import pairwise

from skerry.core.intent import (
    ALLOWABLE,
    App,
    CanaryStep,
    Endpoint,
    Needs,
    Port,
    Probe,
    Scale,
    Service,
    Update,
)  # fmt: skip
from skerry.core.places import Placement
from skerry.trust.bounds import (
    CPUS_MAX,
    MEMORY_MAX_BYTES,
    VALUE,
    base64_of,
    count,
    digest_or_none,
    matches,
    name,
    need,
    within,
)

OWN_PORTS = {7077, 7078}  # publishing these would cut the hosts' links
REPLICAS_MAX = 1000
STEPS_MAX = 60  # of a ring of figures
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,254}")
CAPABILITY = re.compile(r"[A-Z][A-Z_]{1,40}")
SIGNAL = re.compile(r"(SIG)?[A-Z][A-Z0-9]{1,8}([+-][0-9]{1,2})?|[1-9][0-9]?")
USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,31})?")
HOSTNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
ALIAS = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?")  # one label of a name: never another app's
CONSTRAINT = re.compile(
    r"((zone|label\.[A-Za-z0-9_][A-Za-z0-9_.-]{0,62})(==|!=)|node(==|!=)([a-z0-9-]{1,63}/(?=[0-9]))?)"
    r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}"
)
SPREAD = re.compile(r"zone|label\.[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
OTHER = re.compile(r"([a-z0-9][a-z0-9-]{0,62}\.)?[a-z0-9][a-z0-9-]{0,62}")
TIES_MAX = 16  # services that one names; each costs every node a look
ZONE = re.compile(r"[A-Za-z0-9_+/-]{0,64}")
URL_PATH = re.compile(r"/[!-~]{0,511}")
REASON = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,200}")  # it is shown in `ps`
METRIC = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]{0,199}")
DAY_S = 86_400.0
CANARY_STEPS_MAX = 8


def app(body: App) -> None:
    count(body.services, "services", 64)
    count(body.volumes, "volumes", 64)
    for volume in body.volumes:
        matches(volume, "volumes", VALUE, "a volume's name has at most 63 letters, digits, - _ .")
    digest_or_none(body.fallback, "fallback")
    count(body.pools, "pools", 32)
    for pool in body.pools:
        name(pool, "pools")
    count(body.ship, "ship", 4)
    for place in body.ship:
        name(place, "ship")
    published: set[tuple[int, str]] = set()
    for service_name, service in body.services.items():
        name(service_name, "services")
        _service(service_name, service, body)
        for port in service.ports:
            need((port.published, port.protocol) not in published, f"{service_name}.ports", "a port is published twice")
            published.add((port.published, port.protocol))


def _service(who: str, service: Service, body: App) -> None:
    within(service.replicas, f"{who}.replicas", 0, REPLICAS_MAX)
    for field in ("command", "entrypoint"):
        count(getattr(service, field), f"{who}.{field}", 256)
        _words(getattr(service, field), f"{who}.{field}")
    if service.user:
        matches(service.user, f"{who}.user", USER, "must be user or user:group")
    if service.hostname:
        matches(service.hostname, f"{who}.hostname", HOSTNAME, "is no host name")
    if service.working_dir:
        _absolute(service.working_dir, f"{who}.working_dir")
    _environment(who, service)
    _ports(who, service)
    _paths(who, service, body)
    count(service.capabilities, f"{who}.capabilities", 64)
    for capability in service.capabilities:
        matches(capability, f"{who}.capabilities", CAPABILITY, "is no capability")
    if service.probe is not None:
        _probe(who, service.probe)
    _needs(who, service.needs)
    if service.scale is not None:
        _scale(who, service.scale)
        need(
            not service.scale.metric or service.metrics is not None,
            f"{who}.scale.metric",
            "needs metrics: where it is told",
        )
    if service.metrics is not None:
        _metrics(who, service.metrics)
    _times(who, service)
    if service.stop_signal:
        matches(service.stop_signal, f"{who}.stop_signal", SIGNAL, "is no signal")
    within(service.core_bytes, f"{who}.core_bytes", -1, 1 << 50)
    within(service.attempt, f"{who}.attempt", 0, 1_000_000)
    count(service.constraints, f"{who}.constraints", 32)
    for constraint in service.constraints:
        matches(constraint, f"{who}.constraints", CONSTRAINT, "must be label.NAME==VALUE, zone or node, == or !=")
    _placement(who, service.placement)
    count(service.aliases, f"{who}.aliases", 32)
    for alias in service.aliases:
        matches(alias, f"{who}.aliases", ALIAS, "is no name inside an app")
    count(service.depends_on, f"{who}.depends_on", 64)
    for depends in service.depends_on:
        need(depends.service in body.services and depends.service != who, f"{who}.depends_on", "no such other service")
    count(service.callers, f"{who}.callers", 64)
    for caller in service.callers:
        for part in caller.split(".", 1):
            name(part, f"{who}.callers")
    for kind, reason in service.allow.items():
        need(kind in ALLOWABLE, f"{who}.allow", f"{kind[:40]!r} is none of {', '.join(ALLOWABLE)}")
        matches(reason, f"{who}.allow.{kind}", REASON, "must be a reason: one line of at most 200 characters")


def _placement(who: str, placement: Placement) -> None:
    within(placement.max_per_node, f"{who}.placement.max_per_node", 0, REPLICAS_MAX)
    count(placement.spread, f"{who}.placement.spread", 8)
    for level in placement.spread:
        matches(level, f"{who}.placement.spread", SPREAD, "must be zone or label.NAME")
    for field in ("near", "away", "apart"):
        count(getattr(placement, field), f"{who}.placement.{field}", TIES_MAX)
        for other in getattr(placement, field):
            matches(other, f"{who}.placement.{field}", OTHER, "must be SERVICE or APP.SERVICE")


def _environment(who: str, service: Service) -> None:
    count(service.environment, f"{who}.environment", 512)
    for variable, value in service.environment.items():
        matches(variable, f"{who}.environment", ENV_NAME, "is no variable's name")
        base64_of(
            value, f"{who}.environment.{variable} (sealed)", 40, 64 << 10
        )  # a value in the clear is never published


def _ports(who: str, service: Service) -> None:
    count(service.ports, f"{who}.ports", 64)
    count(service.expose, f"{who}.expose", 64)
    for port in service.ports:
        _port(who, port)
    for number in service.expose:
        within(number, f"{who}.expose", 1, 65535)


def _port(who: str, port: Port) -> None:
    within(port.target, f"{who}.ports", 1, 65535)
    within(port.published, f"{who}.ports", 1, 65535)
    need(port.published not in OWN_PORTS, f"{who}.ports", f"{port.published} is Skerry's own on every host")


def _paths(who: str, service: Service, body: App) -> None:
    count(service.volumes, f"{who}.volumes", 64)
    count(service.writable, f"{who}.writable", 64)
    for mount in service.volumes:
        need(mount.volume in body.volumes, f"{who}.volumes", f"volume {mount.volume[:63]} is not declared by the app")
        _absolute(mount.target, f"{who}.volumes")
    for path in service.writable:
        _absolute(path, f"{who}.writable")
    targets = [mount.target for mount in service.volumes] + list(service.writable)
    need(len(set(targets)) == len(targets), f"{who}.volumes", "two are mounted at one path")
    need("/" not in targets, f"{who}.volumes", "the root of a container can't be mounted over")


def _absolute(path: str, field: str) -> None:
    _words([path], field)
    plain = path.startswith("/") and not path.startswith("//") and posixpath.normpath(path) == path and len(path) <= 512
    need(plain, field, "must be an absolute path without .., //, or a / at its end")


def _words(words: Iterable[str], field: str) -> None:
    for word in words:
        need("\0" not in word, field, "holds a NUL character")


def _probe(who: str, probe: Probe) -> None:
    within(probe.port, f"{who}.probe.port", 1, 65535)
    matches(probe.path, f"{who}.probe.path", URL_PATH, "must begin with / and hold no spaces")
    within(probe.interval_s, f"{who}.probe.interval_s", 0.01, DAY_S)
    within(probe.timeout_s, f"{who}.probe.timeout_s", 0.01, 300)
    within(probe.retries, f"{who}.probe.retries", 1, 1000)
    within(probe.start_period_s, f"{who}.probe.start_period_s", 0, DAY_S)


def _metrics(who: str, endpoint: Endpoint) -> None:
    within(endpoint.port, f"{who}.metrics.port", 1, 65535)
    matches(endpoint.path, f"{who}.metrics.path", URL_PATH, "must begin with / and hold no spaces")
    count(endpoint.names, f"{who}.metrics.names", 32)
    for metric in endpoint.names:
        matches(metric, f"{who}.metrics.names", METRIC, "is no metric's name")


def _needs(who: str, needs: Needs) -> None:
    for field in ("reserve_memory_bytes", "memory_limit_bytes"):
        within(getattr(needs, field), f"{who}.needs.{field}", 0, MEMORY_MAX_BYTES)
    for field in ("reserve_cpus", "cpus_limit"):
        within(getattr(needs, field), f"{who}.needs.{field}", 0, CPUS_MAX)
    within(needs.pids_limit, f"{who}.needs.pids_limit", 1, 1 << 22)


def _scale(who: str, scale: Scale) -> None:
    within(scale.max, f"{who}.scale.max", 1, REPLICAS_MAX)
    within(scale.min, f"{who}.scale.min", 0, scale.max)
    within(scale.cpu, f"{who}.scale.cpu", 0, 1)
    within(scale.connections, f"{who}.scale.connections", 0, 1_000_000)
    if scale.metric:
        matches(scale.metric, f"{who}.scale.metric", METRIC, "is no metric's name")
    within(scale.metric_target, f"{who}.scale.metric_target", 0, 1e15)
    need(bool(scale.metric) == (scale.metric_target > 0), f"{who}.scale.metric", "a name and a target belong together")
    within(scale.step_s, f"{who}.scale.step_s", 1, 3600)
    for field in ("up_s", "down_s"):
        within(getattr(scale, field), f"{who}.scale.{field}", 0, scale.step_s * STEPS_MAX)
    within(scale.idle_s, f"{who}.scale.idle_s", 1, DAY_S)
    count(scale.schedules, f"{who}.scale.schedules", 32)
    for schedule in scale.schedules:
        field = f"{who}.scale.schedules"
        need(bool(schedule.days) and set(schedule.days) <= set(range(7)), field, "days are 0 (Monday) to 6")
        within(schedule.from_minute, field, 0, 1440)
        within(schedule.to_minute, field, 0, 1440)
        within(schedule.min, field, -1, REPLICAS_MAX)
        within(schedule.max, field, -1, REPLICAS_MAX)
        matches(schedule.zone, field, ZONE, "is no zone's name")
        count(schedule.offsets, field, 64)
        for at_s, minutes in schedule.offsets:
            within(at_s, field, 0, 2**40)
            within(minutes, field, -1440, 1440)


def _times(who: str, service: Service) -> None:
    within(service.restart.delay_s, f"{who}.restart.delay_s", 0, DAY_S)
    within(service.restart.max_attempts, f"{who}.restart.max_attempts", 0, 1_000_000)
    within(service.restart.window_s, f"{who}.restart.window_s", 0, 30 * DAY_S)
    _update(f"{who}.update", service.update)
    if service.rollback is not None:
        _update(f"{who}.rollback", service.rollback)
    _canary(f"{who}.canary", service.canary)
    within(service.stop_grace_s, f"{who}.stop_grace_s", 0, DAY_S)
    within(service.drain_s, f"{who}.drain_s", 0, DAY_S)


def _update(who: str, update: Update) -> None:
    within(update.parallelism, f"{who}.parallelism", 1, REPLICAS_MAX)
    within(update.delay_s, f"{who}.delay_s", 0, DAY_S)
    within(update.monitor_s, f"{who}.monitor_s", 0, DAY_S)
    within(update.max_failure_ratio, f"{who}.max_failure_ratio", 0, 1)


def _canary(who: str, steps: tuple[CanaryStep, ...]) -> None:
    count(steps, who, CANARY_STEPS_MAX)
    for step in steps:
        need(0 < step.share <= 1, who, "a share is more than 0 and at most 1")
        within(step.hold_s, who, 0, 30 * DAY_S)
    need(all(a.share < b.share for a, b in pairwise(steps)), who, "each step's share is more than the one before it")
