"""DigitalOcean's client by itself: what it asks, what it refuses to do, and what it makes of what others answer."""

from __future__ import annotations

import base64
import json
import logging
import traceback
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from machines.ocean import ENDPOINT, NOW_S, TOKEN, Sea, order
from skerry.errors import BadInput, SkerryError
from skerry.lab.ocean import Fault, Pace
from skerry.lab.ocean.limits import Limits
from skerry.machines import digitalocean_api
from skerry.machines.contract import (
    NoCapacity,
    NoSuchServer,
    ProviderDenied,
    ProviderRefused,
    ProviderSilent,
    QuotaReached,
    RateLimited,
    Server,
)
from skerry.machines.digitalocean import DigitalOcean
from skerry.machines.providers import open_provider

ANSWERED = (NoCapacity, NoSuchServer, ProviderDenied, ProviderRefused, ProviderSilent, QuotaReached, RateLimited)


def answering(handler: Any, token: str = TOKEN) -> DigitalOcean:
    return DigitalOcean(token, ENDPOINT, {}, transport=httpx.MockTransport(handler))


def always(status: int, body: bytes, headers: dict[str, str] | None = None) -> DigitalOcean:
    return answering(lambda request: httpx.Response(status, headers=headers, stream=httpx.ByteStream(body)))


@pytest.mark.parametrize(
    "endpoint",
    ["http://api.digitalocean.com", "http://8.8.8.8", "http://[2a03:b0c0::1]", "ftp://10.0.0.1", "api.digitalocean.com",
     "https://user:word@host", "https://host/v2", "https://host?x=1", "http://10.0.0.1:99999", "http://localhost.example.com",
     "https://", "http://169.254.169.254"],
)  # fmt: skip
def test_a_token_goes_to_no_such_endpoint(endpoint: str) -> None:
    with pytest.raises(BadInput) as caught:
        DigitalOcean(TOKEN, endpoint, {})
    assert caught.value.fix and TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    "endpoint", ["", "https://do.example.com", "http://127.0.0.1:80", "http://[::1]", "http://10.90.0.253"]
)
def test_a_token_goes_to_such_an_endpoint(endpoint: str) -> None:
    assert open_provider("digitalocean", token=TOKEN, endpoint=endpoint).name == "digitalocean"


@pytest.mark.parametrize(("token", "options"), [("", {}), ("two words", {}), ("töken", {}), (TOKEN, {"colour": "red"}),
                                                (TOKEN, {"ca": "no certificate"})])  # fmt: skip
def test_a_mistake_is_told_before_anything_is_asked(token: str, options: dict[str, str]) -> None:
    with pytest.raises(BadInput) as caught:
        DigitalOcean(token, "", options)
    assert caught.value.fix


def test_the_token_is_in_no_error_no_log_and_no_repr(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said = json.dumps({"id": "x", "message": f"you sent Bearer {TOKEN}, which is wrong"}).encode()
    providers = [always(status, said) for status in (400, 401, 403, 404, 422, 500)] + [always(200, TOKEN.encode())]
    encoded = base64.b64encode(TOKEN.encode()).decode()
    for provider in providers:
        with pytest.raises(SkerryError) as caught:
            provider.create(order())
        shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value.as_dict()) + repr(vars(provider))
        assert TOKEN not in shown and encoded not in shown
    assert caplog.text and TOKEN not in caplog.text


def test_an_order_is_sent_as_it_is_and_user_data_is_counted_before() -> None:
    asked: list[httpx.Request] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(503, stream=httpx.ByteStream(b""))

    provider = DigitalOcean(
        TOKEN, ENDPOINT, {"ssh_keys": "4711, 3b:16:bf", "vpc": "v-1"}, transport=httpx.MockTransport(refuse)
    )
    with pytest.raises(ProviderSilent):
        provider.create(order(user_data="ä" * (32 << 10), image="129211873"))
    with pytest.raises(ProviderRefused):
        provider.create(order(user_data="ä" * (32 << 10) + "x"))
    (request,) = asked
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert json.loads(request.content) == {
        "name": "sk-c0ffee-burst-0",
        "size": "s-1vcpu-1gb",
        "region": "ams3",
        "image": 129211873,
        "user_data": "ä" * (32 << 10),
        "tags": ["skerry:c0ffee", "skerry-pool:c0ffee-burst"],
        "ssh_keys": [4711, "3b:16:bf"],
        "vpc_uuid": "v-1",
        "backups": False,
        "ipv6": False,
        "monitoring": False,
        "with_droplet_agent": False,
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"size": "s-9vcpu-9gb"}, ProviderRefused),
        ({"region": "mars1"}, ProviderRefused),
        ({"image": "plan-9"}, ProviderRefused),
        ({"name": "under_score"}, ProviderRefused),
        ({"tags": ("a.dot",)}, ProviderRefused),
        ({"size": "s-8vcpu-32gb"}, NoCapacity),
        ({"size": "s-2vcpu-2gb", "region": "nyc3"}, NoCapacity),
    ],
)
def test_an_order_that_can_not_be_filled(changes: dict[str, Any], expected: type[SkerryError]) -> None:
    sea = Sea()
    with pytest.raises(expected) as caught:
        sea.provider.create(order(**changes))
    assert type(caught.value) is expected and sea.rows() == []


def test_a_refusal_without_words_is_understood_from_sizes_and_account() -> None:
    for changes, limit, expected in (
        ({"size": "s-8vcpu-32gb"}, 25, NoCapacity),
        ({}, 0, QuotaReached),
        ({}, 25, ProviderRefused),
    ):
        sea = Sea(limits=Limits(droplets=limit))
        sea.simulator.faults.append(Fault(kind="status", method="POST", path="/v2/droplets", status=422))
        with pytest.raises(expected):
            sea.provider.create(order(**changes))


def test_the_limit_of_droplets_and_of_money() -> None:
    sea = Sea(limits=Limits(droplets=2))
    for index in range(2):
        sea.provider.create(order(index))
    with pytest.raises(QuotaReached):
        sea.provider.create(order(2))
    sea = Sea()
    sea.simulator.status = "locked"
    with pytest.raises(QuotaReached) as caught:
        sea.provider.create(order())
    assert "payment" in caught.value.why


def test_over_the_limit_of_a_minute_it_is_told_how_long_to_wait() -> None:
    sea = Sea(limits=Limits(minute=3))
    for _ in range(3):
        sea.provider.sizes()
    with pytest.raises(RateLimited) as caught:
        sea.provider.sizes()
    sea.clock.pause(caught.value.after_s)
    assert sea.provider.sizes()


def test_over_the_limit_of_an_hour_the_wait_is_counted_by_the_providers_own_clock() -> None:
    body = json.dumps({"id": "too_many_requests", "message": "API Rate limit exceeded."}).encode()
    told = {"ratelimit-limit": "5000", "ratelimit-remaining": "0"}
    for headers, wait_s in (
        ({"date": "Wed, 11 Nov 2026 10:00:00 GMT", "ratelimit-reset": "1794391500"}, 300.0),
        ({"date": "Wed, 11 Nov 2026 10:00:00 GMT", "ratelimit-reset": "1794391100"}, 1.0),
        ({"date": "Wed, 11 Nov 2026 10:00:00 GMT", "ratelimit-reset": "99999999999"}, 3600.0),
        ({"date": "Wed, 11 Nov 2026 10:00:00 GMT", "ratelimit-reset": "soon"}, 60.0),
        ({}, 60.0),
    ):
        with pytest.raises(RateLimited) as caught:
            always(429, body, told | headers).sizes()
        assert caught.value.after_s == wait_s


def test_the_limit_of_an_hour_is_over_when_the_oldest_request_expires() -> None:
    sea = Sea(limits=Limits(hour=5, minute=100))
    for _ in range(5):
        sea.provider.sizes()
        sea.clock.pause(100.0)
    with pytest.raises(RateLimited):
        sea.provider.sizes()
    sea.clock.pause(3600.0 - 500.0)
    assert sea.provider.sizes()
    with pytest.raises(RateLimited):
        sea.provider.sizes()


def test_pages_that_shift_while_they_are_read_hide_no_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digitalocean_api, "PER_PAGE", 3)
    sea = Sea(pace=Pace(lists_s=0.0, tags_s=0.0, gone_s=0.0))
    servers = [sea.provider.create(order(index)) for index in range(10)]
    tagged = [Server(id=s.id, name=s.name, state="new", tags=order().tags) for s in servers]
    handle, newest = sea.wire.handle_request, [tagged[-1]]

    def shifting(request: httpx.Request) -> httpx.Response:
        answer = handle(request)
        if request.url.params.get("page") == "1" and newest:  # one of the first page goes: the fourth slides onto it
            sea.simulator.destroyed_from_outside(int(newest.pop().id))
        return answer

    monkeypatch.setattr(sea.wire, "handle_request", shifting)
    assert {s.id for s in sea.provider.list(tag="skerry:c0ffee")} == {s.id for s in tagged[:-1]}

    def never_still(request: httpx.Request) -> httpx.Response:
        answer = handle(request)
        if request.url.params.get("page") == "1":
            sea.simulator.foreign("other")
        return answer

    monkeypatch.setattr(sea.wire, "handle_request", never_still)
    with pytest.raises(ProviderSilent):
        sea.provider.list()


def test_sizes_are_those_that_can_be_had_at_the_price_of_now() -> None:
    sizes = {size.name: size for size in Sea().provider.sizes()}
    assert "s-8vcpu-32gb" not in sizes
    assert sizes["s-2vcpu-2gb"].regions == ("ams3", "fra1")
    least = sizes["s-1vcpu-1gb"]
    assert (least.cpus, least.memory_bytes, least.disk_bytes) == (1.0, 1 << 30, 25 << 30)
    assert (least.price_usd_hour, least.price_usd_month) == (0.00744, 5.0)


def test_resize_goes_on_where_it_broke_off_and_puts_nothing_off_for_a_size_that_is_none() -> None:
    sea = Sea()
    id = sea.provider.create(order()).id
    sea.clock.pause(60.0)
    server = sea.provider.get(id)
    for size, expected in (("s-none", ProviderRefused), ("s-8vcpu-32gb", NoCapacity)):
        with pytest.raises(expected):
            sea.provider.resize(server, size)
        assert sea.provider.get(id).state == "active"
    sea.simulator.faults.append(Fault(kind="status", method="POST", path=f"/v2/droplets/{id}/actions", skip=2))
    with pytest.raises(ProviderSilent):
        sea.provider.resize(server, "s-1vcpu-2gb")
    assert (sea.provider.get(id).state, sea.provider.get(id).size) == ("off", "s-1vcpu-2gb")
    sea.provider.resize(server, "s-1vcpu-2gb")
    assert sea.provider.get(id).state == "active"


def test_a_machine_that_is_busy_is_asked_again_later() -> None:
    sea = Sea()
    id = sea.provider.create(order()).id
    with pytest.raises(RateLimited):
        sea.provider.reboot(Server(id=id, name=order().name, state="new"))


@pytest.mark.parametrize("id", ["", "-1", "0", "x", "1/actions", "../account", "9" * 30, "٣"])
def test_an_id_that_is_none_is_never_asked_for(id: str) -> None:
    sea = Sea()
    with pytest.raises(NoSuchServer):
        sea.provider.get(id)
    assert sea.wire.asked == []


def test_the_firewall_is_closed_but_for_our_port_and_made_once() -> None:
    sea = Sea()
    for _ in range(2):
        sea.provider.ensure_firewall("skerry:c0ffee")
    (made,) = sea.simulator.firewalls.rows()
    everywhere = {"addresses": ["0.0.0.0/0", "::/0"]}
    assert made["name"] == "skerry-skerry-c0ffee" and made["tags"] == ["skerry:c0ffee"]
    assert made["inbound_rules"] == [
        {"protocol": "tcp", "ports": "7077", "sources": everywhere},
        {"protocol": "udp", "ports": "7077", "sources": everywhere},
    ]
    assert {rule["protocol"] for rule in made["outbound_rules"]} == {"tcp", "udp", "icmp"}
    made["inbound_rules"].append({"protocol": "tcp", "ports": "22", "sources": everywhere})
    sea.provider.ensure_firewall("skerry:c0ffee")
    (mended,) = sea.simulator.firewalls.rows()
    assert len(mended["inbound_rules"]) == 2 and mended["id"] == made["id"]


def test_a_token_with_the_least_scopes_does_all_that_a_keeper_does_and_is_warned_of_nothing() -> None:
    sea = Sea(scopes=DigitalOcean.least_scopes)
    assert sea.provider.check() == []
    server = sea.provider.create(order())
    sea.clock.pause(60.0)
    assert sea.provider.sizes() and sea.provider.list(name=server.name) and sea.provider.list(tag="skerry:c0ffee")
    sea.provider.destroy(sea.provider.rebuild(sea.provider.get(server.id), order()))
    assert sea.provider.check() == []


@pytest.mark.parametrize("missing", sorted(set(DigitalOcean.least_scopes) - {"ssh_key:read", "droplet:read"}))
def test_a_scope_that_is_missing_is_named_and_nothing_was_done(missing: str) -> None:
    sea = Sea(scopes=set(DigitalOcean.least_scopes) - {missing})
    (line,) = sea.provider.check()
    assert line == f"the token lacks {missing}" or (
        missing == "regions:read" and line.endswith("regions:read, sizes:read")
    )
    assert sea.rows() == [] and sea.simulator.tags == {}


def test_what_can_not_be_used_at_all_is_denied() -> None:
    with pytest.raises(ProviderDenied) as caught:
        Sea(scopes={"account:read"}).provider.check()
    assert "droplet:read" in caught.value.why
    sea = Sea()
    with pytest.raises(ProviderDenied):
        sea.client("another").check()


def test_it_warns_of_what_a_token_reaches_too_far() -> None:
    sea = Sea(options={"ssh_keys": "4711"})
    mine = sea.simulator.foreign("mail", ["web"])
    sea.simulator.foreign(order().name, order().tags)
    sea.simulator.status = "warning"
    sea.clock.pause(60.0)
    lines = sea.provider.check()
    assert any("droplet:admin" in line for line in lines)
    assert any(f"mail ({mine.address})" in line and order().name not in line for line in lines)
    assert any("the account is warning" in line for line in lines)
    assert any("no SSH key 4711" in line for line in lines)
    assert len(lines) == 4


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def real_answers() -> dict[str, Any]:
    sea = Sea()
    made = sea.provider.create(order())
    sea.clock.pause(60.0)
    headers = {"authorization": f"Bearer {TOKEN}"}
    paths = ["/v2/droplets", f"/v2/droplets/{made.id}", "/v2/sizes", "/v2/account", "/v2/firewalls"]
    return {path: json.loads(sea.simulator.answer("GET", path, headers, b"").body) for path in paths}


REAL = real_answers()


@st.composite
def bent(draw: st.DrawFn) -> bytes:
    """A real answer with one of its values replaced or gone, or anything at all."""
    answer = json.loads(json.dumps(draw(st.sampled_from([*REAL.values(), None]))))
    if answer is None:
        return draw(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
    place, key = answer, draw(st.sampled_from(sorted(answer)))
    for _ in range(draw(st.integers(0, 5))):
        inner = place[key]
        keys = sorted(inner) if isinstance(inner, dict) else range(len(inner)) if isinstance(inner, list) else []
        if not keys:
            break
        place, key = inner, draw(st.sampled_from(keys))
    if draw(st.booleans()):
        del place[key]
    else:
        place[key] = draw(json_values)
    return json.dumps(answer).encode()


@settings(max_examples=300, deadline=None)
@given(bent(), st.sampled_from([200, 201, 202, 204, 301, 400, 401, 402, 403, 404, 409, 422, 429, 500, 503, 599]))
def test_whatever_is_answered_is_read_strictly_or_is_one_of_the_contracts_errors(body: bytes, status: int) -> None:
    provider = DigitalOcean(
        TOKEN,
        ENDPOINT,
        {},
        pause=lambda seconds: None,
        transport=httpx.MockTransport(lambda request: httpx.Response(status, stream=httpx.ByteStream(body))),
    )
    server = Server(id="3164441", name=order().name, state="active", tags=order().tags)
    for call in (
        lambda: provider.list(name=order().name),
        lambda: provider.get("3164441"),
        lambda: provider.create(order()),
        lambda: provider.destroy(server),
        lambda: provider.reboot(server),
        lambda: provider.resize(server, "s-1vcpu-2gb"),
        provider.sizes,
        provider.check,
        lambda: provider.ensure_firewall("skerry:c0ffee"),
    ):
        try:
            found = call()
        except ANSWERED as error:
            assert error.what and len(str(error)) < 2000
        else:
            for each in found if isinstance(found, list) else [found]:
                if isinstance(each, Server):
                    assert int(each.id) > 0 and len(each.name) <= 255 and each.price_usd_hour >= 0


def test_an_answer_without_end_is_cut_off() -> None:
    class Endless(httpx.SyncByteStream):
        sent = 0

        def __iter__(self) -> Any:
            while True:
                self.sent += 1 << 20
                yield b" " * (1 << 20)

    stream = Endless()
    with pytest.raises(ProviderSilent):
        answering(lambda request: httpx.Response(200, stream=stream)).sizes()
    assert stream.sent <= digitalocean_api.ANSWER_BYTES + (1 << 20)
    packed = {"content-encoding": "gzip"}
    with pytest.raises(ProviderSilent):
        always(200, b"\x1f\x8b", packed).sizes()


def test_it_goes_nowhere_that_an_answer_points_to() -> None:
    asked = []

    def elsewhere(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        if request.url.path == "/v2/sizes":
            return httpx.Response(302, headers={"location": "http://8.8.8.8/v2/sizes"}, stream=httpx.ByteStream(b""))
        page = {"droplets": [], "links": {"pages": {"next": "http://8.8.8.8/v2/droplets?page=2"}}, "meta": {"total": 0}}
        return httpx.Response(200, stream=httpx.ByteStream(json.dumps(page).encode()))

    provider = answering(elsewhere)
    with pytest.raises(ProviderRefused):
        provider.sizes()
    assert provider.list() == []
    assert asked and all(url.startswith(ENDPOINT) for url in asked)


def test_money_and_time_are_told_as_the_provider_tells_them() -> None:
    sea = Sea()
    server = sea.provider.create(order())
    sea.clock.pause(60.0)
    found = sea.provider.get(server.id)
    assert found == Server(
        id=server.id,
        name=order().name,
        state="active",
        addresses=found.addresses,
        tags=order().tags,
        size="s-1vcpu-1gb",
        region="ams3",
        price_usd_hour=0.00744,
        created_s=NOW_S,
    )
    assert len(found.addresses) == 1
