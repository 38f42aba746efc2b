"""Rollouts on whole machines: a bad version is turned back by the hosts themselves and no client notices; a canary is held, seen,
and given up by hand while a deploy waits for it.
"""

from __future__ import annotations

import json
import subprocess
import time

import pytest
from demo.clients import Count
from demo.skerry import COMMAND

from e2e.test_apps import PORT, Puppet, puppet

__all__ = ["puppet"]
pytestmark = pytest.mark.e2e


def web(environment: str, update: str, more: str = "") -> str:
    return f"""
  web:
    <<: *puppet
    ports: ["{PORT}:8000"]
    environment: {{{environment}}}
    healthcheck: {{test: curl -f http://localhost:8000/healthz || exit 1, interval: 1s, start_period: 3s}}
    x-skerry: {{image: {{recipe: python, entrypoint: [python3, puppet.py]}}{more}}}
    deploy:
      replicas: 3
      update_config: {{{update}}}
      rollback_config: {{parallelism: 2, order: start-first}}
"""


@pytest.mark.parametrize("order", ["start-first", "stop-first"])
def test_a_bad_version_is_turned_back_and_no_request_fails(puppet: Puppet, order: str) -> None:
    skerry, begun_s = puppet.cloud.skerry, time.time()
    puppet.deploy(web("VERSION: '1'", f"order: {order}"))
    good = puppet.rows()["web/0"]["version"]
    with puppet.clients() as clients:
        for spoilt, how in (("SICK: '1'", "HTTP 500"), ("CRASH: '7'", "ended with exit code 7")):
            code, error = skerry.refused("deploy", puppet.write(web(f"VERSION: '2', {spoilt}", f"order: {order}")))
            assert (code, error["code"]) == (1, "rollout-failed")
            assert how in error["why"] and f"turned back to version {good}" in error["why"]
            reason = "the reason of the sickness" if "SICK" in spoilt else "the reason of the crash"
            assert "; its last words: " in error["why"] and f"{reason};" in error["why"]
        skerry.wait("the version before everywhere", lambda: not any(r["outdated"] for r in puppet.rows().values()))
        count = clients.take()
    assert count.failed == 0 and count.requests > 100 and set(count.versions) == {"1"}, (count.versions, count.whys)
    assert any("HTTP 500" in reason for reason in puppet.events("turned-back", begun_s))
    shown = skerry.run("ps", puppet.name, quiet=True)
    assert shown.count("ended with exit code 7") <= 2, "said once below the table, for the two hosts where it was seen"
    assert f"turned back to version {good}" in shown


def test_a_version_that_answers_and_dies_seconds_later_takes_not_all_that_serve(puppet: Puppet) -> None:
    """The old one stops first, no `delay` between slots, and the new one is well for 3 s: never do all requests of a second fail."""
    skerry = puppet.cloud.skerry
    puppet.deploy(web("VERSION: '1'", "order: stop-first"))
    good = puppet.rows()["web/0"]["version"]
    counts: list[Count] = []
    with puppet.clients() as clients:
        deploy = subprocess.Popen([COMMAND, "deploy", puppet.write(web("VERSION: '2', DIES: '3'", "order: stop-first")), "--json"],
                                  env=skerry.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # fmt: skip
        try:
            more = 4  # seconds after it has ended
            while more := more - (deploy.poll() is not None):
                time.sleep(1.0)
                counts.append(clients.take())
            told = json.loads(deploy.communicate()[0])["error"]
        finally:
            deploy.kill()
    assert told["code"] == "rollout-failed" and f"turned back to version {good}" in told["why"], told
    assert "ended with exit code 7" in told["why"] and "the reason of the death" in told["why"]
    assert all(count.versions for count in counts if count.failed), [(c.failed, c.versions, c.whys[:2]) for c in counts]
    assert any("2" in count.versions for count in counts), "it has served"
    skerry.wait("the version before everywhere", lambda: not any(r["outdated"] for r in puppet.rows().values()))


def test_a_canary_is_held_and_may_be_given_up_while_a_deploy_waits_for_it(puppet: Puppet) -> None:
    skerry = puppet.cloud.skerry
    canary = ", canary: [{share: 34%, hold: 5s}]"
    puppet.deploy(web("VERSION: '1'", "order: start-first", canary))
    begun_s = time.monotonic()
    done = subprocess.run([COMMAND, "deploy", puppet.write(web("VERSION: '2'", "order: start-first", canary))],
                          env=skerry.environment, capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begun_s > 5.0
    assert "canary of web, step 1 of 1: 1 of 3 slots well in version" in done.stderr + done.stdout
    assert {puppet.ask(host=host)["version"] for host in range(3)} == {"2"}

    long = canary.replace("5s", "10m")
    waiting = subprocess.Popen([COMMAND, "deploy", puppet.write(web("VERSION: '3'", "order: start-first", long)), "--json"],
                               env=skerry.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # fmt: skip
    try:
        row = skerry.wait(
            "the canary",
            lambda: next((r for r in puppet.rows().values() if r["canary"] and r["canary"]["left_s"]), None),
        )
        assert (row["canary"]["slots"], row["canary"]["replicas"]) == (1, 3) and 500 < row["canary"]["left_s"] <= 600
        assert [r["outdated"] for r in puppet.rows().values()] == [False, True, True]
        assert "canary of web, step 1 of 1" in skerry.run("ps", puppet.name, quiet=True)
        skerry.run("rollback", puppet.name)
        told, _ = waiting.communicate(timeout=30)
    finally:
        waiting.kill()
    assert waiting.returncode == 1 and json.loads(told)["error"]["code"] == "superseded"
    assert {puppet.ask(host=host)["version"] for host in range(3)} == {"2"}, "back at once, without a canary"
