"""Signatures, keys and kinds: what is forged, signed by the wrong one, or read as something else. Nothing that is held may change."""

from __future__ import annotations

import base64

import msgspec
import pytest

from skerry.core.facts import SlotState
from skerry.trust import envelope
from skerry.trust.refusals import FalseSignature, NotYet
from trust.forging import forge, payload_of
from trust.world import (
    IMAGE,
    UP,
    app_body,
    cloud_of_three,
    fact,
    node_body,
    policy,
    policy_body,
    release_body,
    sign,
    signer,
    up,
)


def test_a_changed_byte_under_a_good_signature_costs_the_neighbour_its_link():
    host = cloud_of_three()
    refusal = host.refuse(forge(sign("app/web", app_body()), b'"replicas":3', b'"replicas":9'))
    assert isinstance(refusal, FalseSignature)


def test_a_forged_fact_of_another_host_costs_the_neighbour_its_link():
    assert isinstance(cloud_of_three().refuse(forge(up("vps-1"), b'"cpus":2', b'"cpus":9')), FalseSignature)


def test_a_junk_signature_beside_a_good_one_is_refused_so_that_no_relay_can_be_framed():
    opened = msgspec.json.decode(sign("app/web", app_body()))
    junk = {"keyid": signer("stranger").key, "sig": base64.b64encode(bytes(64)).decode()}
    opened["signatures"].append(junk)
    assert isinstance(cloud_of_three().refuse(msgspec.json.encode(opened)), FalseSignature)


@pytest.mark.parametrize("path, body", [
    ("app/web", app_body()), ("release/web", release_body()), ("node/vps-9", node_body("vps-9")), ("policy", policy_body()),
])  # fmt: skip
def test_a_captured_hosts_key_signs_no_intent(path, body):
    refusal = cloud_of_three().refuse(sign(path, body, "vps-1"))
    assert refusal.code in ("role-does-not-cover", "unknown-key")


def test_a_captured_host_speaks_for_no_other_host():
    host = cloud_of_three()
    assert host.refuse(fact("vps-2", "up", "", (1, 1), UP, by="vps-1")).code == "unknown-author"


def test_a_captured_host_gives_no_address_of_another_hosts_network():
    state = SlotState(spec="s", image=IMAGE, state="running", address="10.77.2.9")
    refusal = cloud_of_three().refuse(fact("vps-1", "slot", "web.web/0", (1, 1), state))
    assert refusal.code == "out-of-bounds"


def test_a_key_without_a_part_in_the_cloud_is_not_yet_known():
    refusal = cloud_of_three().refuse(sign("app/web", app_body(), "stranger"))
    assert refusal.code == "unknown-key" and isinstance(refusal, NotYet)


def test_the_same_operator_twice_is_one_of_two():
    host = cloud_of_three()
    new = policy(("anna",), version=2, prev=host.hash("policy"))
    assert host.refuse(new).code == "threshold-not-met"
    opened = msgspec.json.decode(new)
    opened["signatures"] *= 2
    assert host.refuse(msgspec.json.encode(opened)).code == "malformed"
    twice = msgspec.json.decode(new)
    twice["signatures"].append({**twice["signatures"][0], "keyid": signer("anna").key.upper()})
    assert host.refuse(msgspec.json.encode(twice)).code in ("threshold-not-met", "false-signature")


def test_the_second_operator_completes_what_the_first_began():
    host = cloud_of_three()
    half = policy(("anna",), version=2, prev=host.hash("policy"))
    host.take(envelope.add_signature(half, signer("ben")))
    assert host.held("policy").version == 2


def test_one_kind_is_not_read_as_another():
    host = cloud_of_three()
    opened = msgspec.json.decode(sign("release/web", release_body(), "ci"))
    opened["payloadType"] = envelope.payload_type("app")
    assert host.refuse(msgspec.json.encode(opened)).code == "malformed"
    secret = sign("secret/web", app_body())  # an app's body signed as a secret
    assert host.refuse(secret).code == "malformed"


def test_one_kind_does_not_live_at_anothers_path():
    host = cloud_of_three()
    raw = envelope.sign("app", payload_of(sign("release/web", app_body())), [signer("anna")])
    assert host.refuse(raw).code == "out-of-bounds"


def test_another_clouds_document_is_refused():
    host = cloud_of_three()
    assert host.refuse(sign("app/web", app_body(), cloud="0" * 64)).code == "wrong-cloud"
    assert host.refuse(fact("vps-1", "up", "", (1, 1), UP, cloud="0" * 64)).code == "wrong-cloud"
    assert host.refuse(sign("app/web", app_body(), cloud="")).code == "wrong-cloud"
