"""Objects on disk: never half there, found when damaged, safe names, a full disk, a kill in the middle."""

import hashlib
import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest

from disks import disk_of
from skerry.errors import BadInput
from skerry.store.disk import DiskFull, free_bytes
from skerry.store.objects import ObjectDamaged, ObjectStore


def hash_of(data):
    return hashlib.sha256(data).hexdigest()


def test_what_is_put_is_read_under_its_hash(tmp_path):
    store = ObjectStore(tmp_path)
    assert store.put(b"hello") == hash_of(b"hello")
    assert store.read(hash_of(b"hello")) == b"hello"
    assert store.size(hash_of(b"hello")) == store.total_bytes() == 5
    assert store.path(hash_of(b"hello")) == tmp_path / "objects/2c" / hash_of(b"hello")[2:]
    assert list(store) == [hash_of(b"hello")]
    assert store.missing([hash_of(b"hello"), hash_of(b"no"), hash_of(b"no")]) == [hash_of(b"no")]
    store.put(b"hello")
    store.remove(hash_of(b"hello"))
    store.remove(hash_of(b"hello"))
    assert not store.has(hash_of(b"hello"))


def test_staged_objects_are_not_seen_before_they_are_synced(tmp_path):
    store = ObjectStore(tmp_path)
    blobs = [b"%d" % i for i in range(40)]
    for blob in blobs:
        writer = store.writer(hash_of(blob), sync=False)
        writer.write(blob)
        assert writer.finish()
    assert not list(store)
    store.sync_all()
    assert [store.read(hash_of(blob)) for blob in blobs] == blobs


def test_wrong_bytes_leave_nothing(tmp_path):
    store = ObjectStore(tmp_path)
    writer = store.writer(hash_of(b"right"))
    writer.write(b"wrong")
    assert not writer.finish()
    writer = store.writer(hash_of(b"right"), most_bytes=3)
    with pytest.raises(BadInput):
        writer.write(b"right")
    assert not list(store)
    assert not list((tmp_path / "objects/incoming").iterdir())


def test_a_flipped_bit_is_found_and_put_aside(tmp_path):
    store = ObjectStore(tmp_path)
    for check in (store.read, store.verify):
        hash = store.put(b"precious")
        store.path(hash).chmod(0o644)
        store.path(hash).write_bytes(b"Precious")
        if check == store.read:
            with pytest.raises(ObjectDamaged):
                check(hash)
        else:
            assert not check(hash)
        assert not store.has(hash)
        assert (tmp_path / "objects/damaged" / hash).read_bytes() == b"Precious"
    store.put(b"precious")
    assert store.verify(hash)
    assert not store.verify(hash_of(b"never here"))


def test_of_many_damaged_objects_the_last_are_kept_to_be_looked_at(tmp_path):
    store = ObjectStore(tmp_path)
    for number in range(20):
        hash = store.put(b"precious %d" % number)
        store.path(hash).chmod(0o644)
        store.path(hash).write_bytes(b"spoilt")
        assert not store.verify(hash)
    assert len(list((tmp_path / "objects/damaged").iterdir())) == 16
    assert (tmp_path / "objects/damaged" / hash).exists()


@pytest.mark.parametrize("name", ["", "..", "../../etc/passwd", "ab", "A" * 64, "g" * 64, "a" * 63, "a" * 64 + "\n"])
def test_what_is_not_a_hash_names_nothing(tmp_path, name):
    store = ObjectStore(tmp_path)
    for call in (store.path, store.has, store.read, store.writer, store.remove):
        with pytest.raises(BadInput):
            call(name)


def test_a_kill_at_any_moment_leaves_whole_objects_only(tmp_path):
    writes = textwrap.dedent(
        """
        import hashlib, sys
        from pathlib import Path
        from skerry.store.objects import ObjectStore
        store = ObjectStore(Path(sys.argv[1]))
        for i in range(100000):
            data = bytes([i % 251]) * 300_000 + b"%d" % i
            writer = store.writer(hashlib.sha256(data).hexdigest(), sync=i % 3 == 0)
            for at in range(0, len(data), 50_000):
                writer.write(data[at:at + 50_000])
            writer.finish()
            if i % 10 == 9:
                store.sync_all()
                print(i, flush=True)
        """
    )
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", writes, tmp_path], stdout=subprocess.PIPE)
        child.stdout.readline()
        child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        child.communicate()
        store = ObjectStore(tmp_path)
        assert not list((tmp_path / "objects/incoming").iterdir())
        assert len([store.read(hash) for hash in store]) >= 10


@pytest.fixture
def tiny(tmp_path):
    """A disk of one megabyte."""
    with disk_of(tmp_path / "tiny", "1m") as disk:
        yield disk


@pytest.mark.real
def test_a_full_disk_is_told_and_nothing_is_half_written(tiny):
    store = ObjectStore(tiny)
    kept = store.put(os.urandom(100_000))
    with pytest.raises(DiskFull) as told:
        store.put(os.urandom(3_000_000))
    assert told.value.code == "disk-full"
    assert not list((tiny / "objects/incoming").iterdir())
    assert list(store) == [kept]
    assert store.verify(kept)
    assert free_bytes(tiny) > 500_000
    store.put(os.urandom(100_000))


def test_images_that_arrive_at_once_are_synced_by_threads_at_once(tmp_path):
    """Seen on a host: two fetches shared objects, and the second sync renamed what the first had renamed."""
    store = ObjectStore(tmp_path)
    blobs = [b"%d" % i for i in range(300)]

    def fetch(_):
        for blob in blobs:
            writer = store.writer(hash_of(blob), sync=False)
            writer.write(blob)
            assert writer.finish()
        store.sync_all()
        return all(store.has(hash_of(blob)) for blob in blobs)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(fetch, range(8)))
    assert not list((tmp_path / "objects/incoming").iterdir())


def test_what_a_full_disk_kept_from_being_synced_is_tried_again(tmp_path, monkeypatch):
    store = ObjectStore(tmp_path)
    writer = store.writer(hash_of(b"late"), sync=False)
    writer.write(b"late")
    assert writer.finish()
    with monkeypatch.context() as patch:
        patch.setattr("skerry.store.objects._sync_files", lambda paths: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(OSError, match="full"):
            store.sync_all()
    assert not store.has(hash_of(b"late"))
    store.sync_all()
    assert store.read(hash_of(b"late")) == b"late"
