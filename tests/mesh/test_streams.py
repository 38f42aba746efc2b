"""Objects and messages over real streams: many, large, missing, damaged, cut, hostile."""

import asyncio
import hashlib
import os
import time

import msgspec
import pytest
import pytest_asyncio

from mesh.cloud import Key, Node, introduce, wait_until
from skerry.errors import BadFormat, SkerryError, Unreachable
from skerry.mesh import streams
from skerry.mesh.dial import Identity, dial
from skerry.mesh.streams import (
    ObjectRefused,
    ObjectsMissing,
    offer_objects,
    receive_objects,
    recv_bytes,
    send_bytes,
)
from skerry.store.objects import ObjectStore


class Pair:
    """Node a takes objects into its store; b's store, and a way to open streams to a."""

    def __init__(self, tmp_path) -> None:
        self.takes, self.gives = ObjectStore(tmp_path / "takes"), ObjectStore(tmp_path / "gives")
        self.refused: asyncio.Queue[SkerryError] = asyncio.Queue()
        self.a = Node("node/a", Key(), tmp_path / "a", {"/put": self.take})
        self.b = Node("node/b", Key(), tmp_path / "b")

    async def take(self, stream, who):
        assert who == "node/b"
        try:
            await receive_objects(stream, self.takes, most_bytes=50_000_000)
        except SkerryError as error:
            self.refused.put_nowait(error)
            raise

    async def start(self):
        await self.a.start()
        await self.b.start()
        introduce(self.a, self.b, dial=False)
        return self

    async def open(self, path="/put"):
        return await self.b.mesh.open("node/a", path)

    async def why(self) -> SkerryError:
        """What was wrong with what came."""
        return await asyncio.wait_for(self.refused.get(), 5)

    async def offered(self, hashes):
        """A stream on which these were offered, and are waited for."""
        stream = await self.open()
        await stream.send(msgspec.msgpack.encode(["offer", [bytes.fromhex(hash) for hash in hashes]]))
        assert msgspec.msgpack.decode(await stream.recv()) == ["missing", [bytes.fromhex(hash) for hash in hashes]]
        return stream


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
    quick = ObjectStore(tmp_path / "gives", durable=False)
    hashes = many(quick, 2000)
    stream = await pair.open()
    start_s = time.monotonic()
    assert await offer_objects(stream, hashes, pair.gives) == 2000 * 2000
    print(f"2000 small objects: {time.monotonic() - start_s:.2f} s, {len(syncs)} syncs")
    assert not pair.takes.missing(hashes)
    assert len(syncs) < 1000  # of the files one, and one of each directory: there are 256


async def test_large_empty_and_small_objects_come_whole(pair):
    blobs = [b"", os.urandom(9_000_000), b"x", os.urandom(256 * 1024), os.urandom(256 * 1024 + 1)]
    hashes = [pair.gives.put(blob) for blob in blobs]
    await offer_objects(await pair.open(), hashes, pair.gives)
    assert [pair.takes.read(hash) for hash in hashes] == blobs


async def test_what_the_giver_lacks_is_told_and_the_rest_is_taken(pair):
    here = many(pair.gives, 3)
    gone = hashlib.sha256(b"nowhere").hexdigest()
    with pytest.raises(Unreachable):
        await offer_objects(await pair.open(), [here[0], gone, *here[1:]], pair.gives)
    told = await pair.why()
    assert isinstance(told, ObjectsMissing)
    assert (told.hashes, told.peer) == ((gone,), "node/b")
    assert pair.takes.missing([*here, gone]) == [gone]


async def test_a_bit_flipped_on_the_givers_disk_is_refused_by_name(pair):
    good, bad = many(pair.gives, 2)
    path = pair.gives.path(bad)
    path.chmod(0o644)
    path.write_bytes(b"\x01" + path.read_bytes()[1:])
    with pytest.raises(Unreachable):
        await offer_objects(await pair.open(), [good, bad], pair.gives)
    told = await pair.why()
    assert isinstance(told, ObjectRefused)
    assert (told.hash, told.peer) == (bad, "node/b")
    assert pair.takes.missing([good, bad]) == [bad]


async def test_a_large_object_with_wrong_bytes_leaves_nothing(pair, tmp_path):
    bad = pair.gives.put(os.urandom(6_000_000))
    pair.gives.path(bad).chmod(0o644)
    with pair.gives.path(bad).open("r+b") as file:
        file.seek(3_000_000)
        file.write(b"flip")
    with pytest.raises(Unreachable):
        await offer_objects(await pair.open(), [bad], pair.gives)
    assert isinstance(await pair.why(), ObjectRefused)
    assert not pair.takes.has(bad)
    assert not list((tmp_path / "takes/objects/incoming").iterdir())


async def test_only_what_is_lacking_is_handed_over_and_it_is_on_disk_then(pair):
    hashes = many(pair.gives, 20)
    pair.takes.put(pair.gives.read(hashes[0]))
    sent = await offer_objects(await pair.open(), hashes, pair.gives)
    assert sent == 19 * 2000
    assert not pair.takes.missing(hashes)


async def test_too_much_handed_over_is_refused_with_the_reason(pair):
    hashes = [pair.gives.put(os.urandom(26_000_000)) for _ in range(2)]
    with pytest.raises(Unreachable):
        await offer_objects(await pair.open(), hashes, pair.gives)
    assert "too many" in (await pair.why()).why
    assert pair.takes.missing(hashes) == hashes[1:]


async def test_a_silent_peer_is_given_up(pair, monkeypatch):
    monkeypatch.setattr(streams, "SILENCE_S", 0.2)

    async def silent(stream, who):
        await stream.wait_closed()

    pair.a.mesh._handlers["/put"] = silent
    with pytest.raises(Unreachable, match="silent"):
        await offer_objects(await pair.open(), many(pair.gives, 1), pair.gives)


async def test_a_giver_that_dies_half_way_leaves_whole_objects_only(pair, tmp_path):
    blobs = [os.urandom(300_000) for _ in range(4)]
    hashes = [hashlib.sha256(blob).hexdigest() for blob in blobs]
    stream = await pair.offered(hashes)
    piece = [bytes.fromhex(hashes[0]), 300_000, blobs[0][:200_000]]
    rest = [bytes.fromhex(hashes[0]), 300_000, blobs[0][200_000:]]
    half = [bytes.fromhex(hashes[1]), 300_000, blobs[1][:1000]]
    await stream.send(msgspec.msgpack.encode(["pieces", [piece, rest, half]]))
    await wait_until(lambda: not stream.transport.get_write_buffer_size())
    stream.transport.abort()
    assert isinstance(await pair.why(), Unreachable)
    assert pair.takes.missing(hashes) == hashes[1:]
    assert not list((tmp_path / "takes/objects/incoming").iterdir())


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x00garbage",
        msgspec.msgpack.encode(["pieces", [[b"x" * 32, 5, b"12345"]]]),  # not offered
        msgspec.msgpack.encode(["pieces", [[b"x" * 32, 1 << 50, b"1"]]]),  # larger than anything
        msgspec.msgpack.encode(["kept"]),
        msgspec.msgpack.encode(["offer", [b"x" * 32]]),  # before the first one has come
        msgspec.msgpack.encode(["done"]),
    ],
)
async def test_what_is_out_of_turn_or_no_message_is_refused(pair, frame):
    stream = await pair.offered([hashlib.sha256(b"offered").hexdigest()])
    await stream.send(frame)
    assert isinstance(await pair.why(), BadFormat | ObjectRefused)
    assert not list(pair.takes)


async def test_pieces_that_do_not_fit_together_are_refused(pair):
    hash = hashlib.sha256(b"12345").digest()
    for pieces in (
        [[hash, 5, b"123456"]],
        [[hash, 5, b"123"], [hash, 5, b""]],
        [[hash, 5, b"123"], [hashlib.sha256(b"other").digest(), 5, b"45"]],
        [[hash, 5, b"54321"]],
    ):
        stream = await pair.offered([hash.hex()])
        await stream.send(msgspec.msgpack.encode(["pieces", pieces]))
        assert isinstance(await pair.why(), ObjectRefused)
    assert not list(pair.takes)


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

    pair.a.mesh._handlers["/put"] = endless
    with pytest.raises(BadFormat):
        await recv_bytes(await pair.open(), timeout_s=5, most_bytes=100_000)
