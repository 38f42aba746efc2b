"""WireGuard's configuration, and keys from outside."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import BadInput
from skerry.net.network import Network
from skerry.net.tunnel import TunnelPeer, render, wireguard_key

KEY = bytes(range(32))


def test_what_wg_is_given() -> None:
    peer = TunnelPeer(public_key=KEY.hex(), endpoints=("198.51.100.7:7077",), subnet="10.77.2.0/24")
    silent = TunnelPeer(public_key=KEY[::-1].hex(), endpoints=(), subnet="10.77.3.0/24")
    assert render("PRIVATE", 7077, [(peer, "198.51.100.7:7077"), (silent, "")]) == (
        "[Interface]\nPrivateKey = PRIVATE\nListenPort = 7077\n"
        "[Peer]\nPublicKey = AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\nAllowedIPs = 10.77.2.0/24\n"
        "Endpoint = 198.51.100.7:7077\nPersistentKeepalive = 25\n"
        "[Peer]\nPublicKey = Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=\nAllowedIPs = 10.77.3.0/24\n"
        "PersistentKeepalive = 25\n"
    )


@given(st.binary(min_size=32, max_size=32))
def test_a_key_in_either_form_is_the_same(raw: bytes) -> None:
    both = {wireguard_key(raw.hex()), wireguard_key(base64.b64encode(raw).decode())}
    assert both == {base64.b64encode(raw).decode()}


@given(st.text(max_size=70))
def test_a_key_is_a_key_or_bad_input_that_does_not_repeat_it(text: str) -> None:
    try:
        assert len(base64.b64decode(wireguard_key(text))) == 32
    except BadInput as e:
        assert len(text) < 12 or text not in str(e)


@pytest.mark.parametrize(
    "wrong",
    [
        {"subnet": "192.168.1.0/24"},
        {"wireguard_private_key": "short"},
        {"veth_prefix": "toolong"},
        {"tunnel_name": 'x" accept'},
        {"cloud_net": "10.77.0.0"},
    ],
)
def test_a_network_that_cannot_be_is_refused(wrong: dict[str, str]) -> None:
    right = {"subnet": "10.77.3.0/24", "wireguard_private_key": KEY.hex()}
    with pytest.raises(BadInput):
        Network(**{**right, **wrong})


def test_what_a_container_is_given_to_read() -> None:
    network = Network(subnet="10.77.3.0/24", wireguard_private_key=KEY.hex())
    assert network.gateway == "10.77.3.1"
    assert network.resolv_conf("guestbook") == (
        b"nameserver 10.77.3.1\nsearch guestbook.internal\noptions timeout:1 attempts:2\n"
    )
    assert b"10.77.3.9 web-0\n" in network.hosts("10.77.3.9", "web-0")
