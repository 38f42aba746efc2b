"""What the mesh says of who misuses it: the word, and who it was. What each attack is met by: test_links, test_door, test_streams."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from mesh.cloud import Key, Node, introduce, wait_until
from skerry.errors import BadFormat, Unreachable
from skerry.mesh import door, links, tls
from skerry.mesh.dial import Identity, dial, open_stream
from skerry.mesh.links import PeerAddress
from skerry.mesh.messages import Stream, recv_bytes, send_bytes


async def endless(stream: Stream, who: str) -> None:
    """Gives for as long as it is taken."""
    while True:
        await send_bytes(stream, bytes(100_000))


async def silent(stream: Stream, who: str) -> None:
    await stream.wait_closed()


async def refusing(stream: Stream, who: str) -> None:
    await recv_bytes(stream)
    raise BadFormat("a question was not answered", "it made no sense")


class Told:
    def __init__(self, node: Node) -> None:
        self.words: Counter[tuple[str, str]] = Counter()
        node.mesh.complain = lambda who, what: self.words.update([(who, what)])


@pytest.fixture
async def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(links, "HOST_PATIENCE_S", 1.5)
    monkeypatch.setattr(links, "OPEN_S", 0.5)
    handlers = {"/endless": endless, "/silent": silent, "/refusing": refusing}
    a = await Node("node/a", Key(), tmp_path / "a", handlers).start()
    b = await Node("node/b", Key(), tmp_path / "b").start()
    told = Told(a)
    introduce(a, b)
    await wait_until(lambda: a.mesh.neighbours() and b.mesh.neighbours())
    yield a, b, told
    await a.mesh.close()
    await b.mesh.close()


async def opened(a: Node, by: Node, path: str) -> Stream:
    return await dial([f"127.0.0.1:{a.port}"], a.key.der, Identity(by.key.der, by.key.pem), path, 5.0)


async def test_who_opens_a_stream_and_does_not_read_holds_little_memory_loses_it_and_is_named(pair):
    a, b, told = pair
    stream = await opened(a, b, "/endless")
    stream.transport.pause_reading()
    await wait_until(lambda: a.mesh._streams)
    (end,) = a.mesh._streams
    most = 0

    def gone() -> bool:
        nonlocal most
        most = max(most, end.transport.get_write_buffer_size())
        return not a.mesh._streams

    await wait_until(gone, 10)
    assert 0 < most < 1 << 20
    assert told.words["node/b", links.TOO_SLOW] == 1
    assert "node/b" in a.mesh.neighbours(), "the link goes on: that one is read"
    stream.transport.abort()


async def test_who_has_lost_its_power_is_not_called_slow(pair):
    a, b, told = pair
    stream = await opened(a, b, "/endless")
    stream.transport.pause_reading()
    b.mesh._beats.cancel()  # nothing of it is heard any more
    await wait_until(lambda: not a.mesh._streams, 10)
    assert ("node/b", links.TOO_SLOW) not in told.words
    stream.transport.abort()


async def test_giant_frames_are_named_on_links_and_on_streams(pair):
    a, b, told = pair
    stream = await opened(a, b, "/silent")
    with contextlib.suppress(ConnectionClosed):
        await stream.send(bytes(2 << 20))
        await stream.recv()
    await wait_until(lambda: told.words["node/b", links.GIANT] == 1)
    link = b.mesh._links["node/a"].connection
    with contextlib.suppress(ConnectionClosed):
        await link.send(bytes(2 << 20))
    await wait_until(lambda: told.words["node/b", links.GIANT] == 2)


async def test_streams_that_are_not_there_and_that_make_no_sense_are_named(pair):
    a, b, told = pair
    with pytest.raises(Unreachable):
        await opened(a, b, "/nothing")
    assert told.words["node/b", links.STREAMS] == 1
    stream = await opened(a, b, "/refusing")
    await send_bytes(stream, b"x")
    await wait_until(lambda: told.words["node/b", links.STREAM_ENDED] == 1)


async def test_a_handshake_and_then_nothing_is_named(pair, tmp_path: Path):
    a, b, told = pair
    (tmp_path / "own").mkdir()
    context = tls.client_context(tls.write_identity(tmp_path / "own", b.key.der, b.key.pem))
    tls.trust(context, a.key.der)
    _, writer = await asyncio.open_connection("127.0.0.1", a.port, ssl=context, server_hostname=tls.SERVER_NAME)
    await wait_until(lambda: told.words["node/b", links.HALF_OPEN] == 1, 5)
    assert await b.mesh.reach("node/a", 2.0)
    await asyncio.sleep(0.6)
    assert told.words["node/b", links.HALF_OPEN] == 1, "who only looks whether we live goes at once"
    writer.close()


async def test_strangers_are_named_by_address_and_so_is_an_enrolled_host_s(pair):
    a, b, told = pair
    for _ in range(3):
        _, writer = await asyncio.open_connection("127.0.0.1", a.port, local_addr=("127.0.7.7", 0))
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await writer.drain()
        writer.close()
        await asyncio.sleep(0.05)
    a.mesh.set_peers({"node/b": PeerAddress(b.key.der, ("127.0.7.7:7077", "127.0.0.1:1"), False)})

    def look() -> int:
        a.mesh._door.look()
        return sum(
            n for (who, what), n in told.words.items() if who.startswith("127.0.7.7") and what == door.UNFINISHED_ONES
        )

    await wait_until(lambda: look() == 3)
    assert ("127.0.7.7, where b is", door.UNFINISHED_ONES) in told.words


async def test_one_address_gets_so_many_connections_a_second_whoever_is_behind_it(pair, monkeypatch):
    a, b, told = pair
    monkeypatch.setattr(door, "AN_ADDRESS_BURST", 5.0)
    monkeypatch.setattr(door, "AN_ADDRESS_PER_S", 0.1)
    a.mesh._door._rates.clear()
    reached = [await b.mesh.reach("node/a", 1.0) for _ in range(8)]
    assert reached == [True] * 5 + [False] * 3
    assert told.words["127.0.0.1, where b is", door.TURNED_AWAY] == 3
    assert "node/b" in a.mesh.neighbours()


async def test_an_unknown_key_is_a_stranger(pair, tmp_path: Path):
    a, _, told = pair
    unknown = Key()
    context = tls.client_context(tls.write_identity(tmp_path, unknown.der, unknown.pem))
    tls.trust(context, a.key.der)
    with pytest.raises(Unreachable):
        await open_stream([f"127.0.0.1:{a.port}"], context, tls.fingerprint(a.key.der), "/link", timeout_s=2.0)

    def look() -> int:
        a.mesh._door.look()
        return sum(n for (_, what), n in told.words.items() if what == door.UNFINISHED_ONES)

    await wait_until(lambda: look() == 1)
