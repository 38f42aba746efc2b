"""Figures of one container out of its cgroup: cgroup v1, v2 and hybrid alike. Pure parsers first, then one thin reader.

A figure that this kernel doesn't give is None, "unknown": never a zero that looks like one.
Source: Linux, Documentation/admin-guide/cgroup-v1/*.rst and cgroup-v2.rst.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from skerry.errors import BadFormat

ROOT = Path("/sys/fs/cgroup")
READ_MAX_BYTES = 64 << 10


class Pressure(msgspec.Struct, frozen=True):
    """Shares of wall time, 0.0 to 1.0, in which some (or all, `full_`) tasks waited, over the last 10, 60 and 300 s."""

    avg10: float
    avg60: float
    avg300: float
    full_avg10: float | None = None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """`cpu_s`: used since it began; `ooms`: processes killed for memory since it began. None: unknown here."""

    cpu_s: float | None = None
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    pids: int | None = None
    ooms: int | None = None
    memory_pressure: Pressure | None = None


def parse_keyed(text: str) -> dict[str, int]:
    """Read a flat keyed file such as `memory.events` or `cpu.stat`: "name number" a line. Raises BadFormat."""
    values = {}
    for line in text.splitlines():
        name, _, number = line.partition(" ")
        values[name] = _number(number, line)
    return values


def parse_single(text: str) -> int | None:
    """Read a file with one number; "max" is None. Raises BadFormat."""
    text = text.strip()
    return None if text == "max" else _number(text, text)


def parse_pressure(text: str) -> Pressure:
    """Read a PSI file such as a container's `memory.pressure` (it has percent). Raises BadFormat.

    Source: Linux, Documentation/accounting/psi.rst.
    """
    rows: dict[str, dict[str, float]] = {}
    for line in text.splitlines():
        try:
            kind, *fields = line.split()
            rows[kind] = {k: float(v) / 100 for k, _, v in (f.partition("=") for f in fields) if k.startswith("avg")}
        except ValueError as error:
            raise BadFormat("a pressure file can't be read", f"line {line[:80]!r:.100}") from error
    try:
        some = rows["some"]
        full = rows.get("full", {}).get("avg10")
        return Pressure(some["avg10"], some["avg60"], some["avg300"], full)
    except KeyError as error:
        raise BadFormat("a pressure file can't be read", f"{error} is missing") from error


def read_figures(cgroup: str, root: Path = ROOT) -> Figures:
    """All that this host tells of a cgroup such as "/skerry/ID"; a container that is gone gives only unknowns."""
    path = cgroup.lstrip("/")
    if (root / "cgroup.controllers").exists():
        return _v2(root, path)
    return _v1(root, path)


def read_cpu_s(cgroup: str, root: Path = ROOT) -> float | None:
    """Seconds of CPU that it has used, None if it is gone: `read_figures` reads seven files for the same."""
    path = cgroup.lstrip("/")
    if (root / "cgroup.controllers").exists():
        return _seconds(_keyed(root / path / "cpu.stat").get("usage_usec"), 1e6)
    return _seconds(_single(root / "cpuacct" / path / "cpuacct.usage"), 1e9)


def _v2(root: Path, path: str) -> Figures:
    at = root / path
    return Figures(
        cpu_s=read_cpu_s(path, root),
        memory_bytes=_single(at / "memory.current"),
        memory_limit_bytes=_single(at / "memory.max"),
        pids=_single(at / "pids.current"),
        ooms=_keyed(at / "memory.events").get("oom_kill"),
        memory_pressure=_pressure(at / "memory.pressure"),
    )


def _v1(root: Path, path: str) -> Figures:
    limit = _single(root / "memory" / path / "memory.limit_in_bytes")
    if limit is not None and limit >= 1 << 60:  # v1's word for "none" is the greatest page-aligned number
        limit = None
    return Figures(
        cpu_s=read_cpu_s(path, root),
        memory_bytes=_single(root / "memory" / path / "memory.usage_in_bytes"),
        memory_limit_bytes=limit,
        pids=_single(root / "pids" / path / "pids.current"),
        ooms=_keyed(root / "memory" / path / "memory.oom_control").get("oom_kill"),
        memory_pressure=_pressure(root / "unified" / path / "memory.pressure"),
    )


def _number(text: str, line: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise BadFormat("a cgroup file can't be read", f"line {line[:80]!r:.100}")
    return int(text)


def _seconds(value: int | None, per_second: float) -> float | None:
    return None if value is None else value / per_second


def _text(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(READ_MAX_BYTES).decode("ascii", "replace")
    except OSError:
        return None


def _keyed(path: Path) -> dict[str, int]:
    text = _text(path)
    return {} if text is None else parse_keyed(text)


def _single(path: Path) -> int | None:
    text = _text(path)
    return None if text is None else parse_single(text)


def _pressure(path: Path) -> Pressure | None:
    text = _text(path)
    return None if not text else parse_pressure(text)
