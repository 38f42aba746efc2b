"""Lines of logs for one receiver: in the form that it wants, handed over, and what it said. A child of the agent's (child.py).

Where a receiver is, is a URL: `syslog+udp://host:514`, `syslog+tcp://`, `syslog+tls://` (RFC 5424; framed by octet counts, RFC 6587
and 5425), `loki+http://`, `loki+https://` (push API), `otlp+http://`, `otlp+https://` (OTLP/HTTP, JSON). What stands before
the @ is a token, or `user:password`.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import msgspec

SEND_S = 20.0
CLOSED_WITHIN_S = 3.0
DATAGRAM_BYTES = 2048  # RFC 5424, 6.1: what receivers should take
USER = 1 << 3  # facility "user-level messages"
SEVERITIES = {"stdout": (6, 9, "INFO"), "stderr": (3, 17, "ERROR")}  # stream -> of syslog, of OTLP, its word
REFUSED = (400, 413, 422)  # the same again would be refused again


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """`rows`: [time, slot, stream, text], or [time, slot, "", "", n] where n lines are missing."""

    url: str
    cloud: str
    node: str
    rows: list[list[Any]]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """`final`: it took the words and refused them; the same again would be refused again."""

    ok: bool
    final: bool = False
    detail: str = ""


def text_of(row: list[Any]) -> str:
    return str(row[3]) if len(row) == 4 else f"({row[4]} lines are missing here)"


def nanoseconds(time: str) -> int:
    """Unix time of a line's stamp, whose fraction has up to nine digits. 0 for what is none."""
    whole, dot, rest = time.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    try:
        seconds = int(datetime.fromisoformat(whole + rest[len(digits) :] if dot else time).timestamp())
    except ValueError:
        return 0
    return seconds * 10**9 + int((digits + "0" * 9)[:9])


def parts_of(slot: str) -> tuple[str, str, str]:
    """(app, service, index)"""
    name, _, index = slot.partition("/")
    app, _, service = name.partition(".")
    return app, service, index


# -- syslog


def syslog_line(batch: Batch, row: list[Any]) -> bytes:
    """RFC 5424, section 6. The time has at most microseconds there; a header's names have no spaces."""
    app, service, index = parts_of(row[1])
    severity = SEVERITIES.get(row[2], SEVERITIES["stderr"])[0]
    whole, _, rest = row[0].partition(".")
    stamp = f"{whole}.{rest[:6]}{rest[rest.find('+') :] if '+' in rest else 'Z'}" if rest else "-"
    host, name = _word(batch.node, 255), _word(f"{app}.{service}", 48)
    text = text_of(row).replace("\x00", "\ufffd")
    return f"<{USER + severity}>1 {stamp} {host} {name} {_word(index, 128)} - - \ufeff{text}".encode()


def _word(text: str, most: int) -> str:
    return "".join(c if "!" <= c <= "~" else "?" for c in text)[:most] or "-"


def _syslog(batch: Batch, at: SplitResult) -> Answer:
    kind = at.scheme.removeprefix("syslog+")
    host, port = at.hostname or "", at.port or (6514 if kind == "tls" else 514)
    lines = [syslog_line(batch, row) for row in batch.rows]
    if kind == "udp":
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            for line in lines:
                sock.sendto(line[:DATAGRAM_BYTES], address)
        return Answer(ok=True, detail="sent; nobody says whether it came")
    with socket.create_connection((host, port), timeout=SEND_S) as plain:
        framed = b"".join(b"%d %b" % (len(line), line) for line in lines)
        if kind == "tls":
            import httpx

            with httpx.create_ssl_context().wrap_socket(plain, server_hostname=host) as secure:
                secure.sendall(framed)
                return _closed(secure, secure.unwrap)
        plain.sendall(framed)
        return _closed(plain, lambda: plain.shutdown(socket.SHUT_WR))


def _closed(sock: socket.socket, end: Callable[[], object]) -> Answer:
    """Syslog has no answer. Who has read all that there is closes too, and so says that it has."""
    sock.settimeout(CLOSED_WITHIN_S)
    try:
        end()
        while sock.recv(4096):
            pass
    except TimeoutError:
        return Answer(ok=True, detail="sent; it keeps the connection")
    return Answer(ok=True, detail="taken")


# -- HTTP


def loki_body(batch: Batch) -> dict[str, Any]:
    """Push API: one stream for each set of labels."""
    streams: dict[tuple[str, str], list[list[str]]] = {}
    for row in batch.rows:
        streams.setdefault((row[1], row[2] or "stderr"), []).append([str(nanoseconds(row[0])), text_of(row)])
    return {
        "streams": [
            {
                "stream": dict(
                    zip(
                        ("app", "service", "slot", "node", "stream"),
                        (*parts_of(slot)[:2], slot, batch.node, stream),
                        strict=True,
                    )
                ),
                "values": values,
            }
            for (slot, stream), values in streams.items()
        ]
    }


def otlp_body(batch: Batch) -> dict[str, Any]:
    """ExportLogsServiceRequest as OTLP's JSON has it: 64-bit numbers are texts."""

    def attributes(**values: str) -> list[dict[str, Any]]:
        return [{"key": key.replace("_", "."), "value": {"stringValue": value}} for key, value in values.items()]

    of_slot: dict[str, list[list[Any]]] = {}
    for row in batch.rows:
        of_slot.setdefault(row[1], []).append(row)
    return {
        "resourceLogs": [
            {
                "resource": {
                    "attributes": attributes(
                        service_namespace=parts_of(slot)[0], service_name=parts_of(slot)[1], service_instance_id=slot,
                        host_name=batch.node,
                    )
                },
                "scopeLogs": [{"scope": {"name": "skerry"}, "logRecords": [_record(row, attributes) for row in rows]}],
            }
            for slot, rows in of_slot.items()
        ]
    }  # fmt: skip


def _record(row: list[Any], attributes: Any) -> dict[str, Any]:
    _, number, word = SEVERITIES.get(row[2], SEVERITIES["stderr"])
    time = str(nanoseconds(row[0]))
    return {
        "timeUnixNano": time,
        "observedTimeUnixNano": time,
        "severityNumber": number,
        "severityText": word,
        "body": {"stringValue": text_of(row)},
        "attributes": attributes(log_iostream=row[2] or "stderr"),
    }


PATHS = {"loki": "/loki/api/v1/push", "otlp": "/v1/logs"}


def _http(batch: Batch, at: SplitResult) -> Answer:
    import base64
    import gzip

    import httpx

    kind, _, scheme = at.scheme.partition("+")
    body = gzip.compress(msgspec.json.encode(loki_body(batch) if kind == "loki" else otlp_body(batch)), 5)
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    if at.password is not None:
        pair = f"{unquote(at.username or '')}:{unquote(at.password)}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    elif at.username:
        headers["Authorization"] = f"Bearer {unquote(at.username)}"
    if tenant := parse_qs(at.query).get("tenant"):
        headers["X-Scope-OrgID"] = tenant[0]
    place = at.netloc.rpartition("@")[2]
    path = at.path if at.path not in ("", "/") else PATHS[kind]
    with httpx.Client(timeout=SEND_S, follow_redirects=False) as client:
        response = client.post(f"{scheme}://{place}{path}", content=body, headers=headers)
    detail = f"{response.status_code} {response.reason_phrase} {response.text.strip()[:200]}".strip()
    return Answer(ok=response.is_success, final=response.status_code in REFUSED, detail=detail)


def deliver(batch: Batch) -> Answer:
    """Never raises for what the receiver or the network does. What the URL holds is in no answer."""
    at = urlsplit(batch.url)
    try:
        return _syslog(batch, at) if at.scheme.startswith("syslog+") else _http(batch, at)
    except Exception as error:  # whatever a network and its libraries come up with is the answer
        return Answer(
            ok=False, detail=f"{type(error).__name__}: {error}".replace(at.netloc.rpartition("@")[0] or "\0", "…")[:300]
        )


def main() -> NoReturn:
    batch = msgspec.json.decode(sys.stdin.buffer.read(64 << 20), type=Batch)
    sys.stdout.buffer.write(msgspec.json.encode(deliver(batch)))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
