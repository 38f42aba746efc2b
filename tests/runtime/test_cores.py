"""Core files within their bounds, whoever dies of what how often; and the kernel's setting, which is given back as it was found."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from skerry.runtime.cores import shelf as shelves
from skerry.runtime.cores.asking import asked, asked_by
from skerry.runtime.cores.pattern import INIT_PID_NAMESPACE, CorePattern, program
from skerry.runtime.cores.shelf import NotKept, Shelf, compress, whole_bytes

SLOT = "shop.web/0"


def elf(length: int) -> bytes:
    """A core file with one program header, whose content ends at `length`."""
    head = b"\x7fELF\x02\x01" + bytes(26) + struct.pack("<Q", 64) + bytes(14) + struct.pack("<HH", 56, 1) + bytes(6)
    return (head + struct.pack("<IIQQQQQQ", 1, 0, 120, 0, 0, length - 120, 0, 0)).ljust(length, b"\0")


def put(
    shelf: Shelf, name: str, *, slot: str = SLOT, by: str = "request", time_s: float = 0.0, data: bytes = b"x" * 100
) -> None:
    with shelf.one_more(slot, name, at_once=by == "request") as draft:
        draft.write(data)
        draft.finish(
            {"slot": slot, "container": "c", "by": by, "time": time_s or time.time(), "size_bytes": 1, "cut": ""}
        )


def names(shelf: Shelf) -> list[str]:
    return [row["name"] for row in shelf.records()]


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    monkeypatch.setattr(Shelf, "short", lambda self: False)  # whatever this machine's disk is
    return Shelf(str(tmp_path))


@pytest.fixture
def container(tmp_path: Path) -> Path:
    """The folder of one that asked."""
    folder = tmp_path / "shop-web-0-1-1"
    folder.mkdir()
    (folder / "record.json").write_text(json.dumps({"labels": {"slot": SLOT}}))
    config = {
        "process": {"rlimits": [{"type": "RLIMIT_CORE", "hard": 1 << 20}]},
        "linux": {"cgroupsPath": "/skerry/shop-web-0-1-1"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    "line",
    ["0::/skerry/shop-web-0-1-1", "3:cpu,cpuacct:/skerry/shop-web-0-1-1/below"],
)
def test_a_process_is_its_containers_by_its_cgroup(container: Path, line: str) -> None:
    found = asked_by(str(container.parent), f"9:pids:/\n{line}\n")
    assert found is not None and (found.id, found.slot, found.limit_bytes) == (container.name, SLOT, 1 << 20)


@pytest.mark.parametrize(
    "line",
    ["0::/", "0::/user.slice/shop-web-0-1-1", "0::/docker/skerry/shop-web-0-1-1", "0::/skerry/mon", "0::/skerry/../shop-web-0-1-1",
     "0::/skerry/tools/9-1", "", "4:memory", f"0::/{'x' * 9000}"],
)  # fmt: skip
def test_nobody_elses_process_is(container: Path, line: str) -> None:
    assert asked_by(str(container.parent), line) is None


def test_a_container_that_did_not_ask_or_is_half_made_is_none(container: Path) -> None:
    config = json.loads((container / "config.json").read_text())
    config["process"]["rlimits"][0]["hard"] = 0
    (container / "config.json").write_text(json.dumps(config))
    assert asked(str(container.parent), container.name) is None
    for damage in ("{", "[]", "{}", '{"process": 3}'):
        (container / "config.json").write_text(damage)
        assert asked(str(container.parent), container.name) is None


def test_a_whole_core_is_known_by_its_headers(shelf: Shelf, tmp_path: Path) -> None:
    core = elf(5000)
    assert whole_bytes(core) == 5000 and whole_bytes(core[:100]) == 0 and whole_bytes(b"#!/bin/sh" * 20) == 0
    for came, cut in ((core, ""), (core[:3000], "it ended early: the process was killed")):
        (tmp_path / "in").write_bytes(came)
        source = os.open(tmp_path / "in", os.O_RDONLY)
        with shelf.one_more(SLOT, f"n{len(came)}", at_once=True) as draft:
            assert compress(source, draft, 1 << 30) == (len(came), cut)
            draft.finish({"slot": SLOT, "time": time.time()})
        os.close(source)
        (row,) = [row for row in shelf.records() if row["name"] == f"n{len(came)}"]
        assert gzip.decompress(Path(shelf.path(row)).read_bytes()) == came
        assert Path(shelf.path(row)).stat().st_mode & 0o777 == 0o600


def test_one_without_end_is_cut_off(shelf: Shelf) -> None:
    """Fifty gigabytes that aren't there come as zeros."""
    endless = os.open("/dev/zero", os.O_RDONLY)
    with shelf.one_more(SLOT, "a", at_once=True) as draft:
        size_bytes, cut = compress(endless, draft, (32 << 20) + 5)
        assert size_bytes == (32 << 20) + 5 and "limit" in cut and draft.kept_bytes < 1 << 20
    with shelf.one_more(SLOT, "b", at_once=True) as draft:
        size_bytes, cut = compress(endless, draft, 1 << 40, 0.0)
        assert size_bytes <= 1 << 20 and cut == "0 s were over"
    os.close(endless)


def test_what_does_not_compress_is_cut_off_too_and_what_came_can_be_read(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelves, "HOST_BYTES", 4 << 20)
    random = os.open("/dev/urandom", os.O_RDONLY)
    with shelf.one_more(SLOT, "a", at_once=True) as draft:
        size_bytes, cut = compress(random, draft, 1 << 30)
        draft.finish({"slot": SLOT, "time": time.time(), "size_bytes": size_bytes, "cut": cut})
    os.close(random)
    (row,) = shelf.records()
    assert row["kept_bytes"] <= 2 << 20 and "2 MiB of one core" in row["cut"]


def test_a_disk_that_gets_short_stops_it_and_all_are_given_back(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    put(shelf, "old")
    monkeypatch.setattr(shelves, "FREE_LOOKED_AT_BYTES", 1)
    with shelf.one_more(SLOT, "a", at_once=True) as draft:
        draft.write(b"x")
        monkeypatch.setattr(Shelf, "short", lambda self: True)
        with pytest.raises(NotKept, match="short"):
            draft.write(b"x")
    with pytest.raises(NotKept, match="short"), shelf.one_more(SLOT, "b", at_once=True):
        pass
    assert names(shelf) == ["old"] and not list(Path(shelf.folder(SLOT)).glob(".new-*"))
    shelf.sweep(time.time())
    assert names(shelf) == []


def test_three_of_a_slot_and_so_many_bytes_of_a_host_the_oldest_go(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = time.time()
    for n in range(5):
        put(shelf, f"n{n}", time_s=now_s + n)
    assert names(shelf) == ["n2", "n3", "n4"]
    put(shelf, "other", slot="shop.db/0", time_s=now_s + 9)
    monkeypatch.setattr(Shelf, "allowed_bytes", lambda self: 400)
    put(shelf, "last", slot="shop.db/0", time_s=now_s + 10)
    assert names(shelf) == ["n4", "other", "last"]


def test_of_one_that_crashes_again_and_again_one_in_a_minute(shelf: Shelf) -> None:
    put(shelf, "first", by="crash")
    for n in range(3):
        with pytest.raises(NotKept), shelf.one_more(SLOT, f"n{n}"):
            pass
    put(shelf, "asked")  # whoever asks for one gets it
    assert [(row["name"], row["missed"]) for row in shelf.records()] == [("first", 3), ("asked", 0)]
    put(shelf, "elsewhere", slot="shop.web/1", by="crash")


def test_many_at_once_are_not_waited_for(shelf: Shelf) -> None:
    with shelf.one_more(SLOT, "a"), shelf.one_more("shop.web/1", "a"):
        with pytest.raises(NotKept, match="of this slot"), shelf.one_more(SLOT, "b"):
            pass
        with pytest.raises(NotKept, match="on this host"), shelf.one_more("shop.web/2", "a"):
            pass
    put(shelf, "a", slot="shop.web/2")


def test_what_is_old_or_was_left_half_made_is_swept(shelf: Shelf) -> None:
    now_s = time.time()
    put(shelf, "old", time_s=now_s - shelves.KEPT_S - 1)
    put(shelf, "new", time_s=now_s)
    folder = Path(shelf.folder(SLOT))
    for name in (".new-x", "y.core.gz"):
        (folder / name).write_bytes(b"")
        os.utime(folder / name, (now_s - 7200, now_s - 7200))
    (folder / ".new-busy").write_bytes(b"")
    (folder / "planted.json").write_text(json.dumps({"slot": "../../etc", "time": 1}))
    shelf.sweep(now_s)
    assert names(shelf) == ["new"]
    assert sorted(path.name for path in folder.iterdir()) == [
        ".lock",
        ".new-busy",
        "new.core.gz",
        "new.json",
        "planted.json",
    ]


# -- the kernel's setting


@pytest.fixture
def host(tmp_path: Path) -> Path:
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/core_pattern").write_text("core\n")
    (tmp_path / "kernel/core_pipe_limit").write_text("0\n")
    (tmp_path / "bin/1").mkdir(parents=True)
    (tmp_path / "bin/1/skerry-core").touch()
    return tmp_path


class Namespace:
    def __init__(self, number: int) -> None:
        self.st_ino = number

    def stat(self) -> Any:
        return self


def pattern_of(host: Path, version: str = "1", number: int = INIT_PID_NAMESPACE) -> CorePattern:
    namespace: Any = Namespace(number)
    return CorePattern(Path(os.path.relpath(host / "bin" / version / "skerry-core")), Path("c"), host / "k",
                       settings=host / "kernel", namespace=namespace)  # fmt: skip


def settings(host: Path) -> tuple[str, str]:
    return (host / "kernel/core_pattern").read_text().strip(), (host / "kernel/core_pipe_limit").read_text().strip()


@pytest.fixture
def short_paths(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skerry.runtime.cores.pattern.PATTERN_MAX", 1000)


@pytest.mark.usefixtures("short_paths")
def test_what_was_found_is_put_back_by_whoever_comes_after_a_crash(host: Path) -> None:
    (host / "kernel/core_pipe_limit").write_text("7\n")
    assert pattern_of(host).take() == "" and settings(host)[0].endswith(f"skerry-core c {host}/k %P %s %t %c %d")
    assert settings(host)[1] == "4"
    (host / "bin/2").mkdir()
    (host / "bin/2/skerry-core").touch()
    assert pattern_of(host, "2").take() == "" and "/2/skerry-core" in settings(host)[0]  # an upgrade
    assert pattern_of(host, "2").put_back() and settings(host) == ("core", "7")
    assert not pattern_of(host, "2").put_back() and list((host / "k").iterdir()) == []


@pytest.mark.usefixtures("short_paths")
def test_a_lost_note_of_what_was_found_means_the_kernels_default(host: Path) -> None:
    assert pattern_of(host).take() == ""
    (host / "k/found.json").write_text("{")
    assert pattern_of(host).put_back() and settings(host) == ("core", "0")


@pytest.mark.usefixtures("short_paths")
@pytest.mark.parametrize(
    ("found", "who"),
    [
        ("|/lib/systemd/systemd-coredump %P %u", "systemd-coredump"),
        ("|/usr/share/apport/apport -p%p", "apport"),
        ("/cores/%e", "a file of its own"),
        ("|/opt/other/skerry-core c /opt/other/cores %P", "skerry-core"),
    ],
)
def test_somebody_elses_is_left_alone_and_named(host: Path, found: str, who: str) -> None:
    (host / "kernel/core_pattern").write_text(found + "\n")
    assert pattern_of(host).take().startswith(f"{who} takes this host's cores")
    assert not pattern_of(host).put_back() and settings(host) == (found, "0")


@pytest.mark.usefixtures("short_paths")
def test_what_somebody_set_after_us_is_not_put_back(host: Path) -> None:
    assert pattern_of(host).take() == ""
    (host / "kernel/core_pattern").write_text("|/lib/systemd/systemd-coredump\n")
    assert not pattern_of(host).put_back() and settings(host)[0] == "|/lib/systemd/systemd-coredump"


@pytest.mark.usefixtures("short_paths")
def test_a_shared_kernel_no_handler_or_too_long_a_path_are_told(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "shares its kernel" in pattern_of(host, number=4026532000).take()
    assert "has no" in pattern_of(host, "3").take()
    monkeypatch.setattr("skerry.runtime.cores.pattern.PATTERN_MAX", 10)
    assert "takes 10 characters" in pattern_of(host).take()
    assert settings(host) == ("core", "0")


def test_without_a_limit_nothing_but_a_shell_is_started(tmp_path: Path) -> None:
    handler = tmp_path / "skerry-core"
    handler.write_text(program("/nowhere/python3", "/nowhere"))
    handler.chmod(0o755)
    for limit, code in (("0", 0), ("4096", 127)):
        done = subprocess.run([str(handler), "c", "k", "1", "11", "1", limit, "1"], capture_output=True, check=False)
        assert done.returncode == code
