"""Links between nodes on loopback: who gets in, which link stays, what happens when one ends."""

import asyncio
import ssl
from contextlib import suppress

import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from mesh.cloud import Key, Node, introduce, keys, wait_until
from skerry.errors import Unreachable
from skerry.mesh import links as links_module
from skerry.mesh import tls
from skerry.mesh.links import PeerAddress


@pytest_asyncio.fixture
async def node(tmp_path):
    """Makes nodes and takes them down again."""
    made = []

    async def make(name, key=None, handlers=None):
        made.append(await Node(name, key or Key(), tmp_path / name, handlers).start())
        return made[-1]

    yield make
    for each in made:
        await each.mesh.close()


async def bare_link(to, key, directory):
    """A link without a mesh at this end."""
    directory.mkdir()
    context = tls.client_context(tls.write_identity(directory, key.der, key.pem))
    tls.trust(context, to.key.der)
    address = f"wss://127.0.0.1:{to.port}/link"
    return await connect(address, ssl=context, proxy=None, compression=None, ping_interval=None, max_queue=1)


async def test_three_nodes_link_and_frames_cross(node):
    a, b, c = await node("node/a"), await node("node/b"), await node("node/c")
    introduce(a, b, c)
    await wait_until(lambda: all(len(each.mesh.neighbours()) == 2 for each in (a, b, c)))
    assert not a.mesh.send("node/z", b"nobody")


async def test_what_was_sent_on_the_link_that_loses_against_its_twin_arrives_once(node):
    """Each says something as soon as the other is up, while two links cross and one of them is closed."""
    for _ in range(10):
        low, high = keys(2)
        a, b = await node("node/a", low), await node("node/b", high)
        sent = dict.fromkeys((a, b), 0)

        def say(each, other, sent=sent):
            """Gives whether the ten are sent; False from `send` says that this one was not."""
            sent[each] += each.mesh.send(other.name, bytes([sent[each]]))
            return sent[each] == 10

        introduce(a, b)
        await asyncio.gather(*(wait_until(lambda s=say, p=pair: s(*p)) for pair in ((a, b), (b, a))))
        await wait_until(lambda a=a, b=b: len(a.frames) >= 10 and len(b.frames) >= 10)
        for each, other in ((a, b), (b, a)):
            assert sorted(each.frames) == [(other.name, bytes([n])) for n in range(10)]
        await a.mesh.close()
        await b.mesh.close()


async def test_two_that_dial_each_other_keep_one_link_and_say_up_once(node):
    for _ in range(5):
        low, high = keys(2)
        a, b = await node("node/a", low), await node("node/b", high)
        introduce(a, b)
        await wait_until(lambda a=a, b=b: a.mesh.neighbours() and b.mesh.neighbours())
        await asyncio.sleep(0.3)
        assert [each[0] for each in a.happened] == ["up"]
        assert [each[0] for each in b.happened] == ["up"]
        assert a.mesh.send("node/b", b"x") and b.mesh.send("node/a", b"y")
        await wait_until(lambda a=a, b=b: b.frames and a.frames)
        await a.mesh.close()
        await b.mesh.close()


async def test_a_stranger_gets_no_link_and_no_stream(node):
    a, stranger = await node("node/a"), await node("node/s")
    stranger.mesh.set_peers({"node/a": a.as_peer()})
    with pytest.raises(Unreachable, match=r"does not know our key|did not receive|closed|EOF|reset"):
        await stranger.mesh.open("node/a", "/image")
    assert not a.happened
    assert not stranger.happened


async def test_a_node_that_shows_another_key_is_not_dialled(node):
    a, b = await node("node/a"), await node("node/b")
    a.mesh.set_peers({"node/b": PeerAddress(Key().der, b.as_peer().addresses, False)})
    b.mesh.set_peers({"node/a": a.as_peer(dial=False)})
    with pytest.raises(Unreachable, match="another key"):
        await a.mesh.open("node/b", "/image")
    assert not await a.mesh.reach("node/b", 1.0)


async def test_an_enrolled_node_at_the_address_of_another_is_not_taken_for_it(node):
    a, b, c = await node("node/a"), await node("node/b"), await node("node/c")
    introduce(a, b, c, dial=False)
    wrong = PeerAddress(b.key.der, c.as_peer().addresses, False)
    with pytest.raises(Unreachable, match="another node answered"):
        await a.mesh.open(wrong, "/link")


async def test_an_expelled_node_is_cut_off_at_once_and_stays_out(node):
    a, b = await node("node/a"), await node("node/b")
    introduce(a, b)
    await wait_until(lambda: a.mesh.neighbours() and b.mesh.neighbours())
    a.mesh.set_peers({})
    await wait_until(a.downs)
    assert a.downs()[0][2:] == ("it is no longer enrolled with this key", False)
    await wait_until(b.downs)
    with pytest.raises(Unreachable):
        await b.mesh.open("node/a", "/image")
    assert len(a.happened) == 2


async def test_a_new_key_of_a_node_ends_the_link_of_the_old_one(node):
    a, b = await node("node/a"), await node("node/b")
    introduce(a, b)
    await wait_until(a.mesh.neighbours)
    a.mesh.set_peers({"node/b": PeerAddress(Key().der, (), False)})
    await wait_until(a.downs)


@pytest.mark.parametrize("left", ["expelled", "another key"])
async def test_who_is_cut_off_just_when_our_dial_was_answered_gets_no_link(node, monkeypatch, left):
    a, b = await node("node/a"), await node("node/b")
    b.mesh.set_peers({"node/a": a.as_peer(dial=False)})
    open_stream = links_module.open_stream
    answered = []

    async def open_and_learn(*args, **more):
        answered.append(await open_stream(*args, **more))
        a.mesh.set_peers({} if left == "expelled" else {"node/b": PeerAddress(Key().der, (), False)})
        return answered[0]

    monkeypatch.setattr(links_module, "open_stream", open_and_learn)
    a.mesh.set_peers({"node/b": b.as_peer()})
    await wait_until(lambda: answered)
    await wait_until(b.downs)
    assert not a.happened


@pytest.mark.parametrize("a_dials", [True, False])
async def test_goodbye_is_told_and_a_returning_node_is_linked_again(node, tmp_path, a_dials):
    a, b = await node("node/a"), await node("node/b")
    a.mesh.set_peers({"node/b": b.as_peer(dial=a_dials)})
    b.mesh.set_peers({"node/a": a.as_peer(dial=not a_dials)})  # one link: of one still on its way nobody hears goodbye
    await wait_until(lambda: a.mesh.neighbours() and b.mesh.neighbours())
    await b.mesh.close()
    await wait_until(a.downs)
    assert a.downs()[0][2:] == ("it closed the link: goodbye", True)
    again = await Node("node/b", b.key, tmp_path / "b2").start(port=b.port)
    again.mesh.set_peers({"node/a": a.as_peer(dial=not a_dials)})
    await wait_until(lambda: a.mesh.neighbours(), 3.0)
    await again.mesh.close()


async def test_who_dials_one_that_is_about_to_end_gets_no_link_that_ends_again(node, tmp_path, monkeypatch):
    """A goodbye to another takes its second: nobody is let in meanwhile."""
    monkeypatch.setattr(links_module, "SETTLED_S", -1.0)  # every link was a good one: dialled again at once
    a, b, slow = await node("node/a"), await node("node/b"), Key()
    a.mesh.set_peers({"node/b": b.as_peer()})
    b.mesh.set_peers({"node/a": a.as_peer(dial=False), "node/slow": PeerAddress(slow.der, (), False)})
    stuck = await bare_link(b, slow, tmp_path / "slow")
    await wait_until(lambda: a.mesh.neighbours() and len(b.mesh.neighbours()) == 2)
    stuck.transport.pause_reading()
    assert await asyncio.wait_for(asyncio.gather(b.mesh.close(), wait_until(a.downs)), 10)
    assert [each[0] for each in a.happened] == ["up", "down"]
    assert len(b.happened) == 4
    stuck.transport.abort()


async def test_a_new_address_is_dialled_at_once(node, monkeypatch):
    monkeypatch.setattr(links_module, "REDIAL_FIRST_S", 60.0)
    a, b = await node("node/a"), await node("node/b")
    b.mesh.set_peers({"node/a": a.as_peer(dial=False)})
    a.mesh.set_peers({"node/b": PeerAddress(b.key.der, ("127.0.0.1:1",), True)})
    await asyncio.sleep(0.2)
    a.mesh.set_peers({"node/b": b.as_peer()})
    await wait_until(a.mesh.neighbours)


async def test_a_reader_that_does_not_read_loses_its_link_and_nobody_else_does(node, tmp_path):
    a, c, slow = await node("node/a"), await node("node/c"), Key()
    a.mesh.set_peers({"node/c": c.as_peer(), "node/slow": PeerAddress(slow.der, (), False)})
    c.mesh.set_peers({"node/a": a.as_peer()})
    stuck = await bare_link(a, slow, tmp_path / "slow")
    await wait_until(lambda: set(a.mesh.neighbours()) == {"node/c", "node/slow"})
    sent = 0
    while a.mesh.send("node/slow", bytes(500_000)):
        sent += 500_000
        await asyncio.sleep(0)
        assert sent < 64 << 20
    await wait_until(a.downs)
    assert a.downs()[0][1:3] == ("node/slow", "it was too slow: 4 MiB waited to be read")
    assert a.mesh.send("node/c", b"still there")
    await wait_until(lambda: c.frames)
    stuck.transport.abort()


async def test_a_frame_that_is_too_big_ends_the_link(node, tmp_path):
    a, b = await node("node/a"), Key()
    a.mesh.set_peers({"node/b": PeerAddress(b.der, (), False)})
    giant = await bare_link(a, b, tmp_path / "b")
    await wait_until(a.mesh.neighbours)
    with pytest.raises(ConnectionClosed):
        await giant.send(bytes((1 << 20) + 1))
        await giant.recv()
    await wait_until(a.downs)
    assert not a.frames
    assert not a.downs()[0][3]
    with pytest.raises(ValueError):
        a.mesh.send("node/b", bytes((1 << 20) + 1))


async def test_garbage_and_silence_at_the_door_keep_nobody_out_for_long(node, monkeypatch):
    monkeypatch.setattr(links_module, "OPEN_S", 0.5)
    a, b = await node("node/a"), await node("node/b")
    half_open = [await asyncio.open_connection("127.0.0.1", a.port) for _ in range(30)]
    closed = 0
    for reader, _ in half_open[8:]:
        closed += await asyncio.wait_for(reader.read(), 2) == b""
    assert closed == 22  # eight unfinished handshakes of one address, no more
    half_open[0][1].write(b"GET / HTTP/1.1\r\n\r\n" * 100)
    introduce(a, b)
    await wait_until(lambda: a.mesh.neighbours() and b.mesh.neighbours(), 4.0)
    for _, writer in half_open:
        writer.close()


async def test_clients_open_streams_but_no_links_and_lose_them_when_dropped(node, tmp_path):
    served = []

    async def echo(stream, who):
        served.append(who)
        async for message in stream:
            await stream.send(message)

    a, operator = await node("node/a", handlers={"/request": echo}), Key()
    a.mesh.set_clients({"operator/anna": operator.der})
    (tmp_path / "op").mkdir()
    context = tls.client_context(tls.write_identity(tmp_path / "op", operator.der, operator.pem))
    tls.trust(context, a.key.der)
    pinned = tls.fingerprint(a.key.der)
    open_stream = links_module.open_stream
    address = (f"127.0.0.1:{a.port}",)
    stream = await open_stream(address, context, pinned, "/request", timeout_s=2)
    await stream.send(b"hi")
    assert await stream.recv() == b"hi"
    assert served == ["operator/anna"]
    with pytest.raises(Unreachable, match="403"):
        await open_stream(address, context, pinned, "/link", timeout_s=2)
    with pytest.raises(Unreachable, match="404"):
        await open_stream(address, context, pinned, "/nothing", timeout_s=2)
    a.mesh.set_clients({})
    with pytest.raises(ConnectionClosed):
        await asyncio.wait_for(stream.recv(), 2)


async def test_a_certificate_that_tls_can_not_read_keeps_its_own_node_out_and_nobody_else(node):
    """A keeper may sign any bytes that have its machine's key in them. No host's agent may end by that."""
    a, b, garbage = await node("node/a"), await node("node/b"), b"0" * 200
    bad = PeerAddress(garbage, ("127.0.0.1:1",), True)
    a.mesh.set_peers({"node/bad": bad, "node/b": b.as_peer()})
    b.mesh.set_peers({"node/bad": bad, "node/a": a.as_peer()})
    await wait_until(lambda: a.mesh.neighbours() == ("node/b",))
    a.mesh.set_clients({"operator/bad": garbage})
    with pytest.raises(Unreachable, match="not enrolled"):
        await a.mesh.open("node/bad", "/request")
    with pytest.raises(Unreachable, match="its certificate is none"):
        await a.mesh.open(bad, "/request")


async def test_no_older_tls_and_no_certificate_are_both_refused(node):
    a = await node("node/a")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", a.port, ssl=context)
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    with suppress(OSError):  # in TLS 1.3 the client learns it with its first read
        reader, _ = await asyncio.open_connection("127.0.0.1", a.port, ssl=context)
        assert await reader.read() == b""


async def test_reach_tells_a_living_node_from_none(node):
    a, b = await node("node/a"), await node("node/b")
    introduce(a, b, dial=False)
    assert await a.mesh.reach("node/b", 1.0)
    assert not await a.mesh.reach("node/z", 1.0)
    await b.mesh.close()
    assert not await a.mesh.reach("node/b", 1.0)


async def test_a_handler_that_waits_for_something_else_ends_soon_after_its_stream(node, monkeypatch):
    monkeypatch.setattr(links_module, "LINGER_S", 0.1)
    ended = []

    async def follow(stream, who):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(who)

    a, b = await node("node/a", handlers={"/request": follow}), await node("node/b")
    introduce(a, b, dial=False)
    stream = await b.mesh.open("node/a", "/request")
    await stream.close()
    await wait_until(lambda: ended == ["node/b"])
    await b.mesh.open("node/a", "/request")
    await asyncio.wait_for(a.mesh.close(), 2.5)
    assert len(ended) == 2
