"""Objects and messages over real streams: many, large, missing, damaged, cut, hostile."""

import hashlib
import os
import time

import msgspec
import pytest
import pytest_asyncio

from mesh.cloud import Key, Node, introduce, wait_until
from skerry.errors import BadFormat, Unreachable
from skerry.mesh import streams
from skerry.mesh.dial import Identity, dial
from skerry.mesh.streams import (
    ObjectRefused,
    ObjectsMissing,
    fetch_objects,
    offer_objects,
    receive_objects,
    recv_bytes,
    send_bytes,
    serve_objects,
)
from skerry.store.objects import ObjectStore


class Pair:
    """Node a with a store that serves; b's store and a way to open streams to a."""

    def __init__(self, tmp_path) -> None:
        self.has, self.wants = ObjectStore(tmp_path / "has"), ObjectStore(tmp_path / "wants")
        self.taken = 0
        self.a = Node("node/a", Key(), tmp_path / "a", {"/objects": self.serve, "/objects/put": self.take})
        self.b = Node("node/b", Key(), tmp_path / "b")

    async def serve(self, stream, who):
        assert who == "node/b"
        await serve_objects(stream, self.has)

    async def take(self, stream, who):
        self.taken += await receive_objects(stream, self.has, most_bytes=50_000_000)

    async def start(self):
        await self.a.start()
        await self.b.start()
        introduce(self.a, self.b, dial=False)
        return self

    async def open(self, path="/objects"):
        return await self.b.mesh.open("node/a", path)


@pytest_asyncio.fixture
async def pair(tmp_path):
    made = await Pair(tmp_path).start()
    yield made
    await made.b.mesh.close()
    await made.a.mesh.close()


def many(store, count, size=2000):
    return [store.put(os.urandom(16) * (size // 16)) for _ in range(count)]


async def test_two_thousand_small_files_cross_together(pair, tmp_path, monkeypatch):
    """One sync of the disk for a batch of them: one for each would cost seconds on a slow disk."""
    syncs = []
    for name in ("sync", "fsync", "fdatasync"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, real=real: (syncs.append(1), real(*args))[1])
    quick = ObjectStore(tmp_path / "has", durable=False)
    hashes = many(quick, 2000)
    stream = await pair.open()
    start_s = time.monotonic()
    assert await fetch_objects(stream, hashes, pair.wants) == 2000 * 2000
    print(f"2000 small objects: {time.monotonic() - start_s:.2f} s, {len(syncs)} syncs")
    assert not pair.wants.missing(hashes)
    assert len(syncs) < 1000  # of the files one, and one of each directory: there are 256


async def test_large_empty_and_small_objects_come_whole(pair):
    blobs = [b"", os.urandom(9_000_000), b"x", os.urandom(256 * 1024), os.urandom(256 * 1024 + 1)]
    hashes = [pair.has.put(blob) for blob in blobs]
    await fetch_objects(await pair.open(), hashes, pair.wants)
    assert [pair.wants.read(hash) for hash in hashes] == blobs


async def test_what_the_peer_lacks_is_told_and_the_rest_is_taken(pair):
    here = many(pair.has, 3)
    gone = hashlib.sha256(b"nowhere").hexdigest()
    with pytest.raises(ObjectsMissing) as told:
        await fetch_objects(await pair.open(), [here[0], gone, *here[1:]], pair.wants)
    assert told.value.hashes == (gone,)
    assert told.value.peer == "node/a"
    assert pair.wants.missing([*here, gone]) == [gone]


async def test_a_bit_flipped_on_the_peers_disk_is_refused_by_name_and_found_there(pair):
    good, bad = many(pair.has, 2)
    path = pair.has.path(bad)
    path.chmod(0o644)
    path.write_bytes(b"\x01" + path.read_bytes()[1:])
    stream = await pair.open()
    with pytest.raises(ObjectRefused, match="node/a"):
        await fetch_objects(stream, [good, bad], pair.wants)
    assert pair.wants.missing([good, bad]) == [bad]
    await wait_until(lambda: not pair.has.has(bad))
    assert (path.parent.parent / "damaged" / bad).exists()


async def test_a_large_object_with_wrong_bytes_leaves_nothing(pair, tmp_path):
    bad = pair.has.put(os.urandom(6_000_000))
    pair.has.path(bad).chmod(0o644)
    with pair.has.path(bad).open("r+b") as file:
        file.seek(3_000_000)
        file.write(b"flip")
    with pytest.raises(ObjectRefused):
        await fetch_objects(await pair.open(), [bad], pair.wants)
    assert not pair.wants.has(bad)
    assert not list((tmp_path / "wants/objects/incoming").iterdir())


async def test_only_what_is_lacking_is_handed_over_and_it_is_on_disk_then(pair):
    hashes = many(pair.wants, 20)
    pair.has.put(pair.wants.read(hashes[0]))
    sent = await offer_objects(await pair.open("/objects/put"), hashes, pair.wants)
    assert sent == 19 * 2000
    assert not pair.has.missing(hashes)


async def test_too_much_handed_over_is_refused_with_the_reason(pair):
    hashes = [pair.wants.put(os.urandom(26_000_000)) for _ in range(2)]
    with pytest.raises(Unreachable):
        await offer_objects(await pair.open("/objects/put"), hashes, pair.wants)
    assert pair.has.missing(hashes) == hashes[1:]


async def test_a_silent_peer_is_given_up(pair, monkeypatch):
    monkeypatch.setattr(streams, "SILENCE_S", 0.2)

    async def silent(stream, who):
        await stream.wait_closed()

    pair.a.mesh._handlers["/objects"] = silent
    hashes = many(pair.has, 1)
    with pytest.raises(Unreachable, match="silent"):
        await fetch_objects(await pair.open(), hashes, pair.wants)


async def test_a_peer_that_dies_half_way_leaves_whole_objects_only(pair):
    blobs = [os.urandom(300_000) for _ in range(4)]
    hashes = [pair.has.put(blob) for blob in blobs]

    async def dies(stream, who):
        await stream.recv()
        piece = [bytes.fromhex(hashes[0]), 300_000, blobs[0][:200_000]]
        rest = [bytes.fromhex(hashes[0]), 300_000, blobs[0][200_000:]]
        half = [bytes.fromhex(hashes[1]), 300_000, blobs[1][:1000]]
        await stream.send(msgspec.msgpack.encode(["pieces", [piece, rest, half]]))
        stream.transport.abort()

    pair.a.mesh._handlers["/objects"] = dies
    with pytest.raises(Unreachable):
        await fetch_objects(await pair.open(), hashes, pair.wants)
    assert pair.wants.missing(hashes) == hashes[1:]


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x00garbage",
        msgspec.msgpack.encode(["pieces", [[b"x" * 32, 5, b"12345"]]]),  # not asked for
        msgspec.msgpack.encode(["pieces", [[b"x" * 32, 1 << 50, b"1"]]]),  # larger than anything
        msgspec.msgpack.encode(["kept"]),
        msgspec.msgpack.encode(["ask", [b"x" * 32]]),
    ],
)
async def test_an_answer_that_is_not_one_is_refused(pair, frame):
    async def hostile(stream, who):
        await stream.recv()
        await stream.send(frame)
        await stream.wait_closed()

    pair.a.mesh._handlers["/objects"] = hostile
    wanted = hashlib.sha256(b"wanted").hexdigest()
    with pytest.raises((BadFormat, ObjectRefused)):
        await fetch_objects(await pair.open(), [wanted], pair.wants)
    assert not list(pair.wants)


async def test_pieces_that_do_not_fit_together_are_refused(pair):
    hash = hashlib.sha256(b"12345").digest()
    for pieces in (
        [[hash, 5, b"123456"]],
        [[hash, 5, b"123"], [hash, 5, b""]],
        [[hash, 5, b"123"], [hashlib.sha256(b"other").digest(), 5, b"45"]],
        [[hash, 5, b"54321"]],
    ):

        async def hostile(stream, who, pieces=pieces):
            await stream.recv()
            await stream.send(msgspec.msgpack.encode(["pieces", pieces]))
            await stream.wait_closed()

        pair.a.mesh._handlers["/objects"] = hostile
        with pytest.raises(ObjectRefused):
            await fetch_objects(await pair.open(), [hash.hex()], pair.wants)
    assert not list(pair.wants)


async def test_an_operator_dials_and_long_messages_cross(pair):
    async def echo(stream, who):
        assert who == "operator/anna"
        await send_bytes(stream, await recv_bytes(stream))

    operator = Key()
    pair.a.mesh._handlers["/request"] = echo
    pair.a.mesh.set_clients({"operator/anna": operator.der})
    own = Identity(operator.der, operator.pem)
    addresses = ("127.0.0.1:1", f"127.0.0.1:{pair.a.port}")
    stream = await dial(addresses, pair.a.key.der, own, "/request", 5.0)
    for data in (b"", b"x", os.urandom(3_000_000)):
        stream = await dial(addresses, pair.a.key.der, own, "/request", 5.0)
        await send_bytes(stream, data)
        assert await recv_bytes(stream) == data
        await stream.close()
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1: nothing listens there"):
        await dial(addresses[:1], pair.a.key.der, own, "/request", 1.0)


async def test_a_message_without_end_is_cut(pair):
    async def endless(stream, who):
        while True:
            await stream.send(b"\x01" + bytes(1000))

    pair.a.mesh._handlers["/objects"] = endless
    with pytest.raises(BadFormat):
        await recv_bytes(await pair.open(), timeout_s=5, most_bytes=100_000)
