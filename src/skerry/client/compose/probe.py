"""A service's probe out of `healthcheck` and `x-skerry: probe`: which of the two speaks, and the timings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from skerry.client.compose import healthcheck, values
from skerry.client.compose.section import Section, Value
from skerry.client.compose.table import HEALTHCHECK, X_PROBE
from skerry.core.intent import Probe

_TIMES = {"interval": "interval_s", "timeout": "timeout_s", "start_period": "start_period_s"}
RETRIES_MAX = 100


def probe_of(check: Value | None, own: Value | None, ports: list[int], names: frozenset[str]) -> Probe | None:
    """`x-skerry: probe` goes before `test`; the healthcheck's timings hold for both. `ports`: all that are known."""
    section = check.section(HEALTHCHECK) if check else None
    asked, timing = None, {}
    if section is not None:
        timing = _timing(section)
        disable = section.get("disable")
        if disable is not None and disable.flag() and own is None:
            return None
    if own is not None:
        own_section = own.section(X_PROBE)
        asked = _own(own_section, ports)
        timing |= _timing(own_section)
    elif section is not None and (test := section.get("test")) is not None:
        asked = _test(test, names)
    elif check is not None:
        check.mistake("has no `test`", "write one, or x-skerry: probe")
    if asked is None:
        return None
    return Probe(kind=asked.kind, port=asked.port, path=asked.path, **timing)


def _timing(section: Section) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, field in _TIMES.items():
        value = section.get(key)
        seconds = value.read(values.duration_s) if value else None
        if value is not None and seconds is not None:
            if seconds <= 0 and key != "start_period":
                value.mistake("must be longer than 0s")
            out[field] = seconds
    if (retries := section.get("retries")) is not None and (count := retries.number(1, RETRIES_MAX)) is not None:
        out["retries"] = count
    return out


def _test(test: Value, names: frozenset[str]) -> healthcheck.Asked | None:
    if test.is_list:
        words = [item.text() for item in test.items()]
        if any(word is None for word in words):
            return None
        said: str | list[str] = [word for word in words if word is not None]
    else:
        text = test.text()
        if text is None:
            return None
        said = text
    try:
        asked = healthcheck.translate(said, names)
    except healthcheck.NotUnderstood as error:
        test.mistake(f"can't be turned into a probe from outside: {error}", error.fix)
        return None
    if asked is not None and not 1 <= asked.port <= 65535:
        test.mistake(f"{asked.port} is not a port")
        return None
    return asked


def _own(section: Section, ports: list[int]) -> healthcheck.Asked | None:
    kinds = [kind for kind in ("http", "tcp", "redis", "postgres", "mysql") if section.get(kind) is not None]
    if len(kinds) != 1:
        section.value.mistake("should ask exactly one thing", "write {http: /path, port: 8000} or {tcp: 8000}")
        return None
    value, port_value = section.get(kinds[0]), section.get("port")
    assert value is not None
    if kinds[0] != "http":
        if port_value is not None:
            port_value.mistake("is for http only", f"write {{{kinds[0]}: PORT}}")
        number = value.number(1, 65535)
        return None if number is None else replace(_EMPTY[kinds[0]], port=number)
    path = value.text()
    if path is None or not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path:
        value.mistake("should be a path such as /health")
        return None
    if port_value is not None:
        number = port_value.number(1, 65535)
        return None if number is None else healthcheck.Asked("http", number, path)
    if len(ports) != 1:
        section.value.mistake("does not say which port", f"write {{http: {path[:60]}, port: 8000}}")
        return None
    return healthcheck.Asked("http", ports[0], path)


_EMPTY = {
    "tcp": healthcheck.Asked("tcp", 0),
    "redis": healthcheck.Asked("redis", 0),
    "postgres": healthcheck.Asked("postgres", 0),
    "mysql": healthcheck.Asked("mysql", 0),
}
