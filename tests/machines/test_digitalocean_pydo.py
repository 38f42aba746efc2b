"""DigitalOcean's own client and the lab's simulator, over TLS under an authority of its own: whatever pydo does works there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from skerry.lab.ocean import Fault, Pace, Simulator
from skerry.lab.ocean.serving import Server
from skerry.lab.ocean.tls import context
from skerry.machines.contract import Order
from skerry.machines.digitalocean import DigitalOcean

pydo = pytest.importorskip("pydo")
from azure.core.exceptions import HttpResponseError  # noqa: E402

pytestmark = pytest.mark.real

PACE = Pace(boot_s=0.2, lists_s=0.05, tags_s=0.1, gone_s=0.05, action_s=0.1)
ORDER = {"size": "s-1vcpu-1gb", "image": "debian-12-x64", "region": "ams3", "user_data": "#!/bin/sh\n"}
RULE = {"protocol": "tcp", "ports": "7077", "sources": {"addresses": ["0.0.0.0/0", "::/0"]}}
LIMIT_S = 20.0


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Simulator, Server, str]]:
    simulator = Simulator(pace=PACE, tokens={"t": None, "reader": {"droplet:read"}}, control="c")
    tls, ca = context(tmp_path, "127.0.0.1")
    server = Server(simulator, ("127.0.0.1", 0), tls=tls).start()
    try:
        yield simulator, server, ca
    finally:
        server.stop()


def client(server: Server, folder: Path, token: str = "t") -> Any:
    return pydo.Client(token, endpoint=server.endpoint, connection_verify=str(folder / "ca.pem"), retry_total=0)


def wait(what: str, condition: Callable[[], Any]) -> Any:
    end_s = time.monotonic() + LIMIT_S
    while not (found := condition()):
        assert time.monotonic() < end_s, f"{what}: not within {LIMIT_S:.0f} s"
        time.sleep(0.02)
    return found


def test_the_whole_life_of_a_droplet(served: tuple[Simulator, Server, str], tmp_path: Path) -> None:
    _, server, ca = served
    theirs = client(server, tmp_path)
    id = theirs.droplets.create(body={"name": "a", "tags": ["Web"], **ORDER})["droplet"]["id"]
    wait("it to be active", lambda: theirs.droplets.get(droplet_id=id)["droplet"]["status"] == "active")
    wait("its tag", lambda: [row["id"] for row in theirs.droplets.list(tag_name="web")["droplets"]] == [id])

    def act(**body: Any) -> None:
        action = theirs.droplet_actions.post(droplet_id=id, body=body)["action"]["id"]
        wait(
            f"{body['type']}",
            lambda: theirs.droplet_actions.get(droplet_id=id, action_id=action)["action"]["status"] == "completed",
        )

    for body in (
        {"type": "power_off"},
        {"type": "resize", "size": "s-1vcpu-2gb"},
        {"type": "power_on"},
        {"type": "reboot"},
    ):
        act(**body)
    ours = DigitalOcean("t", server.endpoint, {"ca": ca})
    (seen,) = ours.list(name="a")
    assert (seen.id, seen.size, seen.state, seen.tags) == (str(id), "s-1vcpu-2gb", "active", ("web",))
    theirs.droplets.destroy(droplet_id=id)
    wait("it to be gone", lambda: theirs.droplets.list(name="a")["droplets"] == [])
    made = ours.create(Order(name="b", tags=("skerry:t",), **ORDER))  # and ours is seen by theirs
    wait(
        "ours to be listed", lambda: [str(row["id"]) for row in theirs.droplets.list(name="b")["droplets"]] == [made.id]
    )


def test_several_at_once_and_gone_by_their_tag(served: tuple[Simulator, Server, str], tmp_path: Path) -> None:
    theirs = client(served[1], tmp_path)
    answer = theirs.droplets.create(body={"names": ["a", "b", "c"], "tags": ["web"], **ORDER})
    assert [row["name"] for row in answer["droplets"]] == ["a", "b", "c"]
    wait("all three", lambda: theirs.droplets.list(tag_name="web", per_page=2)["meta"]["total"] == 3)
    theirs.droplets.destroy_by_tag(tag_name="web")
    wait("none", lambda: theirs.droplets.list()["droplets"] == [])


def test_what_is_there_to_be_chosen_from(served: tuple[Simulator, Server, str], tmp_path: Path) -> None:
    theirs = client(served[1], tmp_path)
    assert {row["slug"]: row["available"] for row in theirs.sizes.list()["sizes"]}["s-8vcpu-32gb"] is False
    assert [row["slug"] for row in theirs.regions.list()["regions"]] == ["ams3", "fra1", "nyc3"]
    assert "debian-12-x64" in [row["slug"] for row in theirs.images.list()["images"]]
    assert theirs.account.get()["account"]["droplet_limit"] == 25
    assert theirs.vpcs.list()["vpcs"][0]["default"] and theirs.ssh_keys.list()["ssh_keys"] == []
    assert theirs.tags.create(body={"name": "web"})["tag"]["name"] == "web"
    firewall = theirs.firewalls.create(body={"name": "closed", "inbound_rules": [RULE], "tags": ["web"]})["firewall"]
    assert [row["id"] for row in theirs.firewalls.list()["firewalls"]] == [firewall["id"]]
    theirs.firewalls.delete(firewall_id=firewall["id"])
    assert theirs.firewalls.list()["firewalls"] == []


def test_what_is_refused_and_what_breaks(served: tuple[Simulator, Server, str], tmp_path: Path) -> None:
    simulator, server, _ = served

    def refused(call: Callable[[], Any]) -> Any:
        """pydo raises for some errors and returns the words of those that the description has."""
        try:
            return call()["id"]
        except HttpResponseError as error:
            return error.status_code

    reader = client(server, tmp_path, "reader")
    assert refused(lambda: client(server, tmp_path, "stranger").droplets.list()) in (401, "Unauthorized")
    assert refused(lambda: reader.droplets.create(body={"name": "a", **ORDER})) == 403
    assert refused(lambda: client(server, tmp_path).droplets.create(body={"name": "a_b", **ORDER})) == 422
    assert refused(lambda: reader.droplets.get(droplet_id=1)) in (404, "not_found")
    simulator.faults.append(Fault(kind="status", status=429, retry_after_s=1))
    assert refused(lambda: reader.droplets.list()) in (429, "too_many_requests")
    for kind in ("cut-before", "cut-after"):
        simulator.faults.append(Fault(kind=kind, method="POST"))  # type: ignore[arg-type]
        with pytest.raises(Exception, match=r"[Cc]onnection|EOF|closed"):
            client(server, tmp_path).droplets.create(body={"name": kind, **ORDER})
    assert [row["name"] for row in simulator.state()["droplets"]] == ["cut-after"]
