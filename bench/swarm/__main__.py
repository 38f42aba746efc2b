"""`make bench-swarm`: Skerry beside Docker Swarm on the same three lab hosts, in one run of 15 minutes or less.

Both run the same image, six replicas of it, and the same probe asks them from outside. Power cuts meet both at once, each with two
replicas on the host that is lost. Swarm is measured as it comes, and once more with what can be tuned.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench.cloud import ROOT, Cloud
from bench.swarm.docker import OfSwarm
from bench.swarm.rounds import Healed, cut, idle, middle, spread, take
from bench.swarm.sides import OfSkerry

TARGETS = {
    "create_ratio": 0.5,
    "update_ratio": 0.5,
    "worker_lost_ratio": 0.3,
    "leader_lost_ratio": 0.1,
    "idle_pss_ratio": 0.5,
}
TURNS = 5
PARALLEL = 3  # of the update with which Swarm is tuned; Skerry's has as much
IDLE_S = 20.0
SETTLED_S = 10.0  # managers tell the others of another heartbeat with the next one
HEARTBEAT, TUNED_HEARTBEAT, TUNED_MONITOR = "5s", "1s", "100ms"


def measure(cloud: Cloud) -> dict[str, Any]:
    skerry, swarm = OfSkerry(cloud), OfSwarm(cloud)
    swarm.up()
    skerry.bring()
    hosts = swarm.hosts
    environments = {"skerry": cloud.skerry.environment, "swarm": {**os.environ, "DOCKER_CONFIG": str(cloud.work)}}
    figures: dict[str, Any] = {"load_before": os.getloadavg()[0]}

    times: dict[str, dict[str, list[Any]]] = {"skerry": {}, "swarm": {}}

    def note(side: str, what: str, took: Any) -> None:
        times[side].setdefault(what, []).append(took)
        cloud.tell(f"{side} {what}: {took}")

    for turn in range(TURNS):
        for side in (swarm, skerry):
            if turn:
                side.remove()
            note(side.name, "create", take(side, hosts, side.create(), 1, environments[side.name]))
    figures["idle_pss_mb"] = _idle(cloud, hosts)
    version = 1
    for what, parallelism, monitor in (("update", 1, "5s"), ("update_tuned", PARALLEL, TUNED_MONITOR)):
        for _ in range(TURNS):
            version = 3 - version
            argv = swarm.update(version, parallelism, monitor)
            note("swarm", what, take(swarm, hosts, argv, version, environments["swarm"]))
            argv = skerry.update(version, parallelism)
            note("skerry", what, take(skerry, hosts, argv, version, environments["skerry"]))

    lost: dict[str, Healed] = {}
    skerrys: dict[str, list[Healed]] = {}

    def lose(kind: str, victim: str) -> None:
        spread(cloud, skerry, swarm)
        found = cut(cloud, (skerry, swarm), victim, hosts)
        lost[kind] = found["swarm"]
        skerrys.setdefault(victim, []).append(found["skerry"])

    skerry.remove()
    cloud.run(*skerry.create()[1:])
    worker = hosts[-1]
    for heartbeat, kind in ((HEARTBEAT, ""), (TUNED_HEARTBEAT, "_tuned")):
        swarm.tune(heartbeat)
        time.sleep(SETTLED_S if kind else 0.0)
        lose(f"worker_lost{kind}", worker)
    swarm.wait("all nodes ready", lambda: len(swarm.ready()) == len(hosts))
    swarm.promote(worker)
    for heartbeat, kind in ((HEARTBEAT, ""), (TUNED_HEARTBEAT, "_tuned")):
        swarm.tune(heartbeat)
        time.sleep(SETTLED_S)
        lose(f"leader_lost{kind}", swarm.leader())
    for host in hosts:
        if host not in skerrys:
            spread(cloud, skerry, None)
            skerrys[host] = [cut(cloud, (skerry,), host, hosts)["skerry"]]
    figures["load_after"] = os.getloadavg()[0]
    return _told(figures, times, lost, skerrys)


def _idle(cloud: Cloud, hosts: list[str]) -> dict[str, Any]:
    time.sleep(IDLE_S)
    return idle(cloud, hosts)


def _told(
    figures: dict[str, Any], times: dict[str, dict[str, list[Any]]], lost: dict[str, Healed], skerrys: dict[str, Any]
) -> dict[str, Any]:
    slowest = max(each.answer_s for all_of in skerrys.values() for each in all_of)
    pss = {side: round(sum(parts.values()), 1) for side, parts in figures["idle_pss_mb"].items()}

    def ratio(what: str, tuned: str) -> float:
        return round(middle(times["skerry"][what]) / middle(times["swarm"][tuned]), 3)

    return {
        "create_ratio": ratio("create", "create"),
        "update_ratio": ratio("update", "update"),
        "worker_lost_ratio": round(slowest / lost["worker_lost"].answer_s, 3),
        "leader_lost_ratio": round(slowest / lost["leader_lost"].answer_s, 3),
        "idle_pss_ratio": round(pss["skerry"] / pss["swarm"], 3),
        "until_the_command_ends": {
            what: round(
                median(each.command_s for each in times["skerry"][what])
                / median(each.command_s for each in times["swarm"][what]),
                3,
            )
            for what in times["skerry"]
        },
        "tuned": {
            "update_ratio": ratio("update_tuned", "update_tuned"),
            "worker_lost_ratio": round(slowest / lost["worker_lost_tuned"].answer_s, 3),
            "leader_lost_ratio": round(slowest / lost["leader_lost_tuned"].answer_s, 3),
        },
        "skerry": {
            **{name: [each._asdict() for each in found] for name, found in times["skerry"].items()},
            "lost": {host: [each._asdict() for each in found] for host, found in skerrys.items()},
            "lost_slowest_s": slowest,
            "no_change_longest_s": max(each.no_change_s for all_of in skerrys.values() for each in all_of),
            "idle_pss_mb": pss["skerry"],
        },
        "swarm": {
            **{name: [each._asdict() for each in found] for name, found in times["swarm"].items()},
            **{kind: healed._asdict() for kind, healed in lost.items()},
            "idle_pss_mb": pss["swarm"],
        },
        **figures,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.swarm", description=__doc__)
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench-swarm.json", help="where the figures go")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is born deaf to it
    begun_s = time.monotonic()
    try:
        with Cloud(3, lambda line: print(f"{time.strftime('%H:%M:%S')} {line}", flush=True), "benchswarm") as cloud:
            try:
                figures = measure(cloud)
            finally:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # from here on only the clean-up matters
    except KeyboardInterrupt:
        print("interrupted; everything was taken down")
        return 130
    figures["total_s"] = round(time.monotonic() - begun_s)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(figures, indent=2) + "\n")
    print("| figure | value | target | Swarm tuned |\n| --- | --- | --- | --- |")
    for name, target in TARGETS.items():
        print(f"| `{name}` | {figures[name]} | {target:g} | {figures['tuned'].get(name, '')} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
