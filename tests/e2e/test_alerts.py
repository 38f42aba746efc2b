"""A host loses power: a receiver outside the lab is told, by the agent's own bundle, and told again when it is back."""

from __future__ import annotations

import json
import socket

import pytest

from agent.receivers import hook
from e2e.conftest import Cloud

pytestmark = pytest.mark.e2e


def here(cloud: Cloud) -> str:
    """This machine's own address, as the lab's hosts can reach it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((cloud.machines()[0].address, 9))
        return str(sock.getsockname()[0])


def test_a_host_that_loses_power_is_told_of_and_no_diary_looks_changed(cloud: Cloud) -> None:
    skerry = cloud.skerry
    host = cloud.others(cloud.of_store())[0]
    with hook(here(cloud)) as receiver:
        skerry.run("alert", "add", "ops", "--webhook", receiver.url)
        skerry.run("alert", "rule", "host-silent", "--for", "0", "--clear", "0")
        assert "200 OK thank you" in skerry.run("alert", "test", "ops")
        cloud.lab.kill(host)
        skerry.wait("told", lambda: bool(receiver.messages("firing", "host-silent")), 60)
        (told,) = receiver.messages("firing", "host-silent")
        assert (told["subject"], told["seen_by"], told["fixed"]) == (host, 2, 3)
        assert told["host"] in cloud.others(host)
        cloud.lab.boot(host)
        skerry.wait("told that it is over", lambda: bool(receiver.messages("over", "host-silent")), 90)
        (over,) = receiver.messages("over", "host-silent")
        assert over["id"] == told["id"]
        cloud.wait_well()
        rows = json.loads(skerry.run("audit", "verify", "--json"))
        assert [row["ok"] for row in rows] == [True] * len(cloud.names()), rows
        skerry.run("alert", "rm", "ops")
    skerry.run("alert", "rule", "host-silent", "--reset")
