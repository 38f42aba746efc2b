"""Signed requests: who may ask what, of whom, and only once."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.intent import Role
from skerry.errors import TrustRefusal
from skerry.trust import envelope
from skerry.trust.requests import ATTACHED_BYTES, PUTS, READS, judge_request, make_request
from trust.world import CLOUD, ROOT, T0, Host, app_body, cloud_of_three, policy, policy_body, sign, signer

ME = "node/vps-1"
TRUSTED = cloud_of_three().trusted


def ask(by: str = "anna", verb: str = "volume-rm", *, cloud: str = CLOUD, node: str = ME, nonce: str = "n1") -> bytes:
    return make_request(signer(by), cloud, node, verb, {"app": "web"}, nonce, T0)


def judge(raw: bytes, *, nonce: str = "n1", now_s: float = T0, trusted=TRUSTED):
    return judge_request(raw, trusted, node=ME, nonce=nonce, now_s=now_s)


def test_an_operator_may_ask_everything():
    request = judge(ask())
    assert (request.verb, request.args, request.role, request.name) == (
        "volume-rm",
        {"app": "web"},
        "operators",
        "anna",
    )


@pytest.mark.parametrize("verb", sorted(READS | PUTS))
def test_ci_may_read_and_hand_over(verb):
    assert judge(ask("ci", verb)).role == "ci"


@pytest.mark.parametrize("verb", ["volume-rm", "logs", "events", "draft", "drafts", "upgrade", "shell", "", "PUT"])
def test_ci_may_do_nothing_else(verb):
    with pytest.raises(TrustRefusal) as refusal:
        judge(ask("ci", verb))
    assert refusal.value.code == "verb-not-allowed"


@pytest.mark.parametrize(
    "raw, nonce, code",
    [
        (ask(cloud="0" * 64), "n1", "request-refused"),
        (ask(node="node/vps-2"), "n1", "request-refused"),  # recorded by one host, repeated to another
        (ask(), "n2", "request-refused"),  # repeated later
        (ask(nonce=""), "", "request-refused"),
        (ask("vps-2", "heads"), "n1", "unknown-key"),  # a host is no client
        (ask("stranger", "heads"), "n1", "unknown-key"),
        (envelope.add_signature(ask(), signer("ben")), "n1", "malformed"),
        (envelope.sign("app", envelope.parse(ask()).payload, [signer("anna")]), "n1", "malformed"),
    ],
)
def test_what_is_not_asked_here_and_now_is_refused(raw, nonce, code):
    with pytest.raises(TrustRefusal) as refusal:
        judge(raw, nonce=nonce)
    assert refusal.value.code == code


def test_a_request_in_anothers_name_is_false():
    opened = msgspec.json.decode(ask("ci", "heads"))
    opened["signatures"][0]["keyid"] = signer("anna").key
    with pytest.raises(TrustRefusal) as refusal:
        judge(msgspec.json.encode(opened))
    assert refusal.value.code == "false-signature"


def test_a_role_that_is_over_and_a_barred_key_ask_nothing():
    ci = msgspec.structs.replace(policy_body().roles[1], until=T0 + 10)
    roles = (policy_body().roles[0], ci)
    trusted = Host(ROOT, policy(roles=roles)).trusted
    assert judge(ask("ci", "heads"), trusted=trusted, now_s=T0 + 10).role == "ci"
    with pytest.raises(TrustRefusal):
        judge(ask("ci", "heads"), trusted=trusted, now_s=T0 + 11)
    for name in ("ci", "ben"):
        barred = Host(ROOT, policy(barred=(signer(name).key,))).trusted
        with pytest.raises(TrustRefusal):
            judge(ask(name, "heads"), trusted=barred)


@pytest.mark.parametrize("depth", [100, 450, 900, 990, 1000, 5000, 100_000])
def test_arguments_as_deep_as_they_may_be_end_in_nothing_worse_than_a_refusal(depth):
    payload = envelope.parse(ask()).payload.replace(b'{"app":"web"}', b"[" * depth + b"]" * depth)
    try:
        judge(envelope.sign("request", payload, [signer("anna")]))
    except TrustRefusal as refusal:
        assert refusal.code in ("malformed", "too-big")


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(raw):
    with pytest.raises(TrustRefusal):
        judge(raw)


def test_what_is_handed_over_comes_as_it_was_signed_for():
    records = (ROOT, policy(), b"with\na newline")
    request = judge(make_request(signer("anna"), CLOUD, ME, "put", {}, "n1", T0, records))
    assert request.attached == records and request.args == {}
    assert judge(ask()).attached == ()


@pytest.mark.parametrize(
    "rest", [b"", b"\n\x91\xc4\x01y", b"\n\x92\xc4\x01x\xc4\x01x", b"\n\x91\xa1x", b"\n\xff", b"\n\x91"]
)
def test_anything_else_handed_over_is_refused(rest):
    raw = make_request(signer("anna"), CLOUD, ME, "put", {}, "n1", T0, [b"x"])
    head, _, attached = raw.partition(b"\n")
    assert attached == b"\x91\xc4\x01x" and judge(raw).attached == (b"x",)
    with pytest.raises(TrustRefusal) as refusal:
        judge(head + rest)
    assert refusal.value.code == "malformed"


def test_too_much_handed_over_is_refused_unread():
    raw = make_request(signer("anna"), CLOUD, ME, "put", {}, "n1", T0, [bytes(ATTACHED_BYTES)])
    with pytest.raises(TrustRefusal) as refusal:
        judge(raw)
    assert refusal.value.code == "too-big"


def having(*asks: str, paths: tuple[str, ...], by: str = "ci", until: float = 0.0):
    role = Role(name="lookers", keys=(signer(by).key,), asks=asks, paths=paths, until=until)
    return Host(ROOT, policy(roles=(policy_body().roles[0], role))).trusted


def test_a_right_lets_its_verbs_be_asked_about_its_apps_alone():
    request = judge(ask("ci", "logs"), trusted=having("observe", paths=("app/web",)))
    assert request.may("observe", "app/web") and not request.may("observe", "app/shop")
    assert not request.may("debug", "app/web") and not request.may("observe", "node/vps-1")
    request.must("observe", "app/web")
    with pytest.raises(TrustRefusal) as refusal:
        request.must("observe", "app/shop")
    assert refusal.value.code == "verb-not-allowed" and "observe app/shop" in refusal.value.why
    with pytest.raises(TrustRefusal):
        judge(ask("ci", "debug"), trusted=having("observe", paths=("app/*",)))
    with pytest.raises(TrustRefusal):
        judge(ask("ci", "logs"), trusted=having("observe", paths=("app/*",), until=T0 - 1))


def test_operators_look_into_apps_and_into_whole_hosts_only_if_policy_says_so():
    assert judge(ask()).may("debug", "app/web") and judge(ask()).may("observe", "node/vps-1")
    assert not judge(ask()).may("debug-host", "node/vps-1")
    given = judge(ask(), trusted=having("debug-host", paths=("node/vps-1",), by="anna"))
    assert given.may("debug-host", "node/vps-1") and not given.may("debug-host", "node/vps-2")
    over = judge(ask(), trusted=having("debug-host", paths=("node/*",), by="anna", until=T0 - 1))
    assert not over.may("debug-host", "node/vps-1")


def test_a_role_that_may_only_ask_signs_nothing():
    role = Role(name="lookers", keys=(signer("ci").key,), asks=("observe", "debug"), paths=("app/web",))
    host = Host(ROOT, policy(roles=(policy_body().roles[0], role)))
    assert host.refuse(sign("app/web", app_body(), "ci")).code == "role-does-not-cover"
    with pytest.raises(TrustRefusal):
        Host(ROOT).take(policy(roles=(policy_body().roles[0], msgspec.structs.replace(role, asks=("all",)))))
