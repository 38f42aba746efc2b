"""A host's own disk and clock go wrong: full, damaged, an hour off. It is told, what runs goes on, nothing accepted is lost."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.conftest import Cloud

pytestmark = pytest.mark.e2e

SPARE_MB = 40


@contextlib.contextmanager
def small_disk(cloud: Cloud, host: str, saved: Path) -> Iterator[None]:
    """The host's /var/lib/skerry on a disk of its own with little room; rebooted for that, before and after."""
    disk = cloud.lab.disk(host)
    cloud.lab.kill(host)
    used_mb = int(subprocess.run(["du", "-sm", disk], capture_output=True, check=True).stdout.split()[0])
    _copy(disk, saved)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={used_mb + SPARE_MB}m", "e2e-disk", disk], check=True)
    try:
        _copy(saved, disk)
        cloud.lab.boot(host)
        yield
    finally:
        cloud.lab.kill(host)
        shutil.rmtree(saved)
        saved.mkdir()
        _copy(disk, saved)
        subprocess.run(["umount", disk], check=True)
        shutil.rmtree(disk)
        disk.mkdir()
        _copy(saved, disk)
        cloud.lab.boot(host)


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", f"{source}/.", target], check=True)


def test_a_disk_that_fills_up_is_told_and_what_runs_goes_on_until_there_is_room(cloud: Cloud, tmp_path: Path) -> None:
    host = cloud.others(cloud.of_store())[0]
    with small_disk(cloud, host, tmp_path):
        cloud.wait_well()
        cloud.skerry.wait("room to be set aside", lambda: cloud.inside(host, "ls", "/var/lib/skerry/reserve"))
        pids, begun_s = cloud.containers(host), time.time()
        cloud.inside(host, "sh", "-c", "dd if=/dev/zero of=/var/lib/skerry/filler bs=64k 2>/dev/null; true")
        cloud.skerry.wait("the event", lambda: cloud.events("disk-full", begun_s))
        cloud.kill_agent(host)
        cloud.wait_well()
        assert cloud.containers(host) == pids, "the agent comes back on a full disk, and finds what it left"
        cloud.new_version()
        cloud.skerry.run("deploy", cloud.compose, "--detach")
        cloud.inside(host, "rm", "/var/lib/skerry/filler")
        cloud.skerry.wait(
            "the word that it is over",
            lambda: [row for row in cloud.events("host", begun_s) if "room again" in row["reason"]],
        )
        cloud.wait_well()


def test_a_damaged_database_is_put_aside_and_its_records_come_back_from_the_neighbours(cloud: Cloud) -> None:
    host = cloud.of_store()
    pids, begun_s = cloud.containers(host, "store"), time.time()
    cloud.inside(host, "systemctl", "stop", "skerry")
    cloud.inside(host, "sh", "-c", "head -c 50000 /dev/urandom >/var/lib/skerry/records.sqlite")
    cloud.inside(host, "systemctl", "start", "skerry")
    cloud.skerry.wait(
        "the event", lambda: [row for row in cloud.events("host", begun_s) if "put aside" in row["reason"]]
    )
    cloud.wait_well()
    assert cloud.of_store() == host
    assert len(pids) == 1 and cloud.containers(host, "store") == pids, "adopted: the store ran on all the while"


def test_a_clock_that_is_wrong_by_an_hour_is_told_and_deploys_go_on(cloud: Cloud) -> None:
    host = cloud.names()[0]
    pids = cloud.containers(host)
    offset = "/var/lib/skerry/clock-offset"
    cloud.inside(host, "sh", "-c", f"echo -3600 >{offset}")
    try:
        cloud.kill_agent(host)
        told = cloud.skerry.wait("the event", lambda: cloud.events("clock", tail=10_000))  # an hour ago, by its clock
        assert told[0]["node"] == host and "-3600 s" in told[0]["reason"]
        assert cloud.containers(host) == pids, "nothing else has changed"
        cloud.new_version()
        cloud.skerry.run("deploy", cloud.compose)
        cloud.wait_well()
    finally:  # or every later test of this cloud would look for its events an hour too late
        cloud.inside(host, "rm", offset)
        cloud.kill_agent(host)
