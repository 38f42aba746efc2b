"""Ports and mounts of a service: the places where a container meets the world outside of it."""

from __future__ import annotations

import re
from typing import Any

from skerry.client.compose import values
from skerry.client.compose.section import Value
from skerry.client.compose.table import MOUNT, PORT
from skerry.core.intent import Port, VolumeMount

TAKEN = {(7077, "tcp"): "hosts talk on it", (7077, "udp"): "hosts talk on it", (7078, "tcp"): "hosts enrol on it"}
TAKEN[(22, "tcp")] = "it would lock everybody out of SSH on every host"
BIND_FIX = "put the files into the image, use a named volume for data, `environment` for settings"
INITDB = "/docker-entrypoint-initdb.d"  # where official images of databases look for SQL to begin with


def ports_of(value: Value | None) -> tuple[Port, ...]:
    ports: dict[tuple[int, str], Port] = {}
    for item in value.items() if value else ():
        found = _long_port(item) if item.is_mapping else item.read(values.published_ports) or []
        for published, target, protocol in found:
            if why := TAKEN.get((published, protocol)):
                item.mistake(f"port {published}/{protocol} can't be published: {why}", "choose another published port")
            if (published, protocol) in ports:
                item.mistake(f"port {published}/{protocol} is published twice")
            ports[published, protocol] = Port(target=target, published=published, protocol=protocol)  # type: ignore[arg-type]
    return tuple(ports.values())


def _long_port(item: Value) -> list[tuple[int, int, str]]:
    section = item.section(PORT)
    target, published = section.get("target"), section.get("published")
    if (mode := section.get("mode")) is not None and mode.tree.raw == "host":
        mode.mistake("a published port is open on every host", "remove it")
    elif mode is not None:
        mode.one_of("ingress")
    protocol_value = section.get("protocol")
    protocol = protocol_value.one_of("tcp", "udp") if protocol_value else "tcp"
    if target is None or published is None:
        item.mistake("needs `target` and `published`", "or `expose`, if only the app itself needs the port")
        return []
    inner, outer = target.number(1, 65535), published.read(values.port_range)
    if inner is None or outer is None or protocol is None:
        return []
    if len(outer) != 1:
        published.mistake("one of a range would be another on each host", "name one port")
        return []
    return [(outer[0], inner, protocol)]


def expose_of(value: Value | None) -> tuple[int, ...]:
    ports: dict[int, None] = {}
    for item in value.items() if value else ():
        ports |= dict.fromkeys(item.read(_exposed) or [])
    return tuple(ports)


def _exposed(text: str) -> list[int]:
    ports, _, protocol = text.partition("/")
    if protocol not in ("", "tcp", "udp"):
        raise ValueError(f"protocol {protocol[:20]!r} is not tcp or udp")
    return values.port_range(ports)


def volumes_of(value: Value | None, declared: frozenset[str]) -> tuple[tuple[VolumeMount, ...], list[str]]:
    """(named volumes, paths of tmpfs mounts)."""
    mounts: list[VolumeMount] = []
    tmpfs: list[str] = []
    targets: set[str] = set()
    for item in value.items() if value else ():
        found = _long_mount(item) if item.is_mapping else _short_mount(item)
        if found is None:
            continue
        if found["target"] in targets:
            item.mistake(f"{found['target'][:100]} is mounted twice")
        targets.add(found["target"])
        if found["target"] == "/":
            item.mistake("the root can't be mounted over", "mount below it")
        if found["volume"] is None:
            tmpfs.append(found["target"])
            continue
        if found["volume"] not in declared:
            item.mistake(
                f"volume {found['volume'][:60]!r} is not declared", f"add it: volumes: {{{found['volume'][:60]}: }}"
            )
        mounts.append(VolumeMount(**found))
    return tuple(mounts), tmpfs


def _short_mount(item: Value) -> dict[str, Any] | None:
    text = item.text()
    if text is None:
        return None
    parts = text.split(":")
    if len(parts) == 1:
        item.mistake("is a volume without a name, which nothing could find again", f"write NAME:{text[:60]}")
        return None
    source, target, mode = parts[0], parts[1], ":".join(parts[2:])
    if source.startswith((".", "/", "~")) or re.match(r"[A-Za-z]:(\\|/[^:]*:/)", text):  # also C:\x and C:/x:/y
        item.mistake("mounts a folder of the host, and every host has another", _bind_fix(source, target))
        return None
    if mode not in ("", "rw", "ro"):
        item.mistake(f"option {mode[:20]!r} is not supported", "write :ro or nothing")
        return None
    return _mount(item, source, target, mode == "ro")


def _long_mount(item: Value) -> dict[str, Any] | None:
    section = item.section(MOUNT)
    kind, source, target = section.get("type"), section.get("source"), section.get("target")
    read_only = section.get("read_only")
    if kind is not None and kind.tree.raw == "bind":
        fix = _bind_fix(source.tree.raw if source else "", target.tree.raw if target else "")
        kind.mistake("mounts a folder of the host, and every host has another", fix)
        return None
    name = kind.one_of("volume", "tmpfs") if kind else None
    if kind is None:
        item.mistake("has no type", "write type: volume")
    path = target.text() if target else None
    if target is None:
        item.mistake("has no target", "write target: /path in the container")
    if name is None or path is None:
        return None
    if name == "tmpfs":
        if source is not None:
            source.mistake("a tmpfs has no source")
        return _mount(item, None, path, False)
    source_name = source.text() if source else None
    if source_name is None:
        if source is None:
            item.mistake("is a volume without a name, which nothing could find again", "write source: NAME")
        return None
    return _mount(item, source_name, path, bool(read_only.flag()) if read_only else False)


def _bind_fix(source: str, target: str) -> str:
    if target.startswith(INITDB):
        files = f"{{init: {{files: {{{target[:80]}: {source[:80]}}}}}}}"
        return f"write x-skerry: image: {files}, and they become a part of what makes the data"
    return BIND_FIX


def _mount(item: Value, volume: str | None, target: str, read_only: bool) -> dict[str, Any] | None:
    try:
        return {"volume": volume, "target": values.absolute(target), "read_only": read_only}
    except ValueError as error:
        item.mistake(str(error))
        return None
