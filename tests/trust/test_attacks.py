"""Each attack of the design's table, and what a host that holds a cloud says to it. Nothing that is held may change."""

from __future__ import annotations

import base64
import contextlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core.facts import Claim, Have, Lost, SlotState, Verdict
from skerry.core.intent import Service
from skerry.errors import TrustRefusal
from skerry.trust import envelope
from skerry.trust.accept import Trusted
from skerry.trust.refusals import AlreadyHeld, FalseSignature, NotYet, Quota, RootAhead, Stale, Twin
from trust.world import (
    CLOUD,
    DAY_S,
    HOSTS,
    IMAGE,
    IMAGE_2,
    OPERATORS,
    ROOT,
    ROOT_KEYS,
    T0,
    UP,
    YEAR_S,
    Host,
    app_body,
    cloud_of_three,
    enrol,
    fact,
    hash_of,
    node_body,
    operator,
    policy,
    policy_body,
    release_body,
    root_body,
    sign,
    signer,
    up,
)

CLAIM = Claim(spec="s", image=IMAGE, rank=0, reason="")


def forge(raw: bytes, change: bytes, to: bytes) -> bytes:
    """The same envelope around other bytes, the old signatures kept."""
    opened = msgspec.json.decode(raw)
    payload = base64.b64decode(opened["payload"])
    assert change in payload
    opened["payload"] = base64.b64encode(payload.replace(change, to)).decode()
    return msgspec.json.encode(opened)


def payload_of(raw: bytes) -> bytes:
    return envelope.parse(raw).payload


# -- signatures, keys, kinds


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


# -- root


def next_root(host: Host, by: tuple[str, ...] = ("root-a", "root-b"), **changes) -> bytes:
    body = changes.pop("body", None) or root_body()
    header = {
        "version": host.held("root").version + 1,
        "prev": host.hash("root"),
        "expires": T0 + 5 * YEAR_S,
        **changes,
    }
    return sign("root", body, by, **header)


def test_another_clouds_first_root_is_not_ours():
    other = sign("root", root_body(threshold=3), ("root-a", "root-b", "root-c"), cloud="", issued=T0, expires=0)
    assert Host().refuse(other).code == "wrong-cloud"


def test_a_first_root_needs_its_own_threshold():
    lonely = sign("root", root_body(), "root-a", cloud="", issued=T0, expires=0)
    assert Host(cloud=hash_of(lonely)).refuse(lonely).code == "threshold-not-met"


def test_a_second_root_of_the_same_version_is_never_taken():
    host = cloud_of_three()
    fork = next_root(host, body=root_body(policy_threshold=1), issued=T0 + 1.5 * DAY_S)
    host.take(next_root(host))
    assert host.refuse(fork).code == "root-fork"


def test_a_root_that_follows_another_one_is_a_fork():
    host = cloud_of_three()
    assert host.refuse(next_root(host, prev="0" * 64)).code == "root-fork"


def test_a_root_is_not_skipped_and_says_which_one_is_missing():
    host = cloud_of_three()
    second = next_root(host)
    third = sign("root", root_body(), ("root-a", "root-c"), version=3, prev=hash_of(second), expires=T0 + 5 * YEAR_S)
    refusal = host.refuse(third)
    assert isinstance(refusal, RootAhead) and refusal.prev == hash_of(second)
    host.take_all([third, second])
    assert host.held("root").version == 3


def test_an_older_root_does_not_come_back():
    host = cloud_of_three()
    host.take(next_root(host))
    assert isinstance(host.refuse(ROOT), Stale)


def test_new_root_keys_need_enough_old_ones_and_enough_of_themselves():
    host = cloud_of_three()
    new = root_body(keys=tuple(signer(n).key for n in ("root-x", "root-y", "root-z")))
    assert host.refuse(next_root(host, ("root-x", "root-y"), body=new)).code == "threshold-not-met"
    assert host.refuse(next_root(host, ("root-a", "root-b"), body=new)).code == "threshold-not-met"
    assert host.refuse(next_root(host, ("root-a", "root-x", "root-y"), body=new)).code == "threshold-not-met"
    host.take(next_root(host, ("root-a", "root-b", "root-x", "root-y"), body=new))


def test_operators_change_no_root_and_root_keys_no_policy():
    host = cloud_of_three()
    assert host.refuse(next_root(host, OPERATORS)).code == "threshold-not-met"
    assert host.refuse(policy(("root-a", "root-b"), version=2)).code == "unknown-key"


KEY_A, KEY_B, KEY_C = (signer(name).key for name in ROOT_KEYS)
ANNA, BEN = operator("anna"), operator("ben")


@pytest.mark.parametrize("changes", [
    {"threshold": 1}, {"threshold": 0, "keys": ()}, {"keys": (KEY_A, KEY_B, KEY_B)}, {"keys": (KEY_A, KEY_B, "x")},
    {"policy_threshold": 3}, {"policy_threshold": 0}, {"policy_epoch": -1}, {"operators": (), "policy_threshold": 0},
    {"operators": (ANNA, ANNA)}, {"operators": (ANNA, msgspec.structs.replace(ANNA, name="other"))},
    {"keys": (signer("anna").key, KEY_A, KEY_B)}, {"operators": (ANNA, msgspec.structs.replace(BEN, name="anna"))},
    {"operators": (ANNA, msgspec.structs.replace(BEN, name="-b"))}, {"operators": (ANNA, msgspec.structs.replace(BEN, sealing="x"))},
    {"operators": tuple(operator(f"o{n}") for n in range(65))},
    {"operators": (ANNA, msgspec.structs.replace(BEN, certificate=ANNA.certificate))},
])  # fmt: skip
def test_a_root_that_would_not_hold_is_out_of_bounds(changes):
    host = cloud_of_three()
    assert host.refuse(next_root(host, ROOT_KEYS, body=root_body(**changes))).code == "out-of-bounds"


# -- roles


def test_ci_releases_its_own_app_and_nothing_else():
    host = cloud_of_three()
    host.take(sign("release/web", release_body(), "ci"))
    assert host.refuse(sign("release/shop", release_body(), "ci")).code == "role-does-not-cover"
    assert host.refuse(sign("app/web", app_body(), "ci")).code == "role-does-not-cover"
    assert host.refuse(enrol("vps-4", "ci")).code == "role-does-not-cover"
    assert host.refuse(sign("policy", policy_body(), ("ci", "anna"), version=2)).code == "threshold-not-met"


def test_no_rights_are_smuggled_into_a_release():
    host = cloud_of_three()
    payload = payload_of(sign("release/web", release_body(), "ci"))
    smuggled = payload.replace(b'"fits":1', b'"fits":1,"capabilities":["CAP_SYS_ADMIN"]')
    assert smuggled != payload
    assert host.refuse(envelope.sign("release", smuggled, [signer("ci")])).code == "malformed"


@pytest.mark.parametrize("image", ["nginx:latest", "sha256:abc", "sha256:" + "AB" * 32, "ab" * 32, IMAGE + "\n", ""])
def test_images_are_named_by_digest_never_by_tag(image):
    assert cloud_of_three().refuse(sign("release/web", release_body(image), "ci")).code == "out-of-bounds"


def test_a_role_that_is_over_signs_nothing_issued_after_it():
    ci = msgspec.structs.replace(policy_body().roles[1], until=T0 + 2 * DAY_S)
    host = Host(ROOT, policy(roles=(policy_body().roles[0], ci)), now_s=T0 + 5 * DAY_S)
    late = sign("release/web", release_body(), "ci", issued=T0 + 3 * DAY_S)
    assert host.refuse(late).code == "role-does-not-cover"
    host.take(
        sign("release/web", release_body(), "ci", issued=T0 + DAY_S)
    )  # judged at its own time, however late it comes


@pytest.mark.parametrize("kinds, paths", [
    (("policy",), ("policy",)), (("root",), ("root",)), (("release",), ("*",)), (("release",), ("release/../app/web",)),
    (("release",), ("release/",)), (("everything",), ("release/web",)),
])  # fmt: skip
def test_a_role_over_roles_or_over_no_plain_path_is_out_of_bounds(kinds, paths):
    role = msgspec.structs.replace(policy_body().roles[1], kinds=kinds, paths=paths)
    host = cloud_of_three()
    assert host.refuse(policy(version=2, roles=(policy_body().roles[0], role))).code == "out-of-bounds"


def test_a_threshold_of_one_role_is_not_met_by_the_keys_of_another():
    body = policy_body()
    pair = msgspec.structs.replace(body.roles[1], keys=(signer("ci").key, signer("ci-2").key), threshold=2)
    host = Host(ROOT, policy(roles=(pair,)))
    assert host.refuse(sign("release/web", release_body(), ("ci", "anna"))).code == "threshold-not-met"
    host.take(sign("release/web", release_body(), ("ci", "ci-2")))


# -- rollback, numbers, epochs


def test_an_older_document_is_refused_by_the_number_of_what_is_held():
    host = cloud_of_three()
    old = sign("app/web", app_body())
    host.take(old)
    host.take(sign("app/web", app_body(volumes={"v": True}), version=2))
    refusal = host.refuse(old)
    assert isinstance(refusal, Stale)
    assert (refusal.id, refusal.offered, refusal.held) == ("app/web", (0, 1), (0, 2))


def test_a_restarted_host_refuses_what_it_refused_before():
    old = sign("app/web", app_body())
    new = sign("app/web", app_body(volumes={"v": True}), version=2)
    again = Host(now_s=T0 + 2 * DAY_S)
    for raw in (ROOT, policy(), new):
        again.trusted.load(raw)
    assert isinstance(again.refuse(old), Stale)


def test_the_same_again_is_dropped_silently_whatever_signatures_it_bears():
    host = cloud_of_three()
    raw = sign("app/web", app_body())
    host.take(raw)
    assert isinstance(host.refuse(raw), AlreadyHeld)
    assert isinstance(host.refuse(envelope.add_signature(raw, signer("ben"))), AlreadyHeld)


@pytest.mark.parametrize("first", [0, 1])
def test_the_same_version_twice_ends_alike_in_both_orders(first):
    twins = [
        sign("app/web", app_body(), issued=T0 + DAY_S),
        sign("app/web", app_body(volumes={"v": True}), issued=T0 + DAY_S + 1),
    ]
    host = cloud_of_three()
    out = host.take(twins[first])
    if first == 0:
        out = host.take(twins[1])
        assert out.evidence == (("app/web", twins[0]),)
    else:
        refusal = host.refuse(twins[0])
        assert isinstance(refusal, Twin) and refusal.record.hash == hash_of(twins[0])
        assert not isinstance(host.refuse(twins[0]), Twin)  # one is evidence enough, and costs no second check
    assert host.hash("app/web") == hash_of(twins[1])


def test_of_one_version_and_time_the_lower_hash_wins():
    twins = sorted((sign("app/web", app_body(volumes={name: True})) for name in "abc"), key=hash_of)
    for order in (twins, twins[::-1]):
        host = cloud_of_three()
        host.take_all(order)
        assert host.hash("app/web") == hash_of(twins[0])


def test_a_false_twin_is_no_evidence():
    host = cloud_of_three()
    host.take(sign("app/web", app_body(), issued=T0 + DAY_S + 1))
    assert isinstance(host.refuse(forge(sign("app/web", app_body()), b'"replicas":3', b'"replicas":9')), FalseSignature)


def test_a_huge_version_of_a_stolen_key_is_cured_by_an_epoch():
    host = cloud_of_three()
    good = sign("release/web", release_body(), "ci")
    host.take(good)
    stolen = sign("release/web", release_body(IMAGE_2), "ci", version=2**53)
    host.take(stolen)
    cure = policy(version=2, prev=host.hash("policy"), roles=policy_body().roles[:1], epochs={"release/web": 1})
    out = host.take(cure)
    assert out.lapsed == ("release/web",)
    assert "release/web" not in host.trusted.heads()
    assert host.hash("release/web") == hash_of(
        stolen
    )  # it runs on until the next word, as losing a signer must stop nothing
    host.take(sign("release/web", release_body(), "anna", epoch=1, prev=hash_of(stolen)), from_client=True)
    assert host.trusted.heads()["release/web"][:2] == (1, 1)
    assert host.refuse(stolen).code == "stale"


def test_after_a_new_epoch_the_old_ones_records_are_refused_and_later_ones_wait():
    host = Host(ROOT, policy(epochs={"release/*": 2, "release/web": 1}))
    assert host.refuse(sign("release/web", release_body(), epoch=1)).code == "epoch-mismatch"
    ahead = host.refuse(sign("release/web", release_body(), epoch=3))
    assert ahead.code == "epoch-ahead" and isinstance(ahead, NotYet)
    host.take(sign("release/web", release_body(), epoch=2))


def test_a_stolen_operators_huge_policy_is_cured_by_the_root():
    host = cloud_of_three()
    host.take(policy(version=2**53))
    body = root_body(operators=(operator("anna"), operator("carl")), policy_epoch=1)
    host.take(next_root(host, body=body))
    assert host.trusted.lapsed("policy") and set(host.trusted.heads()) == {"root"}
    assert (
        host.trusted.enrolled("node/vps-1") is not None
    )  # all goes on, but nothing new is let in by what the thief signed
    assert host.refuse(sign("app/web", app_body())).code == "not-yet"
    host.take(up("vps-1"))
    assert host.refuse(policy(version=2**53, issued=T0 + DAY_S)).code in ("epoch-mismatch", "threshold-not-met")
    host.take(policy(("anna", "carl"), epoch=1), from_client=False)
    assert host.trusted.heads()["policy"][:2] == (1, 1)
    assert set(host.trusted.heads()) == {"root", "policy", *(f"node/{name}" for name in HOSTS)}


def test_a_barred_operator_signs_nothing_any_more():
    host = Host(ROOT, policy(barred=(signer("ben").key,)))
    assert host.refuse(sign("app/web", app_body(), "ben")).code == "role-does-not-cover"
    assert signer("ben").key not in host.trusted.operator_keys()
    assert signer("ben").key not in host.trusted.client_certificates()


# -- enrolments


def test_an_expelled_host_is_heard_no_more_and_its_facts_go():
    host = cloud_of_three()
    host.take(up("vps-1"))
    host.take(up("vps-2"))
    out = host.take(enrol("vps-1", state="expelled", header={"version": 2, "prev": host.hash("node/vps-1")}))
    assert out.expelled == ("node/vps-1",)
    assert list(host.trusted.fact_heads()) == ["node/vps-2|up|"]
    assert host.refuse(up("vps-1", 2)).code == "expelled"
    assert host.trusted.enrolled("node/vps-1") is None


def test_a_replayed_enrolment_does_not_bring_an_expelled_host_back():
    host = cloud_of_three()
    host.take(enrol("vps-1", state="expelled", header={"version": 2}))
    assert isinstance(host.refuse(enrol("vps-1")), Stale)


def test_an_expelled_key_does_not_return_under_any_name_until_policy_says_so():
    host = cloud_of_three()
    host.take(enrol("vps-1", state="expelled", header={"version": 2}))
    assert host.refuse(enrol("vps-1", header={"version": 3})).code == "barred-key"
    assert host.refuse(enrol("vps-9", keys="vps-1")).code == "barred-key"
    sealing_only = node_body("vps-9", sealing=node_body("vps-1").sealing)
    assert host.refuse(sign("node/vps-9", sealing_only)).code == "barred-key"
    host.take(
        policy(version=2, readmitted=tuple(getattr(node_body("vps-1"), k) for k in ("signing", "sealing", "wireguard")))
    )
    host.take(enrol("vps-9", keys="vps-1"))


def test_a_key_that_arrives_elsewhere_before_its_expulsion_lapses_with_it():
    early, expulsion = enrol("vps-9", keys="vps-1"), enrol("vps-1", state="expelled", header={"version": 2})
    one, other = cloud_of_three(), cloud_of_three()
    one.take_all([early, expulsion])
    other.take_all([expulsion, early])
    assert one.trusted.heads() == other.trusted.heads()
    assert one.trusted.enrolled("node/vps-9") is None


def test_a_host_that_returns_with_new_keys_keeps_its_old_ones_barred():
    host = cloud_of_three()
    host.take(enrol("vps-1", state="expelled", header={"version": 2}))
    header = {"version": 3, "prev": host.hash("node/vps-1")}
    assert host.refuse(enrol("vps-1", keys="new", header=header), from_client=True).code == "conflicting"
    old = tuple(getattr(node_body("vps-1"), k) for k in ("signing", "sealing", "wireguard"))
    host.take(enrol("vps-1", keys="new", barred=old, header=header), from_client=True)
    assert host.refuse(enrol("vps-9", keys="vps-1")).code == "barred-key"
    assert host.trusted.enrolled("node/vps-1") is not None


def test_a_key_barred_by_policy_expels_its_host():
    host = cloud_of_three()
    host.take(up("vps-3"))
    out = host.take(policy(version=2, barred=(signer("vps-3").key,)))
    assert out.expelled == ("node/vps-3",) and out.lapsed == ("node/vps-3",)
    assert host.refuse(up("vps-3", 2)).code == "expelled"


def test_a_draining_host_is_still_heard():
    host = cloud_of_three()
    host.take(enrol("vps-1", state="draining", header={"version": 2}))
    host.take(up("vps-1"))


def test_a_fact_under_an_older_key_of_its_host_is_not_yet_acceptable():
    host = cloud_of_three()
    host.take(up("vps-1"))
    assert host.take(enrol("vps-1", keys="rotated", header={"version": 2})).expelled == ("node/vps-1",)
    assert not host.trusted.fact_heads()
    refusal = host.refuse(up("vps-1"))
    assert refusal.code == "unknown-author" and isinstance(refusal, NotYet)
    host.take(fact("vps-1", "up", "", (1, 1), UP, by="rotated"))


@pytest.mark.parametrize("changes", [
    {"subnet": "8.8.8.0/24"}, {"subnet": "10.77.1.7/24"}, {"subnet": "10.0.0.0/8"}, {"subnet": "fd00::/64"}, {"signing": "AB" * 32},
    {"wireguard": "short"}, {"addresses": ("no port",)}, {"addresses": ("a:99999",)}, {"addresses": ("-rf:22",)}, {"weight": -1},
    {"labels": {"a b": "c"}}, {"zone": "a\nb"}, {"bundle": "../../etc/passwd"}, {"certificate": "AAAA"}, {"salt": "x" * 200},
    {"certificate": node_body("vps-2").certificate}, {"labels": {f"l{n}": "" for n in range(65)}}, {"floor": {"root": -1}},
    {"floor": {f"app/a{n}": 1 for n in range(1001)}}, {"barred": ("x",)}, {"labels": {"a": "b c"}}, {"floor": {"x" * 81: 1}},
    {"addresses": ("a:1",) * 17},
])  # fmt: skip
def test_an_enrolment_with_impossible_values_is_out_of_bounds(changes):
    assert cloud_of_three().refuse(enrol("vps-4", **changes)).code == "out-of-bounds"


@pytest.mark.parametrize("path", ["app", "app/", "app/web/1", "policy/x", "root/x", "app/" + "x" * 9000])
def test_a_document_lives_where_its_kind_does_and_no_refusal_repeats_a_long_path(path):
    body = {"app": app_body(), "policy": policy_body(), "root": root_body()}[path.partition("/")[0]]
    refusal = cloud_of_three().refuse(sign(path, body, OPERATORS))
    assert refusal.code == "out-of-bounds" and len(str(refusal)) < 300


@pytest.mark.parametrize("name", ["-rf", "a/b", "..", "", "A", "x" * 64, "a_b", "é"])
def test_a_path_that_is_no_plain_name_is_out_of_bounds(name):
    host = cloud_of_three()
    assert host.refuse(sign(f"app/{name}", app_body())).code in ("out-of-bounds", "malformed")


# -- facts


def test_an_older_or_second_fact_of_one_number_is_settled_by_number_and_hash():
    host = cloud_of_three()
    one = fact("vps-1", "claim", "web.web/0", (1, 5), CLAIM)
    host.take(one)
    assert isinstance(host.refuse(one), AlreadyHeld)
    assert isinstance(host.refuse(fact("vps-1", "claim", "web.web/0", (1, 4), None)), Stale)
    other = fact("vps-1", "claim", "web.web/0", (1, 5), msgspec.structs.replace(CLAIM, rank=1))
    if hash_of(other) < hash_of(one):
        host.take(other)
    else:
        assert isinstance(host.refuse(other), Twin)
    winner = min(hash_of(one), hash_of(other))
    assert host.trusted.fact_heads()["node/vps-1|claim|web.web/0"] == (1, 5, winner)


def test_a_host_that_starts_again_is_newer_than_its_last_life():
    host = cloud_of_three()
    host.take(up("vps-1", 900, boot=1))
    host.take(up("vps-1", 1, boot=2))
    assert isinstance(host.refuse(up("vps-1", 901, boot=1)), Stale)


def test_a_withdrawn_fact_does_not_come_back():
    host = cloud_of_three()
    claimed = fact("vps-1", "claim", "web.web/0", (1, 1), CLAIM)
    host.take(claimed)
    host.take(fact("vps-1", "claim", "web.web/0", (1, 2), None))
    assert isinstance(host.refuse(claimed), Stale)


@pytest.mark.parametrize("kind, key, body", [
    ("up", "x", UP), ("claim", "web", CLAIM), ("claim", "web.web/01", CLAIM), ("claim", "web.web/1000", CLAIM),
    ("claim", "../x.web/0", CLAIM),
    ("claim", "web.a_b/0", CLAIM), ("claim", "a_b.web/0", CLAIM), ("saw", "web.web/0@vps-1", None), ("saw", "web/0@node/vps-1", None),
    ("slot", "web.web/0", SlotState(spec="s", image="nginx", state="running")),
    ("slot", "web.web/0", SlotState(spec="s", image=IMAGE, state="running", restarts=-1)),
    ("slot", "web.web/0", SlotState(spec="s", image=IMAGE, state="running", address="not one")),
    ("object", "nginx", Have()), ("lost", "node/vps-2", Lost(boot=-1, beat=0)),
    ("lost", "node/vps-2", Lost(boot=0, beat=-1)),
    ("verdict", "web.-x", None), ("verdict", "a_b.web", None), ("verdict", "web.web", Verdict(spec="s", evidence={"vps-1": "x"})),
    ("up", "", msgspec.structs.replace(UP, uptime_s=-1)), ("up", "", msgspec.structs.replace(UP, memory_bytes=1 << 51)),
    ("up", "", msgspec.structs.replace(UP, free_cpus=-1e30)),
    ("claim", "web.web/0", msgspec.structs.replace(CLAIM, image="nginx")),
    ("claim", "web.web/0", msgspec.structs.replace(CLAIM, rank=-1)), ("lost", "vps-2", None), ("saw", "web.web/0", None),
    ("verdict", "web", None), ("up", "", msgspec.structs.replace(UP, cpus=1e9)),
])  # fmt: skip
def test_a_fact_with_impossible_values_is_out_of_bounds(kind, key, body):
    assert cloud_of_three().refuse(fact("vps-1", kind, key, (1, 1), body)).code == "out-of-bounds"


@pytest.mark.parametrize("change, to", [
    (b'"key":""', b'"key":"","key":""'), (b'"seq":[1,1]', b'"seq":[-1,1]'), (b'"seq":[1,1]', b'"seq":[1,9007199254740993]'),
    (b'"time":1800000000.0', b'"time":-1'), (b'"seq":[1,1]', b'"seq":[1]'), (b'"kind":"up"', b'"kind":"down"'),
])  # fmt: skip
def test_a_fact_that_is_not_strict_is_malformed(change, to):
    payload = payload_of(up("vps-1"))
    assert change in payload
    assert (
        cloud_of_three().refuse(envelope.sign("fact", payload.replace(change, to), [signer("vps-1")])).code
        == "malformed"
    )


def test_a_fact_of_two_signers_is_malformed():
    raw = envelope.add_signature(up("vps-1"), signer("vps-2"))
    assert cloud_of_three().refuse(raw).code == "malformed"


def test_two_facts_of_one_number_end_alike_in_both_orders():
    twins = sorted(
        (fact("vps-1", "claim", "web.web/0", (1, 5), msgspec.structs.replace(CLAIM, rank=r)) for r in (0, 1)),
        key=hash_of,
    )
    host = cloud_of_three()
    host.take(twins[0])
    with pytest.raises(Twin):
        host.trusted.judge(twins[1], now_s=host.now_s)
    host = cloud_of_three()
    host.take(twins[1])
    host.take(twins[0])
    assert host.trusted.fact_heads()["node/vps-1|claim|web.web/0"] == (1, 5, hash_of(twins[0]))


def test_a_fact_that_can_not_be_committed_is_not_judged_good():
    host = cloud_of_three()
    for n in range(1000):
        host.take(fact("vps-1", "claim", f"web.web{n}/0", (1, n), CLAIM))
    with pytest.raises(Quota):  # before its bytes are stored
        host.trusted.judge(fact("vps-1", "claim", "web.more/0", (1, 1000), CLAIM), now_s=host.now_s)
    with pytest.raises(Stale):
        host.trusted.judge(fact("vps-1", "claim", "web.web9/0", (1, 1), CLAIM), now_s=host.now_s)


# -- clocks


def test_a_document_from_the_future_waits():
    host = cloud_of_three()
    soon = sign("app/web", app_body(), issued=host.now_s + 301, expires=host.now_s + YEAR_S)
    refusal = host.refuse(soon)
    assert refusal.code == "from-the-future" and isinstance(refusal, NotYet)
    host.now_s += 2
    host.take(soon)


def test_one_wrong_clock_is_outvoted_by_its_neighbours():
    host = cloud_of_three()
    raw = sign("app/web", app_body(), issued=host.now_s, expires=host.now_s + YEAR_S)
    right_s = host.now_s
    host.now_s -= 3600
    assert host.refuse(raw).code == "from-the-future"
    host.take(raw, neighbours_s=(right_s, right_s + 1))


def test_a_clock_set_back_does_not_bring_back_what_has_expired():
    host = cloud_of_three()
    host.take(policy(version=2, issued=T0 + DAY_S))
    host.now_s = T0 + 1
    gone = sign("app/web", app_body(), issued=T0 + 1, expires=T0 + DAY_S / 2)
    assert host.refuse(gone).code == "expired"


def test_nothing_is_first_seen_after_its_expiry_and_what_was_accepted_goes_on():
    host = cloud_of_three()
    kept = sign("app/web", app_body(), expires=T0 + 3 * DAY_S)
    host.take(kept)
    host.now_s = T0 + 4 * DAY_S
    late = sign("app/late", app_body(), expires=T0 + 3 * DAY_S)
    assert host.refuse(late).code == "expired"
    assert "app/web" in host.trusted.heads()
    again = Trusted(CLOUD)
    for raw in (ROOT, policy(), kept):
        again.load(raw)
    assert "app/web" in again.heads()


def test_an_expired_policy_admits_no_change_but_its_own_renewal_while_facts_flow():
    host = cloud_of_three()
    host.now_s = T0 + 2 * YEAR_S
    fresh = {"issued": host.now_s, "expires": host.now_s + YEAR_S}
    assert host.refuse(sign("app/web", app_body(), **fresh)).code == "expired"
    host.take(up("vps-1"))
    host.take(policy(version=2, **fresh))
    host.take(sign("app/web", app_body(), **fresh))


def test_an_expired_root_admits_no_policy_but_the_next_root():
    host = cloud_of_three()
    host.now_s = T0 + 6 * YEAR_S
    fresh = {"issued": host.now_s, "expires": host.now_s + YEAR_S}
    renewal = policy(version=2, **fresh)
    assert host.refuse(renewal).code == "expired"
    host.take(next_root(host, **fresh))
    host.take(renewal)


# -- clients


def test_a_client_signs_over_what_is_held_and_takes_the_next_number():
    host = cloud_of_three()
    first = sign("app/web", app_body())
    host.take(first, from_client=True)
    blind = sign("app/web", app_body(volumes={"v": True}), version=2)
    assert host.refuse(blind, from_client=True).code == "prev-mismatch"
    leap = sign("app/web", app_body(volumes={"v": True}), version=7, prev=hash_of(first))
    assert host.refuse(leap, from_client=True).code == "prev-mismatch"
    host.take(blind)  # between peers the number alone decides
    assert host.held("app/web").version == 2


def test_a_clients_enrolment_takes_nobodys_subnet_or_key():
    host = cloud_of_three()
    assert host.refuse(enrol("vps-4", subnet="10.77.1.128/25"), from_client=True).code == "conflicting"
    assert host.refuse(enrol("vps-4", keys="vps-1"), from_client=True).code == "conflicting"
    host.take(enrol("vps-4"), from_client=True)


def test_a_clients_policy_leaves_nothing_behind_that_nobody_may_have_signed():
    host = cloud_of_three()
    host.take(sign("release/web", release_body(), "ci"))
    without = {"version": 2, "prev": host.hash("policy"), "roles": policy_body().roles[:1]}
    assert host.refuse(policy(**without), from_client=True).code == "epoch-not-raised"
    host.take(policy(**without, epochs={"release/web": 1}), from_client=True)
    lower = policy(version=3, prev=host.hash("policy"), roles=policy_body().roles[:1])
    host.take(sign("release/web", release_body(), "anna", epoch=1, prev=host.hash("release/web")), from_client=True)
    assert host.refuse(lower, from_client=True).code == "epoch-not-raised"


def test_a_clients_root_leaves_no_policy_behind_that_nobody_may_have_signed():
    host = cloud_of_three()
    operators = (operator("anna"), operator("carl"))
    assert (
        host.refuse(next_root(host, body=root_body(operators=operators)), from_client=True).code == "epoch-not-raised"
    )
    host.take(next_root(host, body=root_body(operators=operators, policy_epoch=1)), from_client=True)
    lower = next_root(host, body=root_body(operators=operators))
    assert host.refuse(lower, from_client=True).code == "epoch-not-raised"


# -- form


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


# -- floods


def test_one_author_has_a_thousand_facts_and_the_oldest_withdrawn_make_room():
    host = cloud_of_three()
    for n in range(1000):
        host.take(fact("vps-1", "lost", f"node/n-{n}", (1, n), None) if n != 8 else up("vps-1", 8))
    out = host.take(fact("vps-1", "lost", "node/n-1000", (1, 1000), None))
    assert out.forgotten == ("node/vps-1|lost|node/n-0",)
    assert isinstance(host.refuse(fact("vps-1", "lost", "node/n-0", (1, 0), None)), Stale)


def test_the_thousand_and_first_living_fact_is_over_quota_and_only_for_its_author():
    host = cloud_of_three()
    for n in range(1000):
        host.take(fact("vps-1", "claim", f"web.web{n}/0", (1, n), CLAIM))
    more = fact("vps-1", "claim", "web.more/0", (1, 1000), CLAIM)
    assert host.refuse(more).code == "quota"
    host.take(fact("vps-1", "claim", "web.web1/0", (1, 1001), CLAIM))  # one that replaces another fits
    host.take(up("vps-2"))


def test_one_author_has_a_mebibyte():
    host = cloud_of_three()
    long = msgspec.structs.replace(CLAIM, reason="x" * 3500)
    for n in range(400):
        try:
            host.take(fact("vps-1", "claim", f"web.web{n}/0", (1, n), long))
        except TrustRefusal as refusal:
            assert refusal.code == "quota" and 180 < n < 300
            return
    raise AssertionError("2 MiB were taken")


def test_there_are_ten_thousand_paths_and_nodes_are_counted_apart(monkeypatch):
    monkeypatch.setattr("skerry.trust.accept.PATHS_MAX", 5)
    host = cloud_of_three()
    for n in range(3):  # root and policy are two of the five
        host.take(sign(f"app/a{n}", app_body()))
    assert host.refuse(sign("app/more", app_body())).code == "quota"
    host.take(sign("app/a1", app_body(volumes={"v": True}), version=2))
    host.take(enrol("vps-4"))


def test_a_link_is_charged_before_and_an_author_after_the_signature():
    host = cloud_of_three()
    false = forge(up("vps-1"), b'"cpus":2', b'"cpus":9')
    codes = [host.refuse(false, source="node/vps-2").code for _ in range(2100)]
    assert codes[1999] == "false-signature" and codes[2000] == "rate"
    for n in range(200):  # the forgeries have cost vps-1 nothing
        host.take(up("vps-1", n), source="node/vps-3")
    assert host.refuse(up("vps-1", 200), source="node/vps-3").code == "rate"
    host.now_s += 0.1
    host.take(up("vps-1", 200), source="node/vps-3")


# -- everything else


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_raise_nothing_but_a_refusal(raw):
    with pytest.raises(TrustRefusal):
        _HOST.take(raw)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["app", "release", "node", "policy", "root", "secret", "fact", "request", "pool"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
)
def test_any_json_signed_by_an_operator_raises_nothing_but_a_refusal(kind, value):
    import json

    raw = envelope.sign(kind, json.dumps(value).encode(), [signer("anna")])
    with pytest.raises(TrustRefusal):
        _HOST.take(raw)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_good_record_with_any_part_replaced_is_refused_or_harmless(data):
    """One JSON value anywhere in a rightly signed document is replaced; the signer signs that too."""
    import json

    raw = data.draw(st.sampled_from(_GOOD))
    opened = envelope.parse(raw)
    tree = json.loads(opened.payload)
    spot, key = tree, data.draw(st.sampled_from(sorted(tree)))
    while isinstance(spot[key], dict) and spot[key] and data.draw(st.booleans()):
        spot = spot[key]
        key = data.draw(st.sampled_from(sorted(spot)))
    spot[key] = data.draw(
        st.none() | st.integers() | st.floats() | st.text(max_size=8) | st.just([]) | st.just({}) | st.just([""])
    )
    by = signer("vps-1") if opened.kind == "fact" else signer("anna")
    host = cloud_of_three()
    with contextlib.suppress(TrustRefusal):
        host.take(envelope.sign(opened.kind, json.dumps(tree).encode(), [by]))


_HOST = cloud_of_three()
_GOOD = [
    sign("app/web", app_body(volumes={"v": True})),
    sign("release/web", release_body()),
    enrol("vps-4"),
    up("vps-1"),
    fact("vps-1", "claim", "web.web/0", (1, 1), CLAIM),
    fact("vps-1", "slot", "web.web/0", (1, 1), SlotState(spec="s", image=IMAGE, state="running", address="10.77.1.9")),
]
