"""What reads a container's files and /proc, piece by piece: parsers that take anything, and opening that never leaves the root."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import BadFormat, SkerryError
from skerry.observe.look import beginning
from skerry.observe.look.changes import MountPoint, parse_mounts
from skerry.observe.look.errors import NotInThere, NotReadable
from skerry.observe.look.job import Job, Plan, Thing
from skerry.observe.look.listing import ls, text_of
from skerry.observe.look.placing import parse_plan
from skerry.observe.look.procfs import parse_stat, parse_status, users_of
from skerry.observe.look.root import locate, reopen
from skerry.observe.look.sockets import Socket, parse_inet, parse_unix

STAT = (
    "4242 (evil) R 1 (x) S 17 4242 4242 0 -1 4194560 105 0 0 0 150 50 0 0 20 0 3 0 100200 2297856 321 "
    "18446744073709551615 1 1 0 0 0 0 0 0 17 1 0 0 0"
)
TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000  1000        0 5551 1 ffff 100 0 0 10 0
   1: 0100007F:0050 0200A8C0:D431 01 00000010:00000000 00:00000000 00000000     0        0 5552 1 ffff 20 4 30 10 -1
"""
TCP6 = "  sl  local_address  rem_address  st tx_queue rx_queue tr tm->when retrnsmt  uid  timeout inode\n" + "\n".join(
    f"   {n}: {ends} 00000000:00000000 00:00000000 00000000     0        0 {7 + n} 1 0"
    for n, ends in enumerate(
        (
            "00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A",
            "0000000000000000FFFF00000100007F:1F91 0000000000000000FFFF00000100007F:9C40 08",
        )
    )
)
UNIX = """Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 901 /run/a b.sock
0000000000000000: 00000003 00000000 00000000 0002 01 902 @abstract
0000000000000000: 00000003 00000000 00000000 0001 03 903
"""


def test_a_name_may_hold_what_ends_it() -> None:
    stat = parse_stat(STAT)
    assert (stat.name, stat.state, stat.parent) == ("evil) R 1 (x", "S", 17)
    assert (stat.cpu_ticks, stat.threads, stat.start_ticks, stat.rss_pages) == (200, 3, 100200, 321)


def test_tables_of_sockets() -> None:
    assert list(parse_inet("tcp", TCP)) == [
        Socket("tcp", "*:8080", "*:*", "listening", 3, 0, 1000, 5551),
        Socket("tcp", "127.0.0.1:80", "192.168.0.2:54321", "established", 0, 16, 0, 5552),
    ]
    assert [(s.local, s.remote, s.state) for s in parse_inet("tcp6", TCP6)] == [
        ("[::1]:8080", "*:*", "listening"),
        ("127.0.0.1:8081", "127.0.0.1:40000", "close-wait"),
    ]
    assert [(s.kind, s.local, s.state) for s in parse_unix(UNIX)] == [
        ("unix stream", "/run/a b.sock", "listening"),
        ("unix datagram", "@abstract", "unconnected"),
        ("unix stream", "", "connected"),
    ]


def test_mounts_and_which_can_be_written() -> None:
    text = "1 0 0:5 / / ro,relatime - overlay o ro\n2 1 0:6 / /a\\040b rw,nosuid - tmpfs t rw,size=1k\n3 1 0:7 / /v rw - ext4 d ro\n"
    assert parse_mounts(text) == [
        MountPoint("/", "overlay", False),
        MountPoint("/a b", "tmpfs", True),
        MountPoint("/v", "ext4", False),
    ]


@given(st.text())
def test_parsers_take_anything(text: str) -> None:
    with contextlib.suppress(BadFormat):
        parse_stat(text)
    parse_status(text)
    users_of(text)
    parse_mounts(text)
    list(parse_unix(f"head\n{text}"))
    for kind in ("tcp", "udp6"):
        list(parse_inet(kind, f"head\n{text}"))


@given(st.lists(st.sampled_from(["0:", "0100007F:0050", "0A", "00:00", "7", "-1", "zz"]), max_size=12))
def test_lines_of_sockets_that_are_almost_right(words: list[str]) -> None:
    list(parse_inet("tcp", "head\n" + " ".join(words)))


@given(st.binary(min_size=1, max_size=20), st.binary(min_size=1, max_size=20))
def test_no_two_names_look_alike(one: bytes, other: bytes) -> None:
    text_of(one).encode()
    if one != other and b"\\" not in one + other:
        assert text_of(one) != text_of(other)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    """The root of a container, beside it what must never be read."""
    (tmp_path / "secret").write_text("the host's own")
    (tmp_path / "inside").mkdir()
    file = os.open(tmp_path / "inside", os.O_PATH | os.O_DIRECTORY)
    yield file
    os.close(file)


def content(root: int, path: str) -> str:
    place = locate(root, path)
    try:
        file = reopen(place, path)
    finally:
        os.close(place)
    with os.fdopen(file) as opened:
        return opened.read()


SWAPPER = """
import os, sys
os.chdir(sys.argv[1])
turn = 0
while os.getppid() == int(sys.argv[2]):
    turn += 1
    os.symlink([sys.argv[1] + "/..", "..", "../..", "real", "link"][turn % 5], "next")
    os.replace("next", "now")
    os.replace("real", "moved")
    os.replace("moved", "real")
"""


def test_a_folder_that_is_swapped_thousands_of_times_never_leads_out(root: int, tmp_path: Path) -> None:
    """While names are looked up, another process swaps a folder and a link that leads out of the root."""
    inside = tmp_path / "inside"
    (inside / "real").mkdir()
    (inside / "real" / "secret").write_text("its own")
    (inside / "link").symlink_to(tmp_path)
    (inside / "now").symlink_to("real")
    seen = {"own": 0, "refused": 0}
    with subprocess.Popen([sys.executable, "-I", "-c", SWAPPER, inside, str(os.getpid())]) as swapper:
        try:
            end_s = time.monotonic() + 20
            while (sum(seen.values()) < 5000 or min(seen.values()) < 50) and time.monotonic() < end_s:
                for path in ("/now/secret", "/real/../now/secret"):
                    try:
                        assert content(root, path) == "its own"
                        seen["own"] += 1
                    except NotInThere:
                        seen["refused"] += 1
        finally:
            swapper.kill()
    assert min(seen.values()) >= 50, seen


def test_only_files_and_folders_are_opened(root: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "inside" / "pipe")
    (tmp_path / "inside" / "proc").symlink_to("/proc/self/root/etc/passwd")
    with pytest.raises(NotReadable):
        content(root, "/pipe")
    with pytest.raises(NotInThere):
        content(root, "/proc")


def test_reading_leaves_access_times_as_they_were(root: int, tmp_path: Path) -> None:
    file = tmp_path / "inside" / "f"
    file.write_text("x")
    os.utime(file, (1, 2))
    os.utime(tmp_path / "inside", (1, 2))
    assert content(root, "/f") == "x"
    assert list(ls(Job(what="ls", limit=10, root=root)))[-1] == {"shown": 1, "more": False}
    assert file.stat().st_atime == 1
    assert (tmp_path / "inside").stat().st_atime == 1


@given(st.text(max_size=60))
def test_any_path_gives_a_row_or_an_error_for_people(path: str) -> None:
    root = os.open("/usr/share/doc", os.O_PATH | os.O_DIRECTORY)
    try:
        with contextlib.suppress(SkerryError):
            list(ls(Job(what="ls", limit=3, root=root, path=path)))
    finally:
        os.close(root)


def planned(*things: Thing, name: str = "conf") -> bytes:
    return msgspec.json.encode(Plan(name=name, things=things))


@pytest.mark.parametrize(
    "plan",
    [
        planned(Thing((), "file"), name=".."),
        planned(Thing((), "file"), name="a/b"),
        planned(Thing((), "directory"), Thing(("..",), "file")),
        planned(Thing((), "directory"), Thing(("a/../../b",), "file")),
        planned(Thing((), "directory"), Thing(("",), "file")),
        planned(Thing((), "directory"), Thing(("a\0b",), "file")),
        planned(Thing((), "directory"), Thing(("l",), "link", target="/"), Thing(("l", "x"), "file")),
        planned(Thing((), "directory"), Thing(("a", "b"), "file")),
        planned(Thing((), "directory"), Thing(("a",), "directory"), Thing(("a",), "link", target="/")),
        planned(Thing((), "file"), Thing(("x",), "file")),
        planned(Thing((), "directory", mode=0o4755)),
        planned(Thing((), "file", size=-1)),
        planned(*[Thing((), "file")] * 2),
        planned(),
        b"[]",
    ],
)
def test_a_plan_that_leads_out_of_its_tree_is_refused(plan: bytes) -> None:
    with pytest.raises(ValueError):
        parse_plan(plan)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_plan_or_refused(raw: bytes) -> None:
    with contextlib.suppress(ValueError):
        parse_plan(raw)


@given(st.binary(max_size=200))
def test_any_bytes_of_a_note_are_read_line_by_line(raw: bytes) -> None:
    assert len(beginning.noted(raw) or []) <= raw.count(b"\0") + 1


def test_what_lay_in_a_volume_is_noted_by_the_containers_names(tmp_path: Path) -> None:
    (tmp_path / "v/d").mkdir(parents=True)
    (tmp_path / "v/d" / os.fsdecode(b"x\xff y")).write_text("abc")
    (tmp_path / "v/l").symlink_to("/")
    beginning.note(tmp_path / "noted", {"/data/": tmp_path / "v", "/none": tmp_path / "none"})
    was = {each.path: each for each in beginning.noted((tmp_path / "noted").read_bytes()) or []}
    assert set(was) == {"/data/d", os.fsdecode(b"/data/d/x\xff y"), "/data/l"}
    assert was[os.fsdecode(b"/data/d/x\xff y")].size_bytes == 3
