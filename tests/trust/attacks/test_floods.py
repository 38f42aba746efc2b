"""Floods: how many facts, bytes, paths and records one author or one link is allowed."""

from __future__ import annotations

import msgspec

from skerry.errors import TrustRefusal
from skerry.trust.refusals import Stale
from trust.forging import CLAIM, forge
from trust.world import (
    app_body,
    cloud_of_three,
    enrol,
    fact,
    sign,
    up,
)


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
