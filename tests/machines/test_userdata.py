"""What a rented machine runs at first: a pure function with a golden file, and the script itself against honest hosts and others."""

from __future__ import annotations

import ast
import hashlib
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from skerry.core.intent import Node, Pool
from skerry.core.records import MachineSlot
from skerry.machines.contract import USER_DATA_BYTES
from skerry.machines.userdata import MeetingPoint, meeting_points, user_data
from skerry.mesh.tls import fingerprint, write_identity
from skerry.trust.identity import Signer, certificate, private_pem

GOLDEN = Path(__file__).parent / "golden" / "userdata.py.txt"
SLOT = MachineSlot("burst", 6)
MEET = (MeetingPoint("198.51.100.7:7078", "aa" * 32), MeetingPoint("[2001:db8::7]:7078", "bb" * 32))


def made(meet: tuple[MeetingPoint, ...] = MEET, *, bundle: str = "cc" * 32, limit_s: float = 600.0) -> str:
    return user_data("dd" * 32, SLOT, meet, bundle=bundle, token="a-token", limit_s=limit_s)


def test_it_is_as_it_was_seen_to_work() -> None:
    if os.environ.get("REWRITE"):
        GOLDEN.write_text(made())
    assert made() == GOLDEN.read_text()


def test_every_python_of_a_cloud_image_can_read_it_and_it_fits() -> None:
    ast.parse(made(), feature_version=(3, 8))
    assert made().startswith("#!/usr/bin/python3\n")
    sixteen = tuple(MeetingPoint(f"{'h' * 250}-{n}.example:7078", "aa" * 32) for n in range(16))
    assert len(made(sixteen).encode()) < USER_DATA_BYTES // 4


def test_it_uses_nothing_that_an_image_may_lack() -> None:
    names = {a.name for node in ast.walk(ast.parse(made())) if isinstance(node, ast.Import) for a in node.names}
    assert names <= set(sys.stdlib_module_names)


def test_machines_ask_the_keepers_or_the_meeting_host_by_their_certificates() -> None:
    def node(address: str) -> Node:
        return Node(signing="", sealing="", wireguard="", certificate="QUJD", addresses=(address,), subnet="", salt="")

    nodes = {"node/vps-1": node("198.51.100.7:7077"), "node/vps-2": node("[2001:db8::7]:7077")}
    print_of = hashlib.sha256(b"ABC").hexdigest()
    kept = Pool(provider="x", max=1, network="", keepers={"node/vps-2": "", "node/vps-1": "", "node/gone": ""})
    assert meeting_points(kept, nodes) == (
        MeetingPoint("198.51.100.7:7078", print_of),
        MeetingPoint("[2001:db8::7]:7078", print_of),
    )
    by_hand = Pool(provider="x", max=1, network="", options={"meeting": "vps-1"})
    assert meeting_points(by_hand, nodes) == (MeetingPoint("198.51.100.7:7078", print_of),)


# -- the script against whoever answers


class Host:
    """Something that listens where a keeper would, with a certificate, and says one thing. `heard`: what it was told."""

    def __init__(self, directory: Path, name: str, answer: bytes) -> None:
        seed = hashlib.sha256(name.encode()).digest()
        der = certificate(seed, name, 1)
        directory.mkdir(exist_ok=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(write_identity(directory, der, private_pem(Signer(seed).seed)))
        self.fingerprint, self.heard = fingerprint(der), b""
        self._answer, self._context = answer, context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._socket.accept()
            except OSError:
                return
            try:
                with self._context.wrap_socket(plain, server_side=True) as line:
                    line.sendall(b'{"node": "node/vps-1", "nonce": "00"}\n')
                    self.heard += line.recv(65536)
                    line.sendall(self._answer)
            except OSError:
                continue

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    hosts: list[Host] = []

    def make(name: str, answer: bytes) -> Host:
        hosts.append(Host(tmp_path / name, name, answer))
        return hosts[-1]

    yield make
    for each in hosts:
        each.close()


def run(script: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """The script with its own places moved into a folder, until it has the agent unpacked: what comes after needs systemd."""
    script = script.replace('"/opt/skerry"', repr(str(tmp_path / "opt"))).replace(
        '"/var/lib/skerry"', repr(str(tmp_path / "state"))
    )
    script = script.removesuffix("main()\n") + "print('version', agent())\n"
    (tmp_path / "script.py").write_text(script)
    argv = [sys.executable, "-I", str(tmp_path / "script.py")]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def archive(tmp_path: Path) -> bytes:
    (tmp_path / "in/1.0-abc/bin").mkdir(parents=True)
    (tmp_path / "in/1.0-abc/bin/skerry-agent").write_text("the agent")
    subprocess.run(["tar", "-czf", tmp_path / "agent.tar.gz", "-C", tmp_path / "in", "1.0-abc"], check=True)
    return (tmp_path / "agent.tar.gz").read_bytes()


def sized(data: bytes) -> bytes:
    return b'{"size": %d}\n' % len(data) + data


def test_it_takes_the_agent_from_the_first_keeper_that_gives_it(host: Callable[..., Host], tmp_path: Path) -> None:
    data = archive(tmp_path)
    nobody = MeetingPoint("127.0.0.1:1", "aa" * 32)
    refusing = host("refusing", b'{"error": {"what": "not now"}}\n')
    good = host("good", sized(data))
    meet = (nobody, MeetingPoint(refusing.address, refusing.fingerprint), MeetingPoint(good.address, good.fingerprint))
    done = run(made(meet, bundle=hashlib.sha256(data).hexdigest()), tmp_path)
    assert "version 1.0-abc" in done.stdout, done
    assert "not now" in done.stdout
    assert (tmp_path / "opt/1.0-abc/bin/skerry-agent").read_text() == "the agent"
    assert str((tmp_path / "opt/current").readlink()) == "1.0-abc"


def test_whoever_stands_in_between_learns_no_token(host: Callable[..., Host], tmp_path: Path) -> None:
    """It answers at the keeper's address, with a certificate of its own."""
    data = archive(tmp_path)
    thief, keeper = host("thief", sized(data)), host("keeper", b"")
    done = run(
        made((MeetingPoint(thief.address, keeper.fingerprint),), bundle=hashlib.sha256(data).hexdigest(), limit_s=0),
        tmp_path,
    )
    assert done.returncode != 0 and "another certificate answers there" in done.stdout
    assert b"a-token" not in thief.heard
    assert not (tmp_path / "opt/current").exists()


@pytest.mark.parametrize("answer", [
    b'{"size": 9}\nnot yours', b'{"size": 900}\nshort', b'{"size": -1}\n', b'{"size": "x"}\n', b"garbage\n", b"",
    b'{"size": 99999999999999}\nx',
])  # fmt: skip
def test_another_agent_than_the_pool_s_is_not_even_unpacked(
    host: Callable[..., Host], tmp_path: Path, answer: bytes
) -> None:
    """A captured keeper gives what it likes."""
    captured = host("captured", answer)
    done = run(made((MeetingPoint(captured.address, captured.fingerprint),), limit_s=0), tmp_path)
    assert done.returncode != 0 and "no agent from" in done.stdout, done
    assert sorted(path.name for path in (tmp_path / "opt").iterdir()) in ([], [".first.tar.gz"])
