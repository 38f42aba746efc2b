"""Form: names that appear twice, what is no envelope or no document, and sizes."""

from __future__ import annotations

import msgspec
import pytest

from skerry.core.intent import Service
from skerry.trust import envelope
from trust.forging import CLAIM, payload_of
from trust.world import (
    app_body,
    cloud_of_three,
    fact,
    sign,
    signer,
)


def raw_app(payload: bytes) -> bytes:
    return envelope.sign("app", payload, [signer("anna")])


def test_a_name_that_appears_twice_is_refused_in_payload_and_envelope():
    host = cloud_of_three()
    payload = payload_of(sign("app/web", app_body()))
    twice = payload.replace(b'"version":1', b'"version":1,"version":2')
    assert host.refuse(raw_app(twice)).code == "malformed"
    hidden = payload.replace(b'"version":1', b'"version":1,"\\u0076ersion":2')
    assert host.refuse(raw_app(hidden)).code == "malformed"
    whole = sign("app/web", app_body())
    assert host.refuse(whole[:-1] + b',"payload":"e30="}').code == "malformed"
    body_twice = payload.replace(b'"replicas":3', b'"replicas":3,"replicas":900')
    assert host.refuse(raw_app(body_twice)).code == "malformed"


@pytest.mark.parametrize("raw", [
    b"", b"{}", b"null", b"[" * 90_000, b'{"a":' * 15_000, b'{"payload":NaN}', b"\xff\xfe{", "{}".encode("utf-16"),
    b'{"payload":"e30=","payloadType":"text/plain","signatures":[]}',
])  # fmt: skip
def test_what_is_no_envelope_is_malformed(raw):
    assert cloud_of_three().refuse(raw).code == "malformed"


@pytest.mark.parametrize("payload", [
    b"[" * 40_000, b'{"cloud":' + b"[" * 40_000, b"NaN", b"{}", b"\xff", b'{"cloud":"\\ud800"}', b'"' + b"\\" * 9 + b'"',
])  # fmt: skip
def test_a_payload_that_is_no_document_is_malformed(payload):
    assert cloud_of_three().refuse(raw_app(payload)).code == "malformed"


@pytest.mark.parametrize("change, to", [
    (b'"version":1', b'"version":0'), (b'"version":1', b'"version":-1'), (b'"version":1', b'"version":1.5'),
    (b'"version":1', b'"version":"1"'), (b'"version":1', b'"version":true'), (b'"version":1', b'"version":9007199254740993'),
    (b'"epoch":0', b'"epoch":-1'), (b'"issued":1800086400.0', b'"issued":1e999'), (b'"issued":1800086400.0', b'"issued":NaN'),
    (b'"issued":1800086400.0', b'"issued":-1'), (b'"prev":""', b'"prev":null'), (b'"prev":"",', b""),
])  # fmt: skip
def test_a_header_that_is_not_strict_is_malformed(change, to):
    payload = payload_of(sign("app/web", app_body()))
    assert change in payload
    assert cloud_of_three().refuse(raw_app(payload.replace(change, to))).code == "malformed"


def test_too_many_signatures_are_malformed():
    raw = sign("app/web", app_body(), tuple(f"key-{n}" for n in range(17)))
    assert cloud_of_three().refuse(raw).code == "malformed"


def test_documents_and_facts_have_a_size():
    host = cloud_of_three()
    big = app_body(services={f"s{n}": Service(command=("x" * 1500,)) for n in range(60)})
    assert host.refuse(sign("app/web", big)).code == "too-big"
    less = app_body(services={f"s{n}": Service(command=("x" * 1500,)) for n in range(45)})
    assert len(sign("app/web", less)) < envelope.ENVELOPE_BYTES
    assert host.refuse(sign("app/web", less)).code == "too-big"
    long = msgspec.structs.replace(CLAIM, reason="x" * 4096)
    assert host.refuse(fact("vps-1", "claim", "web.web/0", (1, 1), long)).code == "too-big"
    assert host.refuse(b" " * 100_000).code == "too-big"


def test_many_brackets_that_are_not_deep_are_fine():
    services = {f"s{n}": Service(command=("[{" * 20,), expose=(1,)) for n in range(30)}
    cloud_of_three().take(sign("app/web", app_body(services=services)))
