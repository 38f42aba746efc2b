"""`skerry ls`, `cat`, `cp`: files of real containers from outside, and what a hostile one makes of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.real import RealHost, real_host, wait_for

pytestmark = pytest.mark.real
IDLE = "while :; do sleep 1; done"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHost]:
    with real_host(tmp_path_factory.mktemp("looking")) as host:
        yield host


def ready(host: RealHost, script: str, **more: str) -> str:
    """Its slot, once the script has come to its end, where it idles."""
    slot = host.run(f"{script}\ntouch /tmp/ready; {IDLE}", **more)  # type: ignore[arg-type]
    wait_for(f"{slot} to be ready", lambda: host.file(slot, "/tmp/ready").exists())
    return slot


def test_a_folder_is_listed_a_file_shown_and_a_tree_copied(host: RealHost, tmp_path: Path) -> None:
    slot = ready(host, "cd /tmp; mkdir d; echo hello >d/a; ln -s a d/l; head -c 300000 /dev/zero >d/big")
    rows = {row["name"]: row for row in host.skerry("ls", f"{slot}:/tmp/d", "--json").json["entries"]}
    assert set(rows) == {"a", "l", "big"}
    assert (rows["a"]["kind"], rows["a"]["size_bytes"], rows["l"]["target"]) == ("file", 6, "a")
    assert host.skerry("cat", f"{slot}:/tmp/d/l").out == b"hello\n"
    assert host.skerry("cp", f"{slot}:/tmp/d", str(tmp_path)).code == 0
    assert (tmp_path / "d/a").read_text() == "hello\n"
    assert (tmp_path / "d/l").readlink() == Path("a")
    assert (tmp_path / "d/big").stat().st_size == 300000
