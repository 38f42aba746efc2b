"""Keys, certificates, envelopes, sealed values and the recovery file."""

from __future__ import annotations

import base64
import ssl
import subprocess

import msgspec
import pyrage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.public import PrivateKey, SealedBox

from skerry.core.intent import Secret
from skerry.errors import TrustRefusal
from skerry.trust import envelope, genesis, identity, passphrase, recovery, seal
from skerry.trust.identity import Signer, verify
from skerry.trust.recovery import OperatorKeys, Recovery
from trust.world import CLOUD, OPERATORS, ROOT, T0, Host, app_body, der, read, seed, sign, signer

# -- signatures


def test_the_first_vector_of_rfc_8032():
    key = Signer(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert key.key == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155")


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_only_the_signed_message_verifies(message, other):
    signature = signer("anna").sign(message)
    assert verify(signer("anna").key, message, signature)
    assert verify(signer("anna").key, other, signature) is (message == other)
    assert not verify(signer("ben").key, message, signature)


@given(st.text(max_size=70), st.binary(max_size=70))
def test_what_is_no_key_or_no_signature_verifies_nothing(key, signature):
    assert not verify(key, b"x", signature)


@pytest.mark.parametrize("key", ["00" * 32, "01" + "00" * 31, "ec" + "ff" * 30 + "7f"])
def test_points_of_small_order_are_no_keys(key):
    assert not verify(key, b"x", bytes.fromhex(key) + bytes(32))


def test_secrets_are_not_shown():
    assert seed("anna").hex() not in repr(signer("anna"))
    assert "seed" not in repr(OperatorKeys("anna", seed("anna"), seed("x")))


# -- envelopes, as others read them


def test_the_envelope_is_the_standards_as_another_implementation_reads_it():
    dsse = pytest.importorskip("securesystemslib.dsse")
    keys = pytest.importorskip("securesystemslib.signer")
    raw = sign("app/web", app_body(), OPERATORS)
    opened = dsse.Envelope.from_dict(msgspec.json.decode(raw))
    named = [keys.SSlibKey(signer(n).key, "ed25519", "ed25519", {"public": signer(n).key}) for n in OPERATORS]
    assert len(opened.verify(named, 2)) == 2
    assert opened.payload == envelope.parse(raw).payload


def test_the_standards_own_example_of_what_is_signed():
    assert envelope.pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_signing_again_changes_nothing_and_another_signature_keeps_the_payload():
    raw = sign("app/web", app_body())
    assert envelope.add_signature(raw, signer("anna")) == raw
    both = envelope.parse(envelope.add_signature(raw, signer("ben")))
    assert both.hash == envelope.parse(raw).hash
    assert [s.keyid for s in both.signatures] == [signer("anna").key, signer("ben").key]


# -- certificates


def test_a_certificate_is_the_same_for_the_same_key_and_pins_it():
    one = identity.certificate(seed("vps-1"), "vps-1", 7)
    assert one == identity.certificate(seed("vps-1"), "vps-1", 7)
    assert identity.certifies(one, signer("vps-1").key) and not identity.certifies(one, signer("vps-2").key)
    assert len(one) < 300


def test_the_ssl_module_takes_key_and_certificate(tmp_path):
    (tmp_path / "key").write_bytes(identity.private_pem(seed("vps-1")))
    (tmp_path / "cert").write_text(identity.certificate_pem(der("vps-1")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    text = subprocess.run(
        ["openssl", "x509", "-in", str(tmp_path / "cert"), "-noout", "-text"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    assert not text or ("CA:FALSE" in text and "ED25519" in text.upper())


def test_wireguards_own_program_gives_the_same_public_key():
    private = identity.wireguard_text(seed("wg"))
    try:
        shown = subprocess.run(["wg", "pubkey"], input=private, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip("no wg here")
    assert shown.strip() == identity.wireguard_text(identity.wireguard_public(seed("wg")))


# -- genesis


def test_a_cloud_begins_with_what_genesis_makes():
    operators = [genesis.operator(name, seed(name), seed(name + " sealing"), 1) for name in OPERATORS]
    root = genesis.first_root([signer("root-a")], operators, issued=T0, expires=T0 + 100)
    cloud = genesis.cloud_of(root)
    policy = genesis.first_policy([signer("anna")], cloud, issued=T0, expires=T0 + 100)
    host = Host(root, policy, now_s=T0 + 1, cloud=cloud)
    assert host.trusted.epoch("app/web") == 0
    host.take(sign("app/web", app_body(), cloud=cloud, issued=T0, expires=T0 + 100))
    assert (
        host.refuse(sign("app/x", app_body(), "ben", cloud=cloud, issued=T0, expires=0)).code == "role-does-not-cover"
    )


# -- sealed values


@given(st.text(max_size=200), st.text(max_size=20))
def test_a_sealed_value_opens_under_its_key_alone_and_seals_alike(value, name):
    sealed = seal.seal_value(seed("key"), name, value)
    assert seal.open_value(seed("key"), sealed) == value
    assert seal.seal_value(seed("key"), name, value) == sealed
    assert seal.seal_value(seed("key"), name + "x", value) != sealed
    with pytest.raises(TrustRefusal):
        seal.open_value(seed("other"), sealed)


@given(st.text(max_size=80) | st.binary(max_size=60).map(lambda b: base64.b64encode(b).decode()))
def test_what_is_not_sealed_does_not_open(text):
    for opening in (seal.open_value, seal.open_box):
        with pytest.raises(TrustRefusal):
            opening(seed("key"), text)


def test_a_box_is_libsodiums_own_and_opens_for_its_holder_alone():
    public = identity.sealing_public(seed("holder"))
    box = seal.make_box(seed("content"), public, seed("once"))
    assert SealedBox(PrivateKey(seed("holder"))).decrypt(base64.b64decode(box)) == seed("content")
    assert seal.open_box(seed("holder"), box) == seed("content")
    with pytest.raises(TrustRefusal):
        seal.open_box(seed("other"), box)
    theirs = SealedBox(PrivateKey(seed("holder")).public_key).encrypt(seed("content"))
    assert seal.open_box(seed("holder"), base64.b64encode(theirs).decode()) == seed("content")


def test_an_environment_is_opened_by_those_who_have_a_box():
    values = {"A": "1", "B": ""}
    boxes = {"node/vps-1": seal.make_box(seed("content"), identity.sealing_public(seed("s1")), seed("e"))}
    document = read(sign("secret/web", Secret(key_id="k1", boxes=boxes)))
    sealed = seal.seal_environment(seed("content"), values)
    assert seal.open_environment(seed("s1"), "node/vps-1", document, sealed) == values
    assert seal.open_environment(seed("s1"), "node/vps-1", None, {}) == {}
    for holder, held in (("node/vps-2", document), ("node/vps-1", None)):
        with pytest.raises(TrustRefusal):
            seal.open_environment(seed("s1"), holder, held, sealed)


# -- recovery


def test_the_recovery_file_gives_back_what_went_in_under_its_passphrase_alone():
    content = Recovery(
        cloud=CLOUD, name="demo", root_seeds=(seed("root-a"),), roots=(ROOT,),
        operators=(OperatorKeys("anna", seed("anna"), seed("anna sealing")),), addresses=("198.51.100.1:7077",),
    )  # fmt: skip
    locked = recovery.lock(content, "a passphrase")
    assert seed("anna") not in locked and base64.b64encode(seed("anna")) not in locked
    assert recovery.unlock(locked, "a passphrase") == content
    with pytest.raises(TrustRefusal) as refusal:
        recovery.unlock(locked, "another")
    assert refusal.value.code == "cannot-open"
    with pytest.raises(ValueError):
        recovery.lock(content, "")


@settings(max_examples=30)
@given(st.binary(max_size=100))
def test_bytes_that_are_no_recovery_file_do_not_open(data):
    with pytest.raises(TrustRefusal):
        recovery.unlock(data, "x")


def test_a_machine_that_is_busy_for_a_moment_opens_what_a_fast_one_locked(monkeypatch):
    """rage takes a moment's slowness for the machine's own, and refuses."""
    looks = iter([pyrage.DecryptError("Excessive work parameter for passphrase.\nDecryption would take long")] * 9)

    def opened(data, passphrase):
        for refused in looks:
            raise refused
        return data

    monkeypatch.setattr(pyrage.passphrase, "decrypt", opened)
    assert passphrase.unlock(b"what it holds", "a passphrase") == b"what it holds"


def test_what_this_machine_is_too_slow_for_is_not_called_a_wrong_passphrase():
    first, stanza, rest = passphrase.lock(b"what it holds", "a passphrase").split(b"\n", 2)
    hard = b"\n".join((first, stanza.rpartition(b" ")[0] + b" 40", rest))
    with pytest.raises(passphrase.NotOpened) as refusal:
        passphrase.unlock(hard, "a passphrase")
    assert "faster" in refusal.value.why and "passphrase" not in refusal.value.why
