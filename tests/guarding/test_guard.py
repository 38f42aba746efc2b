"""The guard as a process, over real cgroups, wires and rules: what it ends, when, and what ends without it."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from guarding.small import Host, now_s
from late import Late
from skerry.guarding.words import Ask, socket_path, state_path

pytestmark = pytest.mark.real
LATE_S = 0.02  # of a timer of the kernel
EARLY_S = 0.6  # the sooner end of the kernel's time, and a busy machine that doesn't hear at once


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    if os.geteuid():
        pytest.skip("needs root")
    host = Host(tmp_path)
    try:
        host.begin_guard()
        yield host
    finally:
        host.end()


def test_what_outlives_its_lease_is_killed_and_cut_off_and_what_is_renewed_never_notices(host: Host) -> None:
    for id in ("c1", "c2"):
        host.make(id)
    first, second = host.kept("c1", 2.0), host.kept("c2", 2.0)
    late = Late()
    host.want(first, second)
    for _ in range(4):
        time.sleep(0.4)
        second = host.kept("c2", 2.0)
        host.want(first, second)
    host.until(lambda: not host.lives("c1"), "its process is gone")
    over_s = now_s() - first.until_s
    assert 0 <= over_s < 0.3 + 3 * late.most_s
    assert not host.has_wire("c1")
    last = host.heard()
    assert first.until_s - EARLY_S - 3 * late.most_s < last["c1"] < first.until_s + LATE_S
    assert host.lives("c2") and host.has_wire("c2") and now_s() - last["c2"] < 0.3 + 3 * late.most_s
    answer = host.want(second)
    assert [each.kept.id for each in answer.lately] == ["c1"]
    assert [each.kept.id for each in answer.held] == ["c2"], "nothing of the other runs: it is forgotten"


@pytest.mark.parametrize("still", ["killed", "stopped"])
def test_without_any_process_that_could_act_the_kernel_ends_its_talk_in_time(host: Host, still: str) -> None:
    """Agent, guard and systemd may all stand still."""
    host.make("c1")
    kept, late = host.kept("c1", 1.5), Late()
    host.want(kept)
    host.kill_guard() if still == "killed" else host.stop_guard()
    host.until(lambda: now_s() > kept.until_s + 0.3, "its time is over")
    last = host.heard()["c1"]
    assert kept.until_s - EARLY_S - 3 * late.most_s < last < kept.until_s + LATE_S
    assert host.lives("c1"), "else this test has shown nothing"
    if still == "stopped":
        host.kill_guard()
    host.begin_guard()
    host.until(lambda: not host.lives("c1"), "a guard that is begun anew kills it at once")
    assert not host.has_wire("c1")
    assert host.heard()["c1"] == last
    assert [each.kept.id for each in host.want(kept).lately] == ["c1"], "and tells of it"


def test_a_guard_that_is_begun_anew_in_time_goes_on(host: Host) -> None:
    host.make("c1")
    kept, late = host.kept("c1", 2.5), Late()
    host.want(kept)
    host.kill_guard()
    host.begin_guard()
    assert [each.kept for each in host.packet(msgspec.json.encode(Ask())).held] == [kept]
    host.until(lambda: not host.lives("c1"), "its process is gone")
    assert 0 <= now_s() - kept.until_s < 0.3 + 3 * late.most_s


def test_a_container_that_begins_after_its_end_does_not_live(host: Host) -> None:
    """The runtime was slow, and nobody renewed meanwhile."""
    host.wire("c1")
    kept = host.kept("c1", 0.2)
    host.want(kept)
    host.until(lambda: not host.has_wire("c1"), "its time is over")
    late = host.containers["c1"] = subprocess.Popen(["sleep", "60"])
    host.cgroups.move(late.pid, host.cgroup("c1"))
    host.until(lambda: not host.lives("c1"), "it was killed")


def test_rules_that_somebody_flushes_come_back(host: Host) -> None:
    host.make("c1")
    host.want(host.kept("c1", 60.0))
    host.said("nft", "flush", "ruleset")
    host.until(lambda: "skerry_leases" in host.said("nft", "list", "ruleset"), "they are back")
    assert "10.77.9.11" in host.said("nft", "list", "set", "ip", "skerry_leases", "alive")


def test_strangers_words_change_nothing_and_the_guard_lives(host: Host) -> None:
    host.make("c1")
    kept = host.kept("c1", 30.0)
    host.want(kept)
    root = msgspec.structs.replace(kept, cgroup="/")
    for packet in (b"{", b"\xff" * 1000, msgspec.json.encode(Ask(wanted=(root,))), b'{"wanted": 7}'):
        assert host.packet(packet).refused
    callers = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(6)]
    for caller in callers:
        caller.connect(str(socket_path(host.run)))  # they say nothing
    assert [each.kept for each in host.want(kept).held] == [kept]
    for caller in callers:
        caller.close()
    assert oct(socket_path(host.run).stat().st_mode)[-3:] == "600"


def test_a_damaged_state_leaves_the_kernels_rules_until_the_agent_says_anew(host: Host) -> None:
    host.make("c1")
    kept = host.kept("c1", 1.0)
    host.want(kept)
    host.kill_guard()
    state_path(host.run).write_bytes(b"\x00" * 40)
    host.begin_guard()
    host.until(lambda: now_s() > kept.until_s + 0.1, "its time is over")
    assert host.heard()["c1"] < kept.until_s + LATE_S
    assert host.lives("c1")
    host.want(kept)
    host.until(lambda: not host.lives("c1"), "it was told anew")
