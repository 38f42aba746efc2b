"""What an application tells about itself in Prometheus' text form: read with bounds, as it may be hostile. Pure, but for `fetch`.

A parser of our own, as prometheus_client's would take 4 MB of every agent; tests hold it against that one. Histograms' buckets are
left out unless they are asked for by name. Source: Prometheus, "Exposition formats", text format 0.0.4.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from typing import NamedTuple

ANSWER_MAX_BYTES = 1 << 20
LINES_MAX = 10_000
LINE_MAX = 4096
NAMED_MAX = 400  # characters of a name with its labels
LABELS_MAX = 16
WITHIN_S = 3.0
_SAMPLE = re.compile(r"([A-Za-z_:][A-Za-z0-9_:]*)(?:[ \t]*\{(.*)\}[ \t]*|[ \t]+)([^ \t{}]+)(?:[ \t]+-?[0-9]+)?[ \t]*")
_LABEL = re.compile(r'[ \t]*([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*(,|$)')
_TYPE = re.compile(r"#[ \t]+TYPE[ \t]+([A-Za-z_:][A-Za-z0-9_:]*)[ \t]+([a-z]+)[ \t]*")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|[Ii]nf|NaN)")
_ESCAPED = re.compile(r"\\(.)")
_MEANS = {"n": "\n", "\\": "\\", '"': '"'}


class Sample(NamedTuple):
    """`counts`: it only grows, so that its rate is what says something."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float
    counts: bool


class Read(NamedTuple):
    """`left`: so many series were left out, being too many or too long."""

    samples: list[Sample]
    left: int = 0


class NotTold(Exception):
    """Nothing was read; the text says why."""


def read(text: str, names: Collection[str], most: int) -> Read:
    """The first `most` series, of these names (none: all). Lines that are none are left out."""
    kinds: dict[str, str] = {}
    found: dict[tuple[str, tuple[tuple[str, str], ...]], Sample] = {}
    left = 0
    for number, line in enumerate(text.split("\n")):
        if number >= LINES_MAX:
            left += 1
            break
        line = line.strip(" \t\r")
        if not line or len(line) > LINE_MAX:
            continue
        if line[0] == "#":
            if told := _TYPE.fullmatch(line):
                kinds[told[1]] = told[2]
            continue
        sample = _sample(line, kinds, names)
        if sample is None:
            continue
        key = sample.name, sample.labels
        if key in found or (len(found) < most and _length(key) <= NAMED_MAX):
            found[key] = sample
        else:
            left += 1
    return Read(list(found.values()), left)


async def fetch(address: str, port: int, path: str) -> str:
    """What a container answers. Raises NotTold. HTTP/1.0: so that it comes in one piece, and the end of the stream is its end."""
    try:
        async with asyncio.timeout(WITHIN_S):
            reader, writer = await asyncio.open_connection(address, port, limit=64 << 10)
            try:
                asked = f"GET {path} HTTP/1.0\r\nHost: {address}:{port}\r\nConnection: close\r\n"
                asked += "Accept: text/plain;version=0.0.4\r\n\r\n"
                writer.write(asked.encode("ascii"))
                data = b""
                while len(data) <= ANSWER_MAX_BYTES and (more := await reader.read(64 << 10)):
                    data += more
            finally:
                writer.transport.abort()
    except TimeoutError:
        raise NotTold(f"no answer in {WITHIN_S:g} s") from None
    except OSError as error:
        raise NotTold(f"port {port}: {error.strerror or error}"[:120]) from None
    head, empty, body = data.partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0].split(b" ")
    if not empty or len(status) < 2 or not status[0].startswith(b"HTTP/1.") or status[1] != b"200":
        raise NotTold(f"{path}: no HTTP 200, but {head[:40]!r}")
    if len(data) > ANSWER_MAX_BYTES:
        raise NotTold(f"{path}: more than {ANSWER_MAX_BYTES >> 20} MiB")
    if b"\nTransfer-Encoding: chunked".lower() in head.lower():
        raise NotTold(f"{path}: it answers HTTP/1.0 in chunks")
    return body.decode("utf-8", "replace")


def _sample(line: str, kinds: dict[str, str], names: Collection[str]) -> Sample | None:
    told = _SAMPLE.fullmatch(line)
    if told is None or not _NUMBER.fullmatch(told[3]):
        return None
    name = told[1]
    family = next(
        (name.removesuffix(end) for end in ("_bucket", "_sum", "_count", "_total") if name.endswith(end)), name
    )
    kind = kinds.get(name) or kinds.get(family) or "untyped"
    if names:
        if name not in names and family not in names:
            return None
    elif name.endswith("_bucket") and kind == "histogram":
        return None
    labels = _labels(told[2] or "")
    if labels is None:
        return None
    counts = kind == "counter" or (kind in ("histogram", "summary") and name != family) or name.endswith("_total")
    return Sample(name, labels, float(told[3]), counts)


def _labels(text: str) -> tuple[tuple[str, str], ...] | None:
    """None: it is none, or too many."""
    labels: list[tuple[str, str]] = []
    at = 0
    while at < len(text) and text[at:].strip():
        told = _LABEL.match(text, at)
        if told is None or len(labels) == LABELS_MAX:
            return None
        labels.append((told[1], _ESCAPED.sub(lambda found: _MEANS.get(found[1], found[0]), told[2])))
        at = told.end()
    return tuple(sorted(labels)) if len(dict(labels)) == len(labels) else None


def _length(key: tuple[str, tuple[tuple[str, str], ...]]) -> int:
    name, labels = key
    return len(name) + sum(len(label) + len(value.encode()) for label, value in labels)
