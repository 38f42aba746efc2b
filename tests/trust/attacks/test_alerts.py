"""Alerts: no rented machine gets what reaches a receiver, none sends, and nobody raises alarm about another."""

from __future__ import annotations

import base64

import pytest

from skerry.core.facts import Alarm, Sent
from skerry.core.intent import Alert, Measure, Pool, Receiver
from skerry.core.records import MachineSlot
from skerry.trust import seal
from skerry.trust.checks_pool import salt_of
from skerry.trust.documents import sign_fact
from skerry.trust.identity import sealing_public
from skerry.trust.refusals import CannotOpen, OutOfBounds, RoleDoesNotCover, UnknownAuthor
from trust.world import CLOUD, T0, cloud_of_three, fact, node_body, sign, signer

BOX = base64.b64encode(bytes(80)).decode()
SENT = Sent(round=1, since=T0, time=T0, told=("ops",))
ALARM = Alarm(since=T0, figure=0.95, limit=0.9, why="its disk is 95% full")


def receiver(**boxes: str) -> Alert:
    return Alert(receiver=Receiver(kind="webhook", at="example.com"), boxes=boxes)


def test_a_document_that_opens_a_receiver_to_a_rented_machine_is_refused_by_every_host() -> None:
    host = cloud_of_three()
    host.take(sign("alert/ops", receiver(**{"node/vps-1": BOX, signer("anna").key: BOX})))
    refusal = host.refuse(sign("alert/more", receiver(**{"node/vps-1": BOX, "node/burst/0": BOX})))
    assert isinstance(refusal, OutOfBounds) and "rented machine" in refusal.why


def test_whoever_takes_a_box_of_another_opens_nothing() -> None:
    mine, theirs = b"\x01" * 32, b"\x02" * 32
    box = seal.make_box(b'{"url":"https://example.com/secret"}', sealing_public(theirs), b"\x03" * 32)
    assert "secret" in seal.open_token(theirs, box)
    with pytest.raises(CannotOpen):
        seal.open_token(mine, box)


def test_a_key_that_may_only_release_adds_no_receiver() -> None:
    refusal = cloud_of_three().refuse(sign("alert/ops", receiver(), "ci"))
    assert isinstance(refusal, RoleDoesNotCover)


def test_a_rented_machine_says_of_no_alert_that_it_was_sent() -> None:
    host = cloud_of_three()
    salt = salt_of(CLOUD, MachineSlot("burst", 0))
    host.take(sign("pool/burst", Pool(provider="manual", max=2, network="10.77.0.0/20")))
    host.take(sign("node/burst/0", node_body("vps-9", subnet="10.77.0.0/24", salt=salt, zone="burst")))
    host.take(fact("burst/0", "alarm", "disk:burst/0", (1, 1), ALARM, by="vps-9"))
    refusal = host.refuse(fact("burst/0", "sent", "disk:vps-1", (1, 2), SENT, by="vps-9"))
    assert isinstance(refusal, OutOfBounds) and "fixed hosts" in refusal.why


def test_by_a_rule_of_ones_own_a_host_raises_alarm_about_itself_or_a_slot_and_not_about_another_host() -> None:
    host = cloud_of_three()
    host.take(fact("vps-1", "alarm", "slow:vps-1", (1, 1), ALARM))
    host.take(fact("vps-1", "alarm", "slow:shop.web/0", (1, 2), ALARM))  # whether it runs that, core asks its claims
    for subject in ("vps-2", "node/vps-1", "shop.web", "shop"):
        assert isinstance(host.refuse(fact("vps-1", "alarm", f"slow:{subject}", (1, 3), ALARM)), OutOfBounds)


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("disk", Measure(metric="load1", limit=1)),
        ("Slow", Measure(metric="load1", limit=1)),
        ("slow", Measure(metric="load 1", limit=1)),
        ("slow", Measure(metric="x" * 201, limit=1)),
        ("slow", Measure(metric="load1", limit=1, of="../x y")),
        ("slow", Measure(metric="load1", limit=1e300)),
        ("slow", Measure(metric="load1", limit=1, for_s=-1)),
    ],
)
def test_a_rule_beyond_its_bounds_is_refused_by_every_host(name: str, measure: Measure) -> None:
    host = cloud_of_three()
    assert isinstance(host.refuse(sign("alert/rules", Alert(measures={name: measure}))), OutOfBounds)
    many = {f"r{n}": Measure(metric="load1", limit=1) for n in range(33)}
    assert isinstance(host.refuse(sign("alert/rules", Alert(measures=many))), OutOfBounds)
    host.take(sign("alert/rules", Alert(measures=dict(list(many.items())[:32]))))


@pytest.mark.parametrize("rule", ["disk", "memory", "clock", "refused", "host-silent"])
def test_a_host_raises_alarm_about_itself_alone(rule: str) -> None:
    host = cloud_of_three()
    host.take(fact("vps-1", "alarm", f"{rule}:vps-1", (1, 1), ALARM))
    assert isinstance(host.refuse(fact("vps-1", "alarm", f"{rule}:vps-2", (1, 2), ALARM)), OutOfBounds)


def test_nobody_says_for_another_that_it_was_sent() -> None:
    host = cloud_of_three()
    raw = sign_fact(signer("vps-1"), CLOUD, "node/vps-2", "sent", "disk:vps-3", (1, 1), T0, SENT)
    assert isinstance(host.refuse(raw), UnknownAuthor)


@pytest.mark.parametrize("key", ["disk", ":vps-1", "disk:", "disk:a\nb", "Disk:vps-1", "disk:" + "x" * 200])
def test_what_it_is_about_has_a_form(key: str) -> None:
    assert isinstance(cloud_of_three().refuse(fact("vps-1", "sent", key, (1, 1), SENT)), OutOfBounds)
