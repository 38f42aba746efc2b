"""From a changed line to a root tree on a node that had the version before: all but the network, step by step."""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.images import apps
from bench.images.edit import documents
from skerry.image.bundle import make_bundle, open_bundle
from skerry.image.trees import Images
from skerry.store.objects import ObjectStore

ROUNDS = 5
STEPS = ("build", "bundle", "take_in", "root")


def measure(tell: Callable[[str], None]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for app in (apps.guestbook(tell), apps.project(tell)):
        # A folder of its own, removed at the end: for half a minute ext4 makes new files 50 times slower where others were removed.
        with tempfile.TemporaryDirectory(prefix="node-", dir=apps.WORK) as directory:
            node = Node(Path(directory), app)
            rounds, cpu_s = zip(*(node.update() for _ in range(ROUNDS)), strict=True)
        name = "apply_s" if app.name == "web" else f"apply_s_{app.name}"
        figures[name] = round(statistics.median(map(sum, rounds)), 3)
        figures[f"apply_cpu_s_{app.name}"] = round(statistics.median(cpu_s), 3)
        figures[f"apply_entries_{app.name}"] = len(app.new.tree.entries)
        figures[f"apply_steps_s_{app.name}"] = {
            step: round(statistics.median(took), 3) for step, took in zip(STEPS, zip(*rounds, strict=True), strict=True)
        }
    return figures


class Node:
    """A host's own store, on disk and synced, with the application's first version whole in it and its root tree made."""

    def __init__(self, directory: Path, app: apps.App) -> None:
        self.app = app
        self.objects = ObjectStore(directory)
        self.images = Images(self.objects, directory / "images")
        self.held = app.old
        for hash in app.images.images.objects(app.old.digest):
            writer = self.objects.writer(hash, sync=False)
            writer.write(app.images.objects.read(hash))
            writer.finish()
        self.objects.sync_all()
        self.images.make(app.old.digest)

    def update(self) -> tuple[list[float], float]:
        """One more line, and this node has it. Seconds of each of STEPS; of the processor, for all of them."""
        path = self.app.folder / self.app.edited
        path.write_text(path.read_text() + f"BENCH_EDIT = {time.time_ns()}\n")  # never built before, so in no cache
        at_s, cpu_s = [time.monotonic()], time.process_time()
        new = self.app.rebuild()
        at_s.append(time.monotonic())
        theirs = self.app.images.objects
        bundle = make_bundle(documents(self.held, theirs), documents(new, theirs), theirs.read)
        at_s.append(time.monotonic())
        opened = open_bundle(bundle, documents(self.held, self.objects), new.digest, self.objects.read)
        for data in opened.files.values():
            self.objects.put(data)
        for patch in opened.patches:
            self.objects.put(patch.apply(self.objects.read(patch.old)))
        at_s.append(time.monotonic())
        self.images.make(new.digest)
        at_s.append(time.monotonic())
        cpu_s = time.process_time() - cpu_s
        if wrong := self.images.verify(new.digest):
            raise RuntimeError(f"the tree is not what was built: {wrong[:3]}")
        self.held = new
        return [end - begin for begin, end in itertools.pairwise(at_s)], cpu_s
