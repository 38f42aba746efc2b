"""Connections to a service at zero: held, woken for, passed on, and never without a bound."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import struct
import threading
import time
from pathlib import Path

import pytest
from tests.ports import free_port

from agent.holding import WITHIN_S, Application, Holding, wait
from late import Late

HOME = "127.0.0.1"


def echo_to_the_end(connection: socket.socket) -> None:
    """Says all that it heard once the other side has ended."""
    heard = b""
    while data := connection.recv(65536):
        heard += data
    connection.sendall(b"heard " + heard)


def answer(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.sendall(b"here I am")


def read_all(client: socket.socket) -> bytes:
    client.settimeout(WITHIN_S)
    heard = b""
    while data := client.recv(65536):
        heard += data
    return heard


def test_who_knocks_is_held_until_somebody_is_there(tmp_path: Path) -> None:
    with Holding(tmp_path) as holding, Application(answer) as application:
        holding.table(application.port)
        with holding.client(b"hello?") as client:
            wait("the agent to be told", holding.waits)
            holding.table(application.port, HOME)
            assert read_all(client) == b"here I am"
            wait("nobody to wait any more", lambda: not holding.waits())
        wait("the flow to be over", lambda: holding.activator.flows == 0)


def test_one_that_has_no_probe_is_tried_until_its_port_is_open(tmp_path: Path) -> None:
    with Holding(tmp_path) as holding:
        port = free_port()
        holding.table(port, rising=(HOME,))
        with holding.client(b"hello?") as client:
            wait("the agent to be told", holding.waits)
            with Application(answer, port):
                assert read_all(client) == b"here I am"


def test_half_closed_by_the_client_means_that_it_waits_for_the_answer(tmp_path: Path) -> None:
    with Holding(tmp_path) as holding, Application(echo_to_the_end) as application:
        holding.table(application.port)
        with holding.client(b"all that I have to say") as client:
            client.shutdown(socket.SHUT_WR)
            wait("the agent to be told", holding.waits)
            holding.table(application.port, HOME)
            assert read_all(client) == b"heard all that I have to say"


def test_half_closed_by_the_application_means_that_it_goes_on_hearing(tmp_path: Path) -> None:
    heard: list[bytes] = []

    def say_first(connection: socket.socket) -> None:
        connection.sendall(b"that was all")
        connection.shutdown(socket.SHUT_WR)
        heard.append(read_all(connection))

    with Holding(tmp_path) as holding, Application(say_first) as application:
        holding.table(application.port, HOME)
        with holding.client() as client:
            assert read_all(client) == b"that was all"
            client.sendall(b"not quite")
        wait("it to arrive", lambda: heard == [b"not quite"])
        wait("the flow to be over", lambda: holding.activator.flows == 0)


def test_a_reset_on_one_side_is_a_reset_on_the_other(tmp_path: Path) -> None:
    def slam(connection: socket.socket) -> None:
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with Holding(tmp_path) as holding, Application(slam) as application:
        holding.table(application.port, HOME)
        with holding.client(b"x") as client, pytest.raises(ConnectionResetError):
            client.settimeout(WITHIN_S)
            client.recv(1)
        wait("the flow to be over", lambda: holding.activator.flows == 0)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_is_noticed(tmp_path: Path, how: str) -> None:
    with Holding(tmp_path) as holding:
        holding.table(1)
        client = holding.client(b"never mind" if how == "reset" else b"")
        wait("the agent to be told", holding.waits)
        if how == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        wait("the agent to be told that it left", lambda: not holding.waits())
        assert holding.activator.held == 0


def test_nobody_came_up_in_time(tmp_path: Path) -> None:
    with Holding(tmp_path) as holding:
        holding.table(1, limit_s=0.3)
        begun_s = time.monotonic()
        with holding.client(b"hello?") as client:
            client.settimeout(WITHIN_S)
            with pytest.raises(ConnectionResetError):  # what it said was read by nobody
                assert client.recv(1)
                raise AssertionError
        assert 0.25 < time.monotonic() - begun_s < 5
        wait("the agent to be told", lambda: holding.closed("late") == 1)


def test_a_healthy_one_that_does_not_listen_there_refuses_soon(tmp_path: Path) -> None:
    with Holding(tmp_path) as holding:
        holding.table(free_port(), HOME)
        with holding.client(b"hello?") as client, pytest.raises(ConnectionResetError):
            client.settimeout(5)
            client.recv(1)


def test_nothing_that_may_sleep_has_that_port(tmp_path: Path) -> None:
    with Holding(tmp_path) as holding:
        holding.tell({"services": {}})
        wait("the table", lambda: holding.said)
        with pytest.raises(ConnectionResetError), holding.client() as client:
            client.settimeout(WITHIN_S)
            client.recv(1)


def test_fifty_at_once_are_all_answered(tmp_path: Path) -> None:
    with Holding(tmp_path) as holding, Application(answer) as application:
        holding.table(application.port)
        clients = [holding.client(b"hello?") for _ in range(50)]
        wait("all to be held", lambda: holding.activator.held == 50)
        holding.table(application.port, HOME)
        assert [read_all(client) for client in clients] == [b"here I am"] * 50
        for client in clients:
            client.close()


def test_thousands_of_connections_to_a_sleeping_port_have_a_bound(tmp_path: Path) -> None:
    """A flood: more than may wait are refused at once, the others still get their answer, and little memory is used."""
    with Holding(tmp_path, held_max=300, held_per_client=200) as holding, Application(answer) as application:
        holding.table(application.port)
        before = resident_bytes()
        clients = []
        for _ in range(3000):
            with contextlib.suppress(ConnectionResetError):  # while it was still connecting
                clients.append(holding.client())
        wait("the flood to be taken in", lambda: holding.closed("full") == 2800)
        assert holding.activator.held == 200, "the bound of one client"
        assert resident_bytes() - before < 32 << 20
        open_ones = [client for client in clients if not is_reset(client)]
        assert len(open_ones) == 200
        holding.table(application.port, HOME)
        for client in open_ones:
            client.sendall(b"hello?")
            assert read_all(client) == b"here I am"
        for client in clients:
            client.close()


def test_slow_clients_hold_up_nobody(tmp_path: Path) -> None:
    """A hundred that say one letter and then nothing (slowloris) pass on; one that asks properly is answered at once."""
    with (
        Holding(tmp_path) as holding,
        Application(lambda c: answer(c) if c.recv(1) == b"q" else c.recv(1) and None) as app,
    ):
        holding.table(app.port)
        slow = [holding.client(b"s") for _ in range(100)]
        wait("all to be held", lambda: holding.activator.held == 100)
        holding.table(app.port, HOME)
        wait("all to have passed on", lambda: holding.activator.flows == 100)
        begun_s, late = time.monotonic(), Late()
        with holding.client(b"qq") as client:
            assert read_all(client) == b"here I am"
        assert time.monotonic() - begun_s < 1 + 10 * late.most_s
        for client in slow:
            client.close()


def test_a_large_transfer_arrives_whole_both_ways_at_once(tmp_path: Path) -> None:
    size = 64 << 20
    block = os.urandom(1 << 20)

    def both(connection: socket.socket) -> None:
        sender = threading.Thread(target=pour, args=(connection,))
        sender.start()
        digests.append(drink(connection))
        sender.join()

    def pour(sock: socket.socket) -> None:
        for _ in range(size // len(block)):
            sock.sendall(block)
        sock.shutdown(socket.SHUT_WR)

    def drink(sock: socket.socket) -> str:
        digest, n = hashlib.sha256(), 0
        while data := sock.recv(1 << 18):
            digest.update(data)
            n += len(data)
        return f"{n} {digest.hexdigest()}"

    digests: list[str] = []
    whole = f"{size} {hashlib.sha256(block * (size // len(block))).hexdigest()}"
    with Holding(tmp_path) as holding, Application(both) as application:
        holding.table(application.port, HOME)
        with holding.client() as client:
            sender = threading.Thread(target=pour, args=(client,))
            sender.start()
            digests.append(drink(client))
            sender.join()
        wait("both ends to have all", lambda: len(digests) == 2)
    assert digests == [whole, whole]


def test_one_that_retires_passes_on_what_it_has_and_ends(tmp_path: Path) -> None:
    with Holding(tmp_path) as holding, Application(echo_to_the_end) as application:
        holding.table(application.port, HOME)
        with holding.client(b"first") as passing:
            wait("it to pass", lambda: holding.activator.flows == 1)
            holding.table(application.port)
            with holding.client(b"second") as held:
                wait("it to be held", lambda: holding.activator.held == 1)
                holding.tell({"retire": True})
                wait("it to listen no more", lambda: not listens(holding.port))
                assert not holding.activator.is_done
                holding.table(application.port, HOME)
                for client, word in ((passing, b"first"), (held, b"second")):
                    client.shutdown(socket.SHUT_WR)
                    assert read_all(client) == b"heard " + word
        wait("it to end", lambda: holding.activator.is_done)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOME, port)) == 0


def is_reset(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        client.recv(1)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    finally:
        client.settimeout(WITHIN_S)
    raise AssertionError("closed without a reset")


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
