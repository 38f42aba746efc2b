"""`skerry capture`: packets of a real container, read at the host's end of its wire."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.real import RealHost, real_host, wait_for
from skerry.client.packets import Reader

pytestmark = pytest.mark.real
SERVER = "while :; do nc -l -p 8080 </dev/null; done"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHost]:
    with real_host(tmp_path_factory.mktemp("capture")) as host:
        yield host


@contextlib.contextmanager
def talking(host: RealHost, slot: str) -> Iterator[None]:
    """Somebody connects to it again and again, and somebody else to a port where nobody is."""
    over = threading.Event()
    address = host.agent.containers.addresses()[host.id(slot)][1]

    def talk() -> None:
        while not over.wait(0.01):
            for port in (8080, 8081):
                with contextlib.suppress(OSError), socket.create_connection((address, port), 1) as talk:
                    talk.sendall(b"hello")

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture(scope="module")
def slot(host: RealHost) -> str:
    slot = host.run(SERVER)
    wait_for("its server", lambda: "8080" in host.skerry("sockets", slot).out.decode())
    return slot


def test_packets_that_the_filter_lets_through_are_written_as_pcap(host: RealHost, slot: str, tmp_path: Path) -> None:
    with talking(host, slot):
        seen = host.skerry(
            "capture", slot, "-w", str(tmp_path / "o.pcap"), "--filter", "tcp port 8080", "--packets", "20"
        )
    assert seen.code == 0, seen.err
    assert "20 packets, 0 lost; ended: as many as were asked for" in seen.err
    packets = list(Reader().feed((tmp_path / "o.pcap").read_bytes()))
    assert len(packets) == 20
    assert all(packet["protocol"] == "tcp" and "8080" in packet["from"] + packet["to"] for packet in packets)
    assert any(packet["from"].startswith("10.77.1.1:") for packet in packets)
    read = subprocess.run(["tcpdump", "-n", "-r", tmp_path / "o.pcap"], capture_output=True, text=True, check=True)
    assert len(read.stdout.splitlines()) == 20


def test_without_a_file_each_packet_is_a_line(host: RealHost, slot: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with talking(host, slot):
        assert ".8080: Flags" in host.skerry("capture", slot, "--packets", "9").out.decode()
        rows = host.skerry("capture", slot, "--packets", "9", "--json").out.splitlines()
        assert all(json.loads(row)["size_bytes"] > 0 for row in rows)
        assert len(rows) == 9
        monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
        assert "tcp 10.77.1." in host.skerry("capture", slot, "--packets", "9").out.decode()
        refused = host.skerry("capture", slot, "--filter", "port 80")
    assert (refused.code, "tcpdump" in refused.err) == (2, True)


def test_limits_end_it_and_filters_that_are_none_are_refused(host: RealHost, slot: str) -> None:
    assert "0.5 s are over" in host.skerry("capture", slot, "--seconds", "500ms", "--filter", "port 9").err
    assert host.skerry("capture", slot, "--filter", "nonsense here").code == 2
