"""A build that is killed or interrupted before each of its steps, on a disk that is full at each point, over a cache and a store
with a flipped bit in each of their files, beside another one, and with a clock that is wrong.

The project is tiny, its packages come over the network, and all that a build writes is among the steps: download, unpacked
package, base, objects, packed file, verdict of the lint, origin, name.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.unsynced import synced
from image.steps import killed_at_each_step
from image.test_full_disk import empty_again, fill_files, fill_pages, full_at_each_point, small_disk
from image.tiny import Tiny, lock_it, lock_of, mirror, tiny
from skerry.errors import Passing
from skerry.image.building.sources.lock import Lock, read_lock, write_lock
from skerry.image.kept import CacheDamaged
from skerry.store.disk import DiskFull, told

__all__ = ["small_disk", "synced"]


@pytest.fixture(scope="module", autouse=True)
def address() -> Iterator[str]:
    with mirror() as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKERRY_DEBIAN_MIRROR", address)
        patch.setenv(
            "SSL_CERT_FILE", str(Path(__file__).with_name("tiny.py"))
        )  # reading all authorities is what takes long
        patch.setattr("ssl.SSLContext.load_verify_locations", lambda *args, **options: None)
        yield address


@pytest.fixture(scope="module")
def digest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of the tiny project, built in peace."""
    return tiny(tmp_path_factory.mktemp("peace")).build().digest


def is_sound(of: Tiny, digest: str) -> None:
    """Whatever happened: the lock is what it was, objects are what their names say, and a name is of a whole image."""
    assert lock_of(of) is not None
    images = of.images
    assert all(images.objects.verify(hash) for hash in images.objects)
    for named in images.names.values():
        assert named == digest and images.images.missing(named) == []


def is_built(of: Tiny, digest: str) -> None:
    is_sound(of, digest)
    assert of.images.names == {"tiny.app": digest}


def test_a_build_that_is_killed_leaves_nothing_that_the_next_takes_for_whole(tmp_path: Path, digest: str) -> None:
    for of in killed_at_each_step(tmp_path, tiny, Tiny.build):
        is_sound(of, digest)
        assert of.build().digest == digest
        is_built(of, digest)
        shutil.rmtree(of.home.parent)


def test_a_build_that_is_interrupted_leaves_nothing_half_made(tmp_path: Path, digest: str) -> None:
    for of in killed_at_each_step(tmp_path, tiny, Tiny.build, signal.SIGINT, every=4):
        assert of.rests() == []
        is_sound(of, digest)
        assert of.build().digest == digest
        is_built(of, digest)
        shutil.rmtree(of.home.parent)


def test_a_lock_file_is_the_old_or_the_new_whenever_its_writer_is_killed(tmp_path: Path) -> None:
    old, new = Lock("0" * 16), Lock("1" * 16)

    def prepare(folder: Path) -> Path:
        folder.mkdir()
        write_lock(folder / "skerry.lock", "web", old)
        return folder / "skerry.lock"

    seen = set()
    for path in killed_at_each_step(tmp_path, prepare, lambda path: write_lock(path, "web", new)):
        found = read_lock(path, "web")
        assert found in (old, new)
        seen.add(found)
        write_lock(path, "store", new)
        assert (read_lock(path, "web"), read_lock(path, "store")) == (found, new)
    assert seen == {old, new}


def build_told(of: Tiny) -> None:
    """As the command line tells it."""
    try:
        of.build()
    except OSError as error:
        raise told(error) or error from error


@pytest.mark.real
@pytest.mark.parametrize("fill", [fill_pages, fill_files], ids=lambda fill: fill.__name__)
def test_a_build_that_finds_no_room_says_so_and_leaves_nothing_half_made(
    small_disk: Path, fill: Callable[[Path, int], None], digest: str
) -> None:
    refusals = 0
    for of, refused in full_at_each_point(small_disk, fill, tiny, build_told):
        assert isinstance(of, Tiny)
        if refused is not None:
            assert isinstance(refused, DiskFull) and refused.fix, refused
            assert str(small_disk) in refused.what, refused
            refusals += 1
        assert of.rests() == []
        empty_again(small_disk)
        is_sound(of, digest)
        assert of.build().digest == digest
        is_built(of, digest)
    assert refusals > 10


@pytest.mark.real
@pytest.mark.parametrize("fill", [fill_pages, fill_files], ids=lambda fill: fill.__name__)
def test_a_lock_that_finds_no_room_stays_as_it_was(small_disk: Path, fill: Callable[[Path, int], None]) -> None:
    path = small_disk / "skerry.lock"
    write_lock(path, "web", Lock("0" * 16))
    before = path.read_bytes()
    fill(small_disk, 0)
    with pytest.raises(OSError) as refused:
        write_lock(path, "web", Lock("1" * 16))
    assert isinstance(told(refused.value), DiskFull)
    assert path.read_bytes() == before and {each.name for each in small_disk.iterdir()} == {"skerry.lock", "filler"}


# A flipped bit.

GONE = {
    "with all else in place": (),
    "and the image made anew": ("objects", "cache/bases", "cache/packed"),
    "and packages unpacked anew": ("objects", "cache/bases", "cache/packed", "cache/unpacked"),
}


@pytest.mark.parametrize("gone", GONE.values(), ids=GONE)
def test_a_flipped_bit_in_any_file_of_cache_and_store_never_gets_into_an_image(
    tmp_path: Path, digest: str, gone: tuple[str, ...]
) -> None:
    whole = tiny(tmp_path / "whole")
    whole.build()
    found = [path.relative_to(whole.home) for top in ("cache", "objects") for path in (whole.home / top).rglob("*")]
    kinds = {}
    for number, path in enumerate(sorted(path for path in found if (whole.home / path).is_file())):
        of = Tiny(tmp_path / str(number) / "home", tmp_path / str(number) / "project")
        shutil.copytree(tmp_path / "whole", of.home.parent)
        flip_in_the_middle(of.home / path)
        for each in gone:
            shutil.rmtree(of.home / each)
        again = until_built(of)
        assert again.build().digest == digest
        if not all(again.images.objects.verify(hash) for hash in again.images.objects):  # put aside by that
            assert path.parts[0] == "objects"
            until_built(again)
        is_built(again, digest)
        assert again.images.images.missing(digest) == []
        kinds[path.parts[-2 if path.parts[0] == "cache" else 0]] = True
    assert {"debs", "unpacked", "bases", "packed", "lint", "objects"} <= kinds.keys()


def flip_in_the_middle(path: Path) -> None:
    data = bytearray(path.read_bytes() or b"\0")
    data[len(data) // 2] ^= 4
    path.chmod(0o644)
    path.write_bytes(data)


def until_built(of: Tiny) -> Tiny:
    """What was found damaged is told, with what to do, and is right the next time."""
    try:
        of.build()
    except Passing as error:
        assert error.code in ("cache-damaged", "object-damaged") and error.fix, error
        of.build()
    return of


@pytest.mark.parametrize("at", range(0, 10, 3))
def test_an_unpacked_package_that_was_damaged_is_told_with_what_to_do(tmp_path: Path, digest: str, at: int) -> None:
    """Where its program is: found when the image is made of it, and unpacked anew."""
    of = tiny(tmp_path)
    of.build()
    for each in GONE["and the image made anew"]:
        shutil.rmtree(of.home / each)
    (tar,) = (of.home / "cache" / "unpacked").glob("*.tar")
    data = bytearray(tar.read_bytes())
    data[data.index(b"\x7fELF") + 8 + at] ^= 1
    tar.write_bytes(data)
    with pytest.raises(CacheDamaged) as refused:
        of.build()
    assert "run it again" in refused.value.fix and str(tar) in refused.value.why
    assert not of.images.names.keys() - {"tiny.app"} and of.rests() == []
    assert of.build().digest == digest


# Side by side, and at the wrong time.


def test_two_builds_of_one_project_at_once_both_come_to_their_end(tmp_path: Path, digest: str) -> None:
    """Two services of one compose file, each twice, over one empty cache."""
    for number in range(4):
        of = tiny(tmp_path / str(number))
        (of.project / "skerry.lock").unlink()
        children = []
        for section in ("web", "store", "web", "store"):
            if (pid := os.fork()) == 0:
                code = 1
                try:
                    lock_it(of, section)
                    code = int(of.build(section).digest != digest)
                finally:
                    os._exit(code)
            children.append(pid)
        assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 4
        assert lock_of(of, "web") == lock_of(of, "store") != None  # noqa: E711
        assert of.images.names == {"tiny.web": digest, "tiny.store": digest}
        assert of.rests() == []
        assert all(of.images.objects.verify(hash) for hash in of.images.objects)


@pytest.mark.parametrize("now_s", [0.0, 1e9, 4e9], ids=["1970", "2001", "2096"])
def test_a_clock_that_is_wrong_changes_nothing(
    tmp_path: Path, digest: str, now_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: now_s)
    of = tiny(tmp_path)
    assert of.build().digest == digest
    monkeypatch.undo()
    assert of.build().digest == digest
    is_built(of, digest)


@pytest.mark.real
def test_a_cache_of_another_user_is_told_by_the_command(tmp_path: Path, digest: str) -> None:
    folder = Path(subprocess.run(["mktemp", "-d"], check=True, capture_output=True, text=True).stdout.strip())
    try:
        folder.chmod(0o755)
        of = tiny(folder / "of")
        of.build()
        shutil.rmtree(of.home / "cache" / "packed")
        shutil.rmtree(of.home / "cache" / "bases")
        before = sorted(of.home.rglob("*"))
        os.seteuid(65534)
        try:
            with pytest.raises(PermissionError) as refused:
                of.build()
        finally:
            os.seteuid(0)
        error = told(refused.value)
        assert error is not None and error.code == "no-access" and str(folder) in error.what and error.fix
        assert sorted(of.home.rglob("*")) == before
        assert of.build().digest == digest
    finally:
        shutil.rmtree(folder)
