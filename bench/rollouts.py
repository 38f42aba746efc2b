"""How long a deploy and an update take: 6 replicas of a static server on 3 hosts, whose images are on the hosts already.

`deploy_s` runs from the start of the process `skerry deploy` to its line that all are healthy, so Python's own start is in it.
"""

from __future__ import annotations

from statistics import median
from typing import Any

from bench.cloud import Cloud
from bench.static_server import APP, write_compose

REPLICAS = 6
DEPLOYS = 7
UPDATES = 5
ALL = f"{REPLICAS} of {REPLICAS} replicas healthy"


def measure(cloud: Cloud) -> dict[str, Any]:
    first, second = (_held(cloud, version) for version in (1, 2))
    cloud.run("rm", APP)
    deploys, ends, own = [], [], []
    for turn in range(DEPLOYS):
        ran = cloud.run("deploy", first)
        deploys.append(ran.when(ALL))
        ends.append(ran.seconds)
        own.append(ran.when("signing"))
        cloud.tell(f"deploy {turn + 1}: {deploys[-1]:.3f} s to all healthy, ended after {ran.seconds:.3f} s")
        for at_s, line in ran.lines:
            cloud.tell(f"    {at_s:.3f} {line}")
        cloud.wait("all well", lambda: cloud.well(REPLICAS))
        if turn < DEPLOYS - 1:
            cloud.run("rm", APP)
            cloud.wait("all gone", lambda: not cloud.ps())
    updates = []
    for turn in range(UPDATES):
        ran = cloud.run("deploy", (second, first)[turn % 2])
        updates.append(ran.seconds)
        cloud.tell(f"update {turn + 1}: {ran.seconds:.3f} s")
        cloud.wait("all well", lambda: cloud.well(REPLICAS))
    return {
        "deploy_s": round(median(deploys), 3),
        "deploy_before_signing_s": round(median(own), 3),
        "deploy_process_s": round(median(ends), 3),
        "deploy_s_each": [round(s, 3) for s in deploys],
        "update_s": round(median(updates), 3),
        "update_s_each": [round(s, 3) for s in updates],
    }


def _held(cloud: Cloud, version: int) -> str:
    """A compose file that names its image by digest, once the image is on the hosts: there it stays for ten minutes."""
    brought = cloud.skerry.json("deploy", str(write_compose(cloud.work, version, replicas=REPLICAS)))
    return str(write_compose(cloud.work, version, replicas=REPLICAS, digest=brought["images"]["web"]))
