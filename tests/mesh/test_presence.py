"""How soon a neighbour's end is noticed, between real processes: killed, stopped, slow, cut off in silence."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.ports import free_port

from late import Late
from mesh.cloud import Key

SOURCES = Path(__file__).parents[2] / "src"
NAMES = (f"skm1-{os.getpid()}", f"skm2-{os.getpid()}")


class Process:
    def __init__(self, given, inside=()):
        command = [*inside, sys.executable, Path(__file__).parent / "process.py", json.dumps(given)]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(SOURCES)})
        self.told = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.child.stdout:
            self.told.append(json.loads(line))

    def downs(self):
        return [each for each in self.told if each.get("up") is False]

    def ups(self):
        return [each for each in self.told if each.get("up")]


def wait_until(true, within_s=20.0):
    end_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end_s, "it did not come to pass"
        time.sleep(0.005)


@pytest.fixture
def start(tmp_path):
    """Starts two nodes that know each other; gives them once both have said that they are linked."""
    started = []

    def pair(hosts=("127.0.0.1", "127.0.0.1"), inside=((), ())):
        keys, ports, names = (Key(), Key()), (free_port(), free_port()), ("node/a", "node/b")
        for i, other in ((0, 1), (1, 0)):
            directory = tmp_path / str(i)
            directory.mkdir()
            given = {
                "name": names[i],
                "directory": str(directory),
                "host": hosts[i],
                "port": ports[i],
                "certificate": keys[i].der.hex(),
                "key": keys[i].pem.decode(),
                "peers": {names[other]: [keys[other].der.hex(), f"{hosts[other]}:{ports[other]}"]},
            }
            started.append(Process(given, inside[i]))
        wait_until(lambda: all(each.ups() for each in started))
        return started

    yield pair
    for each in started:
        each.child.send_signal(signal.SIGCONT)
        each.child.kill()
        each.child.wait()


def test_a_killed_process_is_seen_at_once(start):
    a, b = start()
    late = Late()
    killed_s = time.monotonic()
    b.child.kill()
    wait_until(a.downs)
    assert a.downs()[0]["at_s"] - killed_s < 0.5 + 3 * late.most_s
    assert (a.downs()[0]["goodbye"], a.downs()[0]["why"]) == (True, "its process ended")


@pytest.mark.real
def test_a_process_that_stands_still_for_less_than_two_and_a_half_seconds_is_not_called_dead(start):
    a, b = start()
    for seconds in (2.3, 1.5):
        b.child.send_signal(signal.SIGSTOP)
        begun_s = time.monotonic()
        time.sleep(seconds)
        b.child.send_signal(signal.SIGCONT)
        if time.monotonic() - begun_s > 2.5:
            pytest.skip("this machine is too busy to wake us in time")
        time.sleep(0.3)
    assert not a.downs() and not b.downs()


@pytest.mark.real
def test_a_process_that_stands_still_for_longer_is_missed_and_comes_back(start):
    a, b = start()
    late = Late()
    stopped_s = time.monotonic()
    b.child.send_signal(signal.SIGSTOP)
    wait_until(a.downs)
    assert 2.4 < a.downs()[0]["at_s"] - stopped_s < 3.2 + 3 * late.most_s
    assert a.downs()[0]["why"] == "silent for 3 s"
    assert not a.downs()[0]["goodbye"]
    b.child.send_signal(signal.SIGCONT)
    wait_until(lambda: len(a.ups()) >= 2 and len(b.ups()) >= 2)  # on a busy machine it may take two tries


@pytest.mark.real
def test_a_busy_machine_is_not_called_dead(start):
    a, b = start()
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    time.sleep(4.0)
    for each in busy:
        each.kill()
        each.wait()
    assert not a.downs() and not b.downs()


def ip(*words):
    subprocess.run(["ip", *words], check=True)


@pytest.fixture
def namespaces():
    for name in NAMES:
        ip("netns", "add", name)
    try:
        ip("link", "add", NAMES[0], "netns", NAMES[0], "type", "veth", "peer", "name", NAMES[1], "netns", NAMES[1])
        for name, address in zip(NAMES, ("10.251.0.1/24", "10.251.0.2/24"), strict=True):
            ip("-n", name, "addr", "add", address, "dev", name)
            ip("-n", name, "link", "set", name, "up")
        yield NAMES
    finally:
        for name in NAMES:
            ip("netns", "del", name)


@pytest.mark.real
@pytest.mark.parametrize("fault", ["drop", "link"])
def test_a_machine_cut_off_in_silence_is_missed_by_both_within_three_seconds_and_linked_again(start, namespaces, fault):
    inside = [("ip", "netns", "exec", name) for name in namespaces]
    a, b = start(("10.251.0.1", "10.251.0.2"), inside)
    time.sleep(1.0)
    if fault == "drop":
        chains = (
            f"chain {hook} {{ type filter hook {hook} priority 0; policy drop; }};" for hook in ("input", "output")
        )
        rules = f"table inet skm {{ {' '.join(chains)} }}"
        subprocess.run([*inside[1], "nft", rules], check=True)
    else:
        ip("-n", NAMES[1], "link", "set", NAMES[1], "down")
    late = Late()
    cut_s = time.monotonic()
    wait_until(lambda: a.downs() and b.downs())
    for each in (a, b):
        assert each.downs()[0]["at_s"] - cut_s < 3.2 + 3 * late.most_s
        assert not each.downs()[0]["goodbye"]
    if fault == "drop":
        subprocess.run([*inside[1], "nft", "delete", "table", "inet", "skm"], check=True)
    else:
        ip("-n", NAMES[1], "link", "set", NAMES[1], "up")
    wait_until(lambda: len(a.ups()) >= 2 and len(b.ups()) >= 2)  # on a busy machine it may take two tries
    print(fault, [each.downs()[0]["at_s"] - cut_s for each in (a, b)])
