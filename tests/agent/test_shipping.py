"""Lines that are sent on: in the form that each receiver's specification has, at least once, also over outages and an agent's end."""

from __future__ import annotations

import asyncio
import gzip
import json
import secrets
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf.json_format import Parse
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from agent.small import SmallCloud
from ports import free_port
from skerry.agent import child
from skerry.agent.logs import shipping
from skerry.agent.logs.shipper import Answer, Batch, loki_body, nanoseconds, otlp_body, syslog_line
from skerry.agent.logs.tails import moment
from skerry.client.session import Session
from skerry.core.intent import App, Release, Service
from skerry.observe.logstore import pack
from skerry.trust import seal

T = "2026-11-26T10:00:01.123456789+00:00"
ROWS: list[list[Any]] = [
    [T, "shop.web/0", "stdout", "hello"],
    [T, "shop.web/1", "stderr", "ünïcode \x1b[31m"],
    [T, "shop.web/0", "", "", 7],
]
WITHIN_S = 30.0
BACK_S = 1.5


def batch(url: str, rows: list[list[Any]] = ROWS) -> Batch:
    return Batch(url=url, cloud="c" * 64, node="vps-1", rows=rows)


async def sent(url: str, rows: list[list[Any]] = ROWS) -> Answer:
    """By the child, as agents do it."""
    out, why = await child.asked("skerry.agent.logs.shipper", msgspec.json.encode(batch(url, rows)), limit_s=20.0)
    assert out, why
    return msgspec.json.decode(out, type=Answer)


class Receiver:
    """An HTTP server that keeps what it gets. `answers`: status codes still to be given, then 204."""

    def __init__(self, port: int = 0) -> None:
        self.got: list[tuple[str, dict[str, str], Any]] = []
        self.answers: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.answers.pop(0) if receiver.answers else 204
                if status < 300:
                    receiver.got.append((self.path, dict(self.headers), json.loads(gzip.decompress(body))))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *words: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.place = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def texts(self) -> list[str]:
        return [value[1] for _, _, body in self.got for stream in body["streams"] for value in stream["values"]]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


# -- forms


async def test_loki_gets_streams_by_label_with_its_token_and_tenant(receiver: Receiver) -> None:
    answer = await sent(f"loki+http://t%40ken@{receiver.place}?tenant=blue")
    assert answer.ok
    ((path, headers, body),) = receiver.got
    assert (path, headers["Authorization"], headers["X-Scope-OrgID"]) == ("/loki/api/v1/push", "Bearer t@ken", "blue")
    labels = {"app": "shop", "service": "web", "slot": "shop.web/0", "node": "vps-1", "stream": "stdout"}
    assert body["streams"][0] == {"stream": labels, "values": [["1795687201123456789", "hello"]]}
    assert sum(len(stream["values"]) for stream in body["streams"]) == 3


async def test_otlp_gets_what_its_schema_has(receiver: Receiver) -> None:
    assert (await sent(f"otlp+http://ann:pass@{receiver.place}")).ok
    ((path, headers, body),) = receiver.got
    assert (path, headers["Content-Type"]) == ("/v1/logs", "application/json")
    assert headers["Authorization"] == "Basic YW5uOnBhc3M="
    request = Parse(json.dumps(body), ExportLogsServiceRequest())  # refuses what the schema does not know
    records = [r for group in request.resource_logs for scope in group.scope_logs for r in scope.log_records]
    assert sorted(record.body.string_value for record in records) == sorted(
        ["hello", ROWS[1][3], "(7 lines are missing here)"]
    )
    assert {record.time_unix_nano for record in records} == {1795687201123456789}
    names = {a.key: a.value.string_value for a in request.resource_logs[0].resource.attributes}
    assert names["service.name"] == "web" and names["host.name"] == "vps-1"


@pytest.mark.parametrize("kind", ["tcp", "tls"])
async def test_syslog_lines_are_framed_by_their_length(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[bytes] = []
    context = None
    if kind == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(own_certificate(tmp_path))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "own.pem"))

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                length = int(await reader.readuntil(b" "))
            except asyncio.IncompleteReadError:
                break
            got.append(await reader.readexactly(length))
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        answer = await sent(f"syslog+{kind}://localhost:{port}")
    assert answer == Answer(ok=True, detail="taken"), answer
    first = b"<14>1 2026-11-26T10:00:01.123456+00:00 vps-1 shop.web 0 - - \xef\xbb\xbfhello"
    assert got[0] == first and len(got) == 3
    assert got[1].startswith(b"<11>1 ") and got[1].endswith("ünïcode \x1b[31m".encode())


async def test_syslog_by_datagrams() -> None:
    got: list[bytes] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            got.append(self.request[0])

    with socketserver.UDPServer(("127.0.0.1", 0), Handler) as server:
        server.timeout = 5
        long = [*ROWS[:2], [T, "shop.web/0", "stdout", "x" * 5000]]
        assert (await sent(f"syslog+udp://127.0.0.1:{server.server_address[1]}", long)).ok
        for _ in range(3):
            await asyncio.to_thread(server.handle_request)
    assert len(got) == 3 and got[0].endswith(b"hello") and len(got[2]) == 2048


async def test_what_a_receiver_says_is_told_and_no_token_is(receiver: Receiver) -> None:
    receiver.answers = [400, 503]
    refused, busy = [await sent(f"loki+http://tok3n@{receiver.place}") for _ in range(2)]
    assert (refused.ok, refused.final, refused.detail[:3]) == (False, True, "400")
    assert (busy.ok, busy.final, busy.detail[:3]) == (False, False, "503")
    nobody = await sent(f"loki+http://tok3n@127.0.0.1:{free_port()}")
    assert not nobody.ok and not nobody.final and "tok3n" not in str((refused, busy, nobody))


TEXT = st.text(max_size=40)


@settings(max_examples=40)
@given(TEXT, TEXT, st.sampled_from(["stdout", "stderr", "", "?"]), TEXT)
def test_whatever_is_written_stays_within_the_form(time: str, slot: str, stream: str, text: str) -> None:
    one = batch("", [[time, slot, stream, text]])
    line = syslog_line(one, one.rows[0]).decode("utf-8", "surrogatepass") if text.isprintable() else ""
    assert not line or len(line.split(" - - \ufeff", 1)[0].split(" ")) >= 5
    json.dumps(loki_body(one))
    Parse(json.dumps(otlp_body(one)), ExportLogsServiceRequest())
    assert nanoseconds(time) >= -(10**20)


# -- from the store to the receiver


async def wait(what: str, see: Any) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while not see():
        assert time.monotonic() < deadline_s, f"waited {WITHIN_S} s for {what}"
        await asyncio.sleep(0.05)


def write(cloud: SmallCloud, n: int, count: int = 3) -> list[str]:
    """Lines of a container, as the monitor stamps them: so long ago that nothing earlier can come."""
    stamp = moment(BACK_S)
    texts = [f"line {n}.{i}" for i in range(count)]
    data = "".join(f"{stamp} stdout F {text}\n" for text in texts)
    cloud.agents["vps-1"].logs.store.append("shop.web/0", [pack(data.encode())])
    return texts


async def test_lines_are_sent_on_over_an_outage_and_a_restart(
    cloud: SmallCloud, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "ROUND_S", 0.1)
    monkeypatch.setattr(shipping, "AGAIN_S", 0.1)
    port = free_port()
    url = f"loki+http://tok3n@127.0.0.1:{port}"
    key = secrets.token_bytes(seal.KEY_BYTES)
    ship = seal.seal_environment(key, {"receiver-0": url})
    await session.change(
        [
            ("secret/shop", session.seal_for_all(key)),
            ("release/shop", Release(images={"web": cloud.give_image(b"program")}, fits=1)),
            ("app/shop", App(services={"web": Service(replicas=1)}, ship=ship)),
        ]
    )
    agent = cloud.agents["vps-1"]
    shipped = agent.files.state / "shipped"
    await wait("its place", lambda: [path for path in shipped.glob("*") if path.suffix != ".new"])
    (place,) = shipped.iterdir()
    begun = msgspec.json.decode(place.read_bytes())["begun"]
    await wait("lines that are later", lambda: moment(BACK_S) > begun)  # what is older than its receiver is not sent
    wanted = write(cloud, 1)

    def told() -> list[str]:
        return [entry.reason for entry in cloud.agents["vps-1"].events.tail(100) if entry.kind == "shipping"]

    await wait("that it is told", lambda: any("does not take its logs" in line for line in told()))
    receiver = Receiver(port)
    try:
        await wait("the first lines", lambda: receiver.texts() == wanted)
        await wait("that it is told", lambda: "the receiver of its logs takes them again" in told())
        receiver.answers = [503, 500]
        before = place.read_bytes()
        wanted += write(cloud, 2)
        await wait("what waited", lambda: receiver.texts() == wanted)
        # That it was taken is written down after the receiver had it: an agent that ends in between sends it again, as is promised.
        await wait("that it is written down", lambda: place.read_bytes() != before)
        await cloud.stop("vps-1")
        await cloud.start("vps-1")
        wanted += write(cloud, 3)
        await wait("those after a restart", lambda: len(receiver.texts()) >= len(wanted))
        assert receiver.texts() == wanted, "and none twice, as nothing was lost on the way"
        assert not any("tok3n" in line for line in told())
    finally:
        receiver.close()


def own_certificate(folder: Path) -> Path:
    """For localhost, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key(), serial_number=7)
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "own.pem").write_bytes(pem + made.public_bytes(serialization.Encoding.PEM))
    return folder / "own.pem"
