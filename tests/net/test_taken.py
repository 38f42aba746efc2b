"""Ports that others have."""

from __future__ import annotations

import socket

from hypothesis import given
from hypothesis import strategies as st

from skerry.core.intent import Port
from skerry.net.taken import parse_listening, taken_ports

RECORDED = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0000000000000000
   1: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4243 1 0000000000000000
   2: 0100007F:9C40 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 4244 1 0000000000000000
   3: cut
"""


def test_listening_sockets_and_no_others() -> None:
    assert parse_listening(RECORDED) == [(8000, 4242), (80, 4243)]


@given(st.text(max_size=500))
def test_any_text_can_be_read(text: str) -> None:
    parse_listening(text)
    parse_listening("header\n" + text)


def test_a_port_that_we_ourselves_have_is_told_with_our_name() -> None:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        udp.bind(("127.0.0.1", 0))
        have = Port(target=80, published=tcp.getsockname()[1])
        also = Port(target=80, published=udp.getsockname()[1], protocol="udp")
        free = Port(target=80, published=1)
        found = taken_ports([have, also, free])
    assert [port for port, _ in found] == [have, also]
    assert all(name not in ("", "?") for _, name in found)
