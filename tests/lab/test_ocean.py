"""What the simulator of DigitalOcean does as the real one does, by its official description and others' reports."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from skerry.lab.ocean import Fault, Pace, Simulator
from skerry.lab.ocean.faults import Broken
from skerry.lab.ocean.limits import Limits

NOW_S = 1_795_737_600.0


class Account:
    """A simulator, its clock, and requests with a token."""

    def __init__(self, **more: Any) -> None:
        self.now_s = NOW_S
        self.simulator = Simulator(clock=lambda: self.now_s, **{"tokens": {"t": None}, "control": "c"} | more)

    def ask(self, method: str, target: str, body: Any = None, token: str = "t") -> tuple[int, Any, dict[str, str]]:
        content = b"" if body is None else json.dumps(body).encode()
        status, answer, headers = self.simulator.answer(method, target, {"authorization": f"Bearer {token}"}, content)
        return status, json.loads(answer) if answer else None, headers

    def create(self, name: str = "a", **more: Any) -> tuple[int, Any, dict[str, str]]:
        order = {"name": name, "size": "s-1vcpu-1gb", "image": "debian-12-x64", "region": "ams3"} | more
        return self.ask("POST", "/v2/droplets", {key: value for key, value in order.items() if value is not None})

    def names(self, query: str = "") -> list[str]:
        return [row["name"] for row in self.ask("GET", f"/v2/droplets?per_page=200{query}")[1]["droplets"]]

    def show(self, id: int) -> Any:
        return self.ask("GET", f"/v2/droplets/{id}")[1]["droplet"]


def test_a_droplet_is_new_then_active_then_gone_and_shown_a_little_longer() -> None:
    account = Account(pace=Pace(boot_s=40.0, lists_s=2.0, tags_s=5.0, gone_s=3.0))
    status, answer, _ = account.create(tags=["t"])
    new, action = answer["droplet"], answer["links"]["actions"][0]
    assert (status, new["status"], new["networks"]["v4"], new["locked"], new["tags"]) == (202, "new", [], True, [])
    assert account.names() == [] and account.show(new["id"])["status"] == "new"
    account.now_s += 2.0
    assert account.names() == account.names("&name=A") == ["a"] and account.names("&tag_name=t") == []
    account.now_s += 3.0
    assert account.names("&tag_name=T") == ["a"] and account.show(new["id"])["tags"] == ["t"]
    assert account.ask("GET", f"/v2/actions/{action['id']}")[1]["action"]["status"] == "in-progress"
    account.now_s += 35.0
    active = account.show(new["id"])
    assert (active["status"], active["locked"], active["networks"]["v4"][0]["type"]) == ("active", False, "public")
    assert account.ask("GET", f"/v2/actions/{action['id']}")[1]["action"]["status"] == "completed"
    assert account.ask("DELETE", f"/v2/droplets/{new['id']}")[0] == 204
    assert account.names() == ["a"] and account.show(new["id"])["locked"]
    assert account.ask("DELETE", f"/v2/droplets/{new['id']}")[0] == 404
    account.now_s += 3.0
    assert account.names() == [] and account.ask("GET", f"/v2/droplets/{new['id']}")[0] == 404


def test_the_same_order_twice_makes_two() -> None:
    account = Account(pace=Pace().times(0.0))
    first, second = account.create()[1]["droplet"], account.create()[1]["droplet"]
    assert first["id"] != second["id"] and account.names("&name=a") == ["a", "a"]


def test_of_several_at_once_some_may_fail() -> None:
    account = Account(limits=Limits(droplets=2), pace=Pace().times(0.0))
    status, answer, _ = account.create(name=None, names=["a", "b", "c"])
    assert status == 202 and [row["name"] for row in answer["droplets"]] == ["a", "b"]
    assert account.create()[0] == 422 and account.create(name=None, names=["c", "d"])[0] == 422
    assert Account().create(name=None, names=[f"d{n}" for n in range(11)])[0] == 422
    assert Account().create(name="a", names=["b"])[0] == 422


@pytest.mark.parametrize(
    "order",
    [{"size": "none"}, {"size": None}, {"region": "none"}, {"image": "none"}, {"image": 1}, {"name": "a_b"}, {"name": ""},
     {"name": "a" * 256}, {"name": None}, {"tags": ["a.b"]}, {"tags": ["a" * 256]}, {"tags": [""]}, {"user_data": "x" * 65537},
     {"ssh_keys": [1]}, {"vpc_uuid": "none"}, {"size": "s-8vcpu-32gb"}, {"size": "s-2vcpu-2gb", "region": "nyc3"}, {"size": 1}],
)  # fmt: skip
def test_an_order_that_is_wrong_makes_nothing(order: dict[str, Any]) -> None:
    account = Account(pace=Pace().times(0.0))
    status, answer, _ = account.create(**order)
    assert (status, answer["id"]) == (422, "unprocessable_entity") and answer["message"]
    assert account.names() == []


def test_the_first_spelling_of_a_tag_stays() -> None:
    account = Account(pace=Pace().times(0.0))
    assert account.ask("POST", "/v2/tags", {"name": "Web"})[1]["tag"]["name"] == "Web"
    id = account.create(tags=["wEB"])[1]["droplet"]["id"]
    assert account.show(id)["tags"] == ["Web"] and account.names("&tag_name=WEB") == ["a"]
    assert account.ask("GET", "/v2/tags")[1]["tags"][0]["resources"]["droplets"]["count"] == 1
    assert account.ask("GET", "/v2/droplets?name=a&tag_name=web")[0] == 400


def test_delete_by_tag_destroys_every_machine_with_it() -> None:
    account = Account(pace=Pace().times(0.0))
    for name, tag in (("a", "x"), ("b", "x"), ("c", "y")):
        account.create(name, tags=[tag])
    assert account.ask("DELETE", "/v2/droplets?tag_name=X")[0] == 204
    assert account.names() == ["c"]
    assert account.ask("DELETE", "/v2/droplets")[0] == 400


def test_pages_are_of_twenty_and_shift() -> None:
    account = Account(pace=Pace().times(0.0), limits=Limits(droplets=100))
    for number in range(45):
        account.create(f"d{number}")
    first = account.ask("GET", "/v2/droplets")[1]
    assert (
        len(first["droplets"]) == 20
        and first["meta"] == {"total": 45}
        and set(first["links"]["pages"]) == {"next", "last"}
    )
    account.create("newer")
    second = account.ask("GET", "/v2/droplets?page=2")[1]
    assert second["droplets"][0]["id"] == first["droplets"][-1]["id"]
    last = account.ask("GET", "/v2/droplets?page=3")[1]
    assert len(last["droplets"]) == 6 and set(last["links"]["pages"]) == {"first", "prev"}
    assert account.ask("GET", "/v2/droplets?per_page=201")[0] == account.ask("GET", "/v2/droplets?page=0")[0] == 422


def test_requests_are_counted_by_the_hour_the_minute_and_for_keys() -> None:
    account = Account()
    status, _, headers = account.ask("GET", "/v2/sizes")
    assert (headers["ratelimit-limit"], headers["ratelimit-remaining"]) == ("5000", "4999")
    assert int(headers["ratelimit-reset"]) == NOW_S + 3600
    assert [account.ask("GET", "/v2/account/keys")[0] for _ in range(11)] == [200] * 10 + [429]
    codes = [account.ask("GET", "/v2/sizes") for _ in range(240)]
    assert [code[0] for code in codes] == [200] * 239 + [429] and codes[-1][2]["retry-after"]
    assert codes[-1][1]["id"] == "too_many_requests"
    account.now_s += int(codes[-1][2]["retry-after"])
    assert account.ask("GET", "/v2/sizes")[0] == 200
    for _ in range(19):
        account.now_s += 60.0
        for _ in range(250):
            status, _, headers = account.ask("GET", "/v2/sizes")
    assert status == 429 and "retry-after" not in headers
    account.now_s = NOW_S + 3600.0
    assert account.ask("GET", "/v2/sizes")[0] == 200


def test_each_request_needs_its_scope() -> None:
    account = Account(tokens={"t": None, "reader": {"droplet:read"}, "writer": {"droplet:create"}})
    assert account.ask("GET", "/v2/droplets", token="none")[0] == 401
    assert account.ask("GET", "/v2/droplets", token="reader")[0] == 200
    for method, target, token, scope in (
        ("GET", "/v2/droplets?tag_name=x", "reader", "tag:read"),
        ("POST", "/v2/droplets", "reader", "droplet:create"),
        ("DELETE", "/v2/droplets/1", "reader", "droplet:delete"),
        ("POST", "/v2/droplets/1/actions", "reader", "droplet:update"),
        ("GET", "/v2/sizes", "reader", "sizes:read"),
        ("POST", "/v2/droplets", "writer", "image:read"),
    ):
        body = {"name": "a", "size": "s-1vcpu-1gb", "image": "debian-12-x64"} if method == "POST" else None
        status, answer, _ = account.ask(method, target, body, token)
        assert status == 403 and scope in answer["message"], target


def test_actions_lock_and_resize_wants_it_off() -> None:
    account = Account(pace=Pace(action_s=5.0).times(1.0))
    id = account.create()[1]["droplet"]["id"]

    def act(**body: Any) -> int:
        return account.ask("POST", f"/v2/droplets/{id}/actions", body)[0]

    assert act(type="reboot") == 422  # not there yet
    account.now_s += 60.0
    assert act(type="resize", size="s-1vcpu-2gb") == 422
    assert act(type="power_off") == 201 and act(type="power_on") == 422
    assert account.show(id)["locked"]
    account.now_s += 5.0
    assert account.show(id)["status"] == "off" and act(type="reboot") == 422
    assert act(type="resize", size="none") == 422 and act(type="resize", size="s-1vcpu-2gb") == 201
    account.now_s += 5.0
    assert account.show(id)["size_slug"] == "s-1vcpu-2gb" and act(type="power_on") == 201
    account.now_s += 5.0
    assert account.show(id)["status"] == "active" and act(type="power_on") == 422
    assert act(type="rename", name="b") == 201 and act(type="fly") == 422
    account.now_s += 5.0
    assert account.show(id)["name"] == "b"
    types = [row["type"] for row in account.ask("GET", f"/v2/droplets/{id}/actions")[1]["actions"]]
    assert types == ["rename", "power_on", "resize", "power_off", "create"]


def test_what_is_off_is_paid_for_and_least_a_cent() -> None:
    account = Account()
    account.create()
    id = account.create(size="s-4vcpu-8gb")[1]["droplet"]["id"]
    account.now_s += 40.0
    account.ask("POST", f"/v2/droplets/{id}/actions", {"type": "power_off"})
    account.now_s += 3560.0
    assert account.show(id)["status"] == "off"
    account.ask("DELETE", f"/v2/droplets/{id}")
    account.now_s += 36000.0
    small, large = account.simulator.state()["droplets"]
    assert large["cost_usd"] == pytest.approx(0.07143) and small["cost_usd"] == pytest.approx(0.00744 * 11)
    brief = Account()
    brief.ask("DELETE", f"/v2/droplets/{brief.create()[1]['droplet']['id']}")
    assert brief.simulator.state()["spent_usd"] == 0.01


def test_the_metadata_service_tells_each_machine_of_itself() -> None:
    account = Account(pace=Pace().times(0.0))
    id = account.create(user_data="#!/bin/sh\ntrue\n")[1]["droplet"]["id"]
    address = account.show(id)["networks"]["v4"][0]["ip_address"]
    answer = account.simulator.asked_from(address, "/metadata/v1/user-data")
    assert (answer.status, answer.body) == (200, b"#!/bin/sh\ntrue\n")
    whole = json.loads(account.simulator.asked_from(address, "/metadata/v1.json").body)
    assert (whole["droplet_id"], whole["hostname"], whole["user_data"]) == (id, "a", "#!/bin/sh\ntrue\n")
    own = account.simulator.asked_from(address, "/metadata/v1/interfaces/public/0/ipv4/address").body
    assert (account.simulator.asked_from(address, "/metadata/v1/id").body, own) == (str(id).encode(), address.encode())
    assert account.simulator.asked_from("192.0.2.1", "/metadata/v1/id").status == 404
    assert account.simulator.asked_from(address, "/metadata/v1/password").status == 404


def test_faults_hit_what_they_name_and_as_often() -> None:
    account = Account(pace=Pace().times(0.0))
    account.simulator.faults = [
        Fault(kind="status", status=429, retry_after_s=9, path="/v2/sizes", times=2, skip=1),
        Fault(kind="cut-after", method="POST"),
        Fault(kind="vanish"),
        Fault(kind="stuck"),
    ]
    assert [account.ask("GET", "/v2/sizes")[0] for _ in range(4)] == [200, 429, 429, 200]
    with pytest.raises(Broken):
        account.create("cut")
    vanished = account.create("vanished")[1]["droplet"]["id"]
    stuck = account.create("stuck")[1]["droplet"]["id"]
    account.create("well")
    account.now_s += 1e6
    assert account.names() == ["well", "stuck", "cut"]
    assert account.ask("GET", f"/v2/droplets/{vanished}")[0] == 404
    assert account.show(stuck)["status"] == "new"


def test_who_has_the_control_token_sees_and_breaks_everything() -> None:
    account = Account(pace=Pace().times(0.0))
    account.create()
    assert account.ask("GET", "/control/state")[0] == 401
    made = account.ask(
        "POST", "/control/droplets", {"name": "other", "size": "s-1vcpu-1gb", "image": 1, "tags": ["web"]}, "c"
    )
    (ours, other) = account.ask("GET", "/control/state", token="c")[1]["droplets"]
    assert (ours["name"], other["name"], other["tags"], other["id"]) == ("a", "other", ["web"], made[1]["id"])
    assert account.ask("DELETE", f"/control/droplets/{ours['id']}", token="c")[0] == 204
    assert account.names() == ["other"]
    assert account.ask("POST", "/control/faults", {"kind": "status", "status": 502}, "c")[0] == 204
    assert account.ask("GET", "/v2/sizes")[0] == 502
    assert account.ask("POST", "/control/faults", {"kind": "fire"}, "c")[0] == 422
    assert account.ask("POST", "/control/faults", {"kind": "hang", "times": 99}, "c")[0] == 204
    assert account.ask("DELETE", "/control/faults", token="c")[0] == 204
    assert account.ask("GET", "/v2/sizes")[0] == 200
    assert account.ask("GET", "/control/fire", token="c")[0] == 404


def test_a_droplet_costs_nothing_where_it_never_was() -> None:
    account = Account()
    account.simulator.faults = [Fault(kind="vanish")]
    account.create()
    account.now_s += 1e5
    assert account.simulator.state()["spent_usd"] == 0.0
    assert all(droplet.destroyed_s == math.inf for droplet in account.simulator.fleet.droplets.values())
