"""Records on disk: what was synced stays, what is damaged is put aside, a full disk takes nothing."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from disks import disk_of
from skerry.store.disk import DiskFull, Reserve, StoreDamaged
from skerry.store.records import RecordStore


def test_records_are_there_again_after_a_restart(tmp_path):
    store = RecordStore(tmp_path)
    store.put("app/web", b"one", hash="h1", sync=True)
    store.put("app/web", b"two", hash="h2", sync=True)
    store.put("node/a|slot|x", b"fact", hash="h3")
    store.keep("h1", b"one")
    store.evidence("app/web", b"loser")
    store.set_meta("k", b"v")
    assert store.get("node/a|slot|x") == b"fact"
    assert store.dirty
    store.close()
    store = RecordStore(tmp_path)
    assert store.damaged is None
    assert list(store.all()) == [("app/web", b"two"), ("node/a|slot|x", b"fact")]
    assert store.by_hash("h2") == b"two"
    assert store.by_hash("h1") == b"one"
    assert store.kept() == [("h1", b"one")]
    assert store.evidence_of("app/web") == b"loser"
    assert store.get_meta("k") == b"v"
    store.unkeep("h1")
    assert store.by_hash("h1") is None
    assert store.get("nothing") is None
    store.clear()
    assert not list(store.all())


def test_a_newer_synced_record_is_not_undone_by_an_older_one_that_waits(tmp_path):
    store = RecordStore(tmp_path)
    store.put("id", b"old", hash="h1")
    store.put("id", b"new", hash="h2", sync=True)
    store.flush()
    assert store.get("id") == b"new"
    assert store.by_hash("h1") is None


def test_an_expelled_author_loses_its_facts_and_nobody_else_does(tmp_path):
    store = RecordStore(tmp_path)
    ids = ["node/a", "node/a|claim|x", "node/a|slot|x", "node/ab|slot|x", "node/b|saw|x@node/a"]
    for id in ids[:3]:
        store.put(id, b"", hash="", sync=True)
    for id in ids[2:]:
        store.put(id, b"", hash="")
    store.drop_author("node/a")
    assert [id for id, _ in store.all()] == ["node/a", "node/ab|slot|x", "node/b|saw|x@node/a"]
    store.drop("node/ab|slot|x")
    assert store.get("node/ab|slot|x") is None


def test_starts_are_counted_even_over_a_damaged_database(tmp_path):
    store = RecordStore(tmp_path)
    assert [store.next_boot(), store.next_boot()] == [1, 2]
    store.close()
    (tmp_path / "records.sqlite").write_bytes(b"not a database at all" * 1000)
    store = RecordStore(tmp_path)
    assert store.damaged is not None
    assert store.next_boot() == 3
    (tmp_path / "boot").write_text("garbage")
    store = RecordStore(tmp_path)
    assert store.next_boot() == 1
    for heard in (2, 5, 3):  # of itself, in whatever order its records are read
        store.start_after(heard)
    assert store.next_boot() == 6


@pytest.mark.parametrize("where", [0, 100, 4096, 8192, -4096])
def test_a_damaged_database_is_put_aside_and_begun_anew(tmp_path, where):
    store = RecordStore(tmp_path)
    for i in range(200):
        store.put(f"id/{i}", os.urandom(500), hash=f"h{i}", sync=i % 50 == 0)
    store.close()
    path = tmp_path / "records.sqlite"
    data = bytearray(path.read_bytes())
    data[where % len(data) :][:2000]
    at = where % len(data)
    data[at : at + 2000] = os.urandom(min(2000, len(data) - at))
    path.write_bytes(data)
    store = RecordStore(tmp_path)
    if store.damaged is None:  # the check at the start can't see it: then a read does, and the next start acts on it
        with pytest.raises(StoreDamaged):
            for _ in store.all():
                pass
            for i in range(200):
                store.by_hash(f"h{i}")
        store = RecordStore(tmp_path)
    assert isinstance(store.damaged, StoreDamaged)
    assert (tmp_path / "damaged.records.sqlite").exists()
    store.put("new", b"life", hash="h", sync=True)
    store.close()
    assert RecordStore(tmp_path).damaged is None


def test_a_kill_right_after_a_synced_put_loses_nothing(tmp_path):
    writes = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from skerry.store.records import RecordStore
        store = RecordStore(Path(sys.argv[1]))
        for i in range(100000):
            store.put(f"id/{i}", b"x" * 900, hash=f"h{i}", sync=True)
            print(i, flush=True)
        """
    )
    for round in range(3):
        directory = tmp_path / str(round)
        child = subprocess.Popen([sys.executable, "-c", writes, directory], stdout=subprocess.PIPE, text=True)
        for _ in range(20 + round * 17):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        said = [20 + round * 17 - 1, *(int(line) for line in child.communicate()[0].split())]
        store = RecordStore(directory)
        assert store.damaged is None
        assert all(store.get(f"id/{i}") for i in range(said[-1] + 1))


@pytest.fixture
def tiny(tmp_path):
    with disk_of(tmp_path / "tiny", "1m") as disk:
        yield disk


@pytest.mark.real
def test_a_full_disk_is_told_and_every_record_is_old_or_new_never_half(tiny):
    store = RecordStore(tiny)
    kept = 0
    with pytest.raises(DiskFull):
        for i in range(1000):
            store.put(f"id/{i}", bytes(8000), hash=f"h{i}", sync=True)
            kept += 1
    store.put("waiting", b"w", hash="h")
    store.keep("big", bytes(60_000))
    store.drop("id/0")
    assert store.get("waiting") == b"w"
    assert store.by_hash("big") == bytes(60_000), "owed to the disk, and known meanwhile"
    assert kept > 10
    assert sum(1 for id, raw in store.all() if len(raw) == 8000) == kept
    assert store.get(f"id/{kept}") is None
    store.put("waiting", bytes(100_000), hash="h")
    with pytest.raises(DiskFull):
        store.flush()
    assert store.dirty
    subprocess.run(["mount", "-o", "remount,size=4m", tiny], check=True)
    store.flush()
    assert not store.dirty
    store.close()
    store = RecordStore(tiny)
    assert store.damaged is None
    assert store.by_hash("big") == bytes(60_000) and store.get("waiting") == bytes(100_000)
    assert store.get("id/0") is None and store.get(f"id/{kept - 1}") == bytes(8000)
    store.close()


@pytest.mark.real
def test_a_start_on_a_full_disk_needs_only_what_was_set_aside_for_it(tiny):
    reserve = Reserve(tiny, 128 << 10)
    reserve.set_aside()  # too little is free: nothing is taken
    subprocess.run(["mount", "-o", "remount,size=4m", tiny], check=True)
    reserve.set_aside()
    reserve.use()
    assert not reserve.is_spent, "there is room"
    store = RecordStore(tiny)
    store.put("id", b"x", hash="h", sync=True)
    assert store.next_boot() == 1
    store.close()
    with pytest.raises(OSError), (tiny / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
    with pytest.raises(DiskFull):
        RecordStore(tiny).next_boot()
    reserve.use()
    assert reserve.is_spent
    store = RecordStore(tiny)
    assert store.damaged is None and store.get("id") == b"x"
    assert store.next_boot() == 2
    store.close()


def test_what_is_put_together_is_synced_once_at_its_end_and_there_before(tmp_path):
    store = RecordStore(tmp_path)
    committed = []
    store._db.set_trace_callback(
        lambda sql: committed.append(sql) if sql.startswith(("COMMIT", "PRAGMA sync")) else None
    )
    with store.together():
        store.put("node/a|claim|web/0", b"one", hash="h1", sync=True)
        with store.together():
            store.put("node/a|claim|web/1", b"two", hash="h2", sync=True)
        store.put("node/a|slot|web/0", b"fact", hash="h3")
        assert store.get("node/a|claim|web/1") == b"two"
        assert not committed
    assert committed == ["PRAGMA synchronous = FULL", "COMMIT"]
    assert not store.dirty


def test_what_is_put_together_without_need_to_be_synced_waits_for_the_next_flush(tmp_path):
    store = RecordStore(tmp_path)
    with store.together():
        store.put("node/a|slot|web/0", b"fact", hash="h")
    assert store.dirty
