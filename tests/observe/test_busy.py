"""A process that is busy in a way that is known, in real cgroups and behind a real veth: are its figures right?"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.agent.metrics.sampling import Sampler
from skerry.observe.cgroups import Cgroup
from skerry.observe.machine import MachineFiles
from skerry.observe.metrics import OF_HOST, OF_SLOT
from skerry.runtime.cgroups import Cgroups

pytestmark = pytest.mark.real

MIB = 1 << 20
GROUP = f"/metrics-busy-{os.getpid()}"
HELD, SHARE, SENT = 96 * MIB, 0.3, 3 * MIB
# Waits for its cgroup and network, then holds memory, uses a share of a core and sends to the host's end of its veth. It tells
# what it did meanwhile.
BUSY = f"""
import os, socket, sys, time
print("made", flush=True); sys.stdin.readline()
held = b"x" * {HELD}
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print("busy", flush=True)
began = time.monotonic(); used = time.process_time(); sent = 0
while True:
    passed = time.monotonic() - began
    if time.process_time() - used < {SHARE} * passed:
        sum(range(2000))
    elif sent < {SENT} * passed:
        out.sendto(bytes(1400), ("10.213.7.1", 9)); sent += 1400
    else:
        time.sleep(0.002)
"""


@contextlib.contextmanager
def busy() -> Iterator[str]:
    """The name of the host's end of its veth."""
    name = f"mtb{os.getpid() % 10**6}"
    cgroups = Cgroups()
    process = subprocess.Popen(
        ["unshare", "-n", sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "made\n"
        cgroups.move(process.pid, GROUP)
        for command in (
            f"link add {name} type veth peer name eth0 netns {process.pid}",
            f"addr add 10.213.7.1/24 dev {name}",
            f"link set {name} up",
        ):
            subprocess.run(["ip", *command.split()], check=True)
        inside = ["nsenter", f"--net=/proc/{process.pid}/ns/net", "ip"]
        subprocess.run([*inside, "addr", "add", "10.213.7.2/24", "dev", "eth0"], check=True)
        subprocess.run([*inside, "link", "set", "eth0", "up"], check=True)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "busy\n"
        yield name
    finally:
        process.kill()
        process.wait()
        cgroups.remove(GROUP)
        subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)


def test_figures_of_a_busy_process_are_what_it_did() -> None:
    with busy() as interface:
        sampler = Sampler(
            MachineFiles(Path("/")),
            open_cgroup=lambda id: Cgroup(GROUP),
            interface=lambda id: interface,
            is_ours=lambda name: name == interface,
            clock_off_s=lambda: 0.0,
        )
        sampler.sample({"a": "busy.app/0"}, {})
        time.sleep(2.0)  # what is measured is a rate: the time is the test's
        host, slots = sampler.sample({"a": "busy.app/0"}, {})
        found = dict(zip((metric.name for metric in OF_SLOT), slots["busy.app/0"], strict=True))
        of_host = dict(zip((metric.name for metric in OF_HOST), host, strict=True))
        sampler.close()
    assert found["cpu_cores"] == pytest.approx(SHARE, rel=0.25), found
    assert HELD <= found["memory_bytes"] < HELD + 64 * MIB
    # Less than it wanted to, where the machine was busy; never more than with headers.
    assert SENT * 0.3 < found["network_sent_bytes_per_s"] < SENT * 1.15, found
    assert found["network_received_bytes_per_s"] < found["network_sent_bytes_per_s"] / 4
    assert found["pids"] == 1
    assert found["oom_kills"] == 0
    assert 0 <= found["cpu_pressure_share"] <= 1
    assert found["cpu_cores"] < of_host["cpu_cores"] + 0.2
    assert of_host["memory_bytes"] < of_host["memory_total_bytes"]
