"""A disk that is full at each point of an act: with room for no page, for one, for two … and the same with files.

Told as what it is, nothing half-done is left, what was there stays whole, and the same act succeeds once there is room.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.unsynced import synced
from disks import disk_of
from image.test_killed import (
    Empty,
    Host,
    empty,
    forget_and_collect,
    host,
    import_it,
    is_sound,
    mend,
    take_in,
)
from skerry.errors import SkerryError
from skerry.store.disk import DiskFull, full_disk_told

__all__ = ["synced"]

PAGE = 4096


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with disk_of(tmp_path / "disk", "2m,nr_inodes=300") as disk:
        yield disk


def fill_pages(disk: Path, left: int) -> None:
    with (disk / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(PAGE))
        except OSError:
            filler.truncate(max(0, filler.tell() // PAGE - left) * PAGE)


def fill_files(disk: Path, left: int) -> None:
    (disk / "filler").mkdir()
    made = []
    try:
        while True:
            made.append(disk / "filler" / str(len(made)))
            made[-1].touch()
    except OSError:
        made.pop()
    for path in made[len(made) - left :]:
        path.unlink()


def empty_again(disk: Path) -> None:
    filler = disk / "filler"
    if filler.is_dir():
        shutil.rmtree(filler)
    else:
        filler.unlink()


def full_at_each_point(
    disk: Path, fill: Callable[[Path, int], None], prepare: Callable[[Path], object], act: Callable[..., None]
) -> Iterator[tuple[object, SkerryError | None]]:
    """Gives what was prepared, with the disk full yet, and what the act raised; None at the end, when it had room."""
    for left in range(200):
        prepared = prepare(disk / "state")
        fill(disk, left)
        refused: SkerryError | None = None
        try:
            act(prepared)
        except SkerryError as error:
            refused = error
        yield prepared, refused
        if refused is None:
            assert left > 0, "it needed no room at all"
            return
        shutil.rmtree(disk / "state")
    raise AssertionError("it never had room enough")


def make(of: Host) -> None:
    with full_disk_told(of.directory):
        of.images.make(of.new)


def mend_it(of: Host) -> None:
    with full_disk_told(of.directory):
        mend(of)


@pytest.mark.real
@pytest.mark.parametrize("fill", [fill_pages, fill_files], ids=lambda fill: fill.__name__)
@pytest.mark.parametrize("act", [take_in, import_it], ids=lambda act: act.__name__)
def test_objects_that_find_no_room_are_not_there_at_all(
    small_disk: Path, act: Callable[[Empty], None], fill: Callable[[Path, int], None]
) -> None:
    for prepared, refused in full_at_each_point(small_disk, fill, empty, act):
        assert isinstance(prepared, Empty)
        if refused is not None:
            assert isinstance(refused, DiskFull), refused
        assert all(prepared.objects.verify(hash) for hash in prepared.objects)
        empty_again(small_disk)
        act(prepared)
        assert len(set(prepared.objects)) == 4
        assert not list((prepared.directory / "objects" / "incoming").iterdir())


@pytest.mark.real
@pytest.mark.parametrize("fill", [fill_pages, fill_files], ids=lambda fill: fill.__name__)
def test_a_tree_that_finds_no_room_is_not_there_at_all(small_disk: Path, fill: Callable[[Path, int], None]) -> None:
    for prepared, refused in full_at_each_point(small_disk, fill, host, make):
        assert isinstance(prepared, Host)
        if refused is not None:
            assert isinstance(refused, DiskFull)
            assert prepared.images.root(prepared.new) is None
        is_sound(prepared)
        empty_again(small_disk)
        make(prepared)
        is_sound(prepared)
        assert prepared.images.held() == sorted([prepared.old, prepared.new])


@pytest.mark.real
@pytest.mark.parametrize("fill", [fill_pages, fill_files], ids=lambda fill: fill.__name__)
def test_a_tree_that_can_not_be_mended_for_want_of_room_starts_nothing_until_there_is_some(
    small_disk: Path, fill: Callable[[Path, int], None]
) -> None:
    prepared = host(small_disk / "state")
    program = prepared.images.root(prepared.old)
    assert program is not None
    (program / "usr/bin/app").write_bytes(b"Program")  # mended by a copy
    fill(small_disk, 0)
    with pytest.raises(DiskFull):
        mend_it(prepared)
    assert prepared.images.root(prepared.old) is None
    empty_again(small_disk)
    mend_it(prepared)
    is_sound(prepared)


@pytest.mark.real
@pytest.mark.parametrize("fill", [fill_pages, fill_files], ids=lambda fill: fill.__name__)
def test_a_collection_works_on_a_full_disk(small_disk: Path, fill: Callable[[Path, int], None]) -> None:
    prepared = host(small_disk / "state")
    fill(small_disk, 0)
    forget_and_collect(prepared)
    assert set(prepared.objects) == set(prepared.images.objects(prepared.new))
    make(prepared)
    assert prepared.images.held() == [prepared.new], "in the room that it made"
