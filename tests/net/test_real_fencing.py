"""Containers that another lease has overtaken: each host refuses to carry their talk, whoever asks, flows that exist included."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from net.conftest import Cloud
from net.test_real_cloud import until
from skerry.net.flows import Open

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def nothing_refused(cloud: Cloud) -> Iterator[None]:
    cloud.route("a1", "b1", "a2")
    yield
    for host in cloud.hosts:
        host.call("fence", addresses=[])


def reaches(cloud: Cloud, who: str, to: str, port: int = 80) -> bool:
    """Whether this container (or host) gets an answer there."""
    place = {"a1": 0, "b1": 0, "a2": 1}.get(who, 0)
    try:
        cloud.hosts[place].call("get", to=to, port=port, netns=cloud.netns.get(who, ""), timeout_s=0.5)
    except RuntimeError:
        return False
    return True


def test_a_stale_container_on_another_host_is_spoken_with_no_more(cloud: Cloud) -> None:
    """Its own host stood still and does not know yet: only the others refuse it."""
    one, *_ = cloud.hosts
    stale, other = cloud.address["a2"], cloud.address["b1"]
    until(lambda: reaches(cloud, "a2", cloud.address["a1"]) and reaches(cloud, "a1", stale))
    one.call("fence", addresses=[stale])
    assert not reaches(cloud, "a2", cloud.address["a1"])
    assert not reaches(cloud, "a2", other)
    assert not reaches(cloud, "a1", stale)
    assert not reaches(cloud, "host", stale)
    assert reaches(cloud, "b1", cloud.address["a1"]), "all others speak on"
    one.call("fence", addresses=[])
    assert reaches(cloud, "a2", cloud.address["a1"])


def test_not_even_a_word_that_wants_no_answer_comes_through(cloud: Cloud) -> None:
    """Dropped before the kernel takes note of it: else a write by UDP, or a first packet, would still arrive."""
    one, to, stale = cloud.hosts[0], cloud.address["a1"], int(IPv4Address(cloud.address["a2"]))

    def words() -> set[int]:
        return {flow.id for each in one.call("flows", to=[to]) if (flow := Open(*each)).source == stale}

    until(lambda: reaches(cloud, "a2", to))
    before = words()
    assert before, "else this test sees nothing"
    one.call("fence", addresses=[cloud.address["a2"]])
    assert not reaches(cloud, "a2", to)
    assert not words() - before


def test_a_flow_that_exists_is_cut_and_a_published_port_leads_there_no_more(cloud: Cloud) -> None:
    three = cloud.hosts[2]
    cloud.route("a2")
    until(lambda: cloud.outside.call("get", to=three.address, port=8000).split()[0] == "a2")
    assert cloud.outside.call("flow", to=three.address, port=8001) == "a2 hello"
    three.call("fence", addresses=[cloud.address["a2"]])
    with pytest.raises(RuntimeError):
        cloud.outside.call("say", text="hello?", timeout_s=0.5)
    with pytest.raises(RuntimeError):
        cloud.outside.call("get", to=three.address, port=8000, timeout_s=0.5)
    with pytest.raises(RuntimeError):
        three.call("get", to="127.0.0.1", port=8000, timeout_s=0.5)
    three.call("fence", addresses=[])
    cloud.outside.call("hang_up")


def test_words_of_other_hosts_can_not_fence_what_is_no_container(cloud: Cloud) -> None:
    one = cloud.hosts[0]
    one.call("fence", addresses=[one.gateway, one.address, "10.93.0.254", "127.0.0.1", "0.0.0.0/0", "x } drop", ""])
    assert "skerry_fence" not in one.run("nft", "list", "tables")


def test_the_fence_comes_back_after_a_flush_and_goes_with_the_network(cloud: Cloud) -> None:
    one = cloud.hosts[0]
    one.call("fence", addresses=[cloud.address["a2"]])
    one.run("nft", "delete", "table", "ip", "skerry_fence")
    one.call("look_after")
    assert not reaches(cloud, "a2", cloud.address["a1"])
    one.call("fence", addresses=[])
    assert "skerry_fence" not in one.run("nft", "list", "tables")
