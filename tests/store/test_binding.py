"""What binds us is on the disk at once, also among what is synced together, or it was never said."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from disks import disk_of
from skerry.store.disk import DiskFull
from skerry.store.records import RecordStore


@pytest.mark.real
def test_on_a_full_disk_what_binds_us_is_refused_and_what_bound_us_before_stands(tmp_path: Path) -> None:
    with disk_of(tmp_path / "tiny", "1m") as tiny:
        store = RecordStore(tiny)
        store.put("node/a|grant|db", b"1", hash="h1", now=True)
        with pytest.raises(OSError), (tiny / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        with pytest.raises(DiskFull), store.together():
            for n in range(1000):  # what the log has made room for before is soon used up
                store.put("node/a|grant|db", b"%d" % n + bytes(8000), hash=f"h{n}", now=True)
        kept = store.get("node/a|grant|db")
        (tiny / "filler").unlink()
        store.put("node/a|grant|web", b"2", hash="h", now=True)
        store.close()
        store = RecordStore(tiny)
        assert store.damaged is None
        assert store.get("node/a|grant|db") == kept and store.get("node/a|grant|web") == b"2"
        store.close()


def test_what_binds_us_outlives_a_kill_before_what_it_is_synced_together_with(tmp_path: Path) -> None:
    grants = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from skerry.store.records import RecordStore
        store = RecordStore(Path(sys.argv[1]))
        with store.together():
            store.put("node/a|claim|web/0", b"claim", hash="h0", sync=True)
            store.put("node/a|grant|web/0", b"grant", hash="h1", now=True)
            print("granted", flush=True)
            time.sleep(60)
        """
    )
    child = subprocess.Popen([sys.executable, "-c", grants, tmp_path], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "granted\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    store = RecordStore(tmp_path)
    assert store.get("node/a|grant|web/0") == b"grant" and store.get("node/a|claim|web/0") is None
    store.close()
