"""A collection beside everything else: it takes nothing that an image which is coming in, being linked or held needs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from image.test_killed import FILES, bring
from skerry.image.trees import Images
from skerry.store.objects import ObjectStore

ROUNDS = 40
EVERYTHING_IS_OLD_S = 1e12


def fetch(image: str, source: ObjectStore, objects: ObjectStore, images: Images) -> None:
    """As hosts do: what is missing, until nothing is; then the tree. Fails if something that was here is gone again."""
    asked: set[str] = set()
    while missing := images.missing(image):
        assert not asked & set(missing), "it had come already, and was collected"
        asked |= set(missing)
        for hash in missing:
            objects.put(source.read(hash))
    images.make(image)
    assert images.verify(image) == []


def beside(collect: Callable[[], object], work: Callable[[], None]) -> int:
    """Collect over and over while the work is done. Gives how often."""
    over, count = threading.Event(), 0

    def again_and_again() -> int:
        nonlocal count
        while not over.is_set():
            collect()
            count += 1
        return count

    with ThreadPoolExecutor(1) as pool:
        collecting = pool.submit(again_and_again)
        try:
            work()
        finally:
            over.set()
        return collecting.result()


def test_a_collection_takes_nothing_of_an_image_that_is_coming_in(tmp_path: Path) -> None:
    source = ObjectStore(tmp_path / "source", durable=False)
    image = bring(source, FILES)
    objects = ObjectStore(tmp_path, durable=False)
    images = Images(objects, tmp_path / "trees")

    def work() -> None:
        for _ in range(ROUNDS):
            fetch(image, source, objects, images)
            images.forget(image)

    assert beside(lambda: images.collect(came_before_s=EVERYTHING_IS_OLD_S), work) > ROUNDS
    images.collect(came_before_s=EVERYTHING_IS_OLD_S)
    assert not list(objects), "and all of it once nobody wants it"


def test_versions_come_and_go_around_one_that_runs(tmp_path: Path) -> None:
    """The one that runs shares files with those that are forgotten; containers of it are started all the while."""
    source = ObjectStore(tmp_path / "source", durable=False)
    versions = [bring(source, {**FILES, "etc/version": b"%d" % n}) for n in range(4)]
    objects = ObjectStore(tmp_path, durable=False)
    images = Images(objects, tmp_path / "trees")
    runs = versions.pop()
    fetch(runs, source, objects, images)

    def come_and_go(image: str) -> None:
        for _ in range(ROUNDS):
            fetch(image, source, objects, images)
            gone = images.objects(image)
            images.forget(image)
            images.collect(came_before_s=0, gone=gone)

    def start() -> None:
        for _ in range(ROUNDS):
            root = images.root(runs)
            assert root is not None and images.config(runs) is not None
            assert {path: (root / path).read_bytes() for path in FILES} == FILES

    def work() -> None:
        with ThreadPoolExecutor(4) as pool:
            for done in [*(pool.submit(come_and_go, image) for image in versions), pool.submit(start)]:
                done.result()

    beside(lambda: images.collect(came_before_s=EVERYTHING_IS_OLD_S), work)
    assert images.verify(runs) == []
    images.collect(came_before_s=EVERYTHING_IS_OLD_S)
    assert set(objects) == set(images.objects(runs))
