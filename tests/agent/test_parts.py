"""Parts of a large file that two images fetch at once."""

from __future__ import annotations

import hashlib
import random

import pytest

from skerry.agent.images.parts import FileParts
from skerry.image.packs import PART_BYTES, parts_of
from skerry.store.objects import ObjectStore

DATA = random.Random(4).randbytes(5 * PART_BYTES + 7)
HASH = hashlib.sha256(DATA).hexdigest()


def put(parts: FileParts, *numbers: int) -> None:
    for n in numbers:
        part = parts_of(HASH, len(DATA))[n]
        parts.put(HASH, part.at, DATA[part.at : part.at + part.length])


def test_the_second_image_finds_the_file_that_the_first_has_joined(tmp_path):
    parts, objects = FileParts(tmp_path / "parts"), ObjectStore(tmp_path)
    put(parts, 0, 1, 2, 3, 4, 5)
    assert parts.join(HASH, len(DATA), objects) and parts.here(HASH, len(DATA)) == set()
    put(parts, 5)  # its last part, asked for before
    assert parts.join(HASH, len(DATA), objects) and parts.here(HASH, len(DATA)) == set()
    assert objects.read(HASH) == DATA


def test_parts_that_another_image_threw_away_are_told_apart_from_wrong_ones(tmp_path):
    parts, objects = FileParts(tmp_path / "parts"), ObjectStore(tmp_path)
    put(parts, 0, 1, 2, 3, 4)
    parts.put(HASH, 5 * PART_BYTES, b"another")
    assert not parts.join(HASH, len(DATA), objects) and parts.here(HASH, len(DATA)) == set()
    put(parts, 5)
    with pytest.raises(FileNotFoundError):
        parts.join(HASH, len(DATA), objects)
    assert not objects.has(HASH)
