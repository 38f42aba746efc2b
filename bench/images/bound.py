"""The least that could travel, as the yardstick: zstd at its best, with all of the old version at hand as dictionary."""

from __future__ import annotations

from collections.abc import Iterable

import zstandard

from skerry.image.contract import Objects
from skerry.image.manifest import Entry, Tree


def changed(old: Tree, new: Tree) -> list[tuple[Entry, Entry | None]]:
    """The files that the new tree has and the old one has not, each with what the old one has in its place."""
    before = {entry.path: entry for entry in old.files()}
    held = set(old.objects())
    found = {entry.sha256: (entry, before.get(entry.path)) for entry in new.files() if entry.sha256 not in held}
    return list(found.values())


def bundle_bound(old: Tree, new: Tree, objects: Objects) -> int:
    """Bytes of one zstd -19 stream of the new manifest and the new files; its dictionary: the old manifest, then the old
    files of the same paths.
    """
    pairs = changed(old, new)
    dictionary = b"".join([old.encode(), *(objects.read(before.sha256) for _, before in pairs if before)])
    content = b"".join([new.encode(), *(objects.read(entry.sha256) for entry, _ in pairs)])
    return len(with_dictionary(dictionary, content, 19))


def with_dictionary(dictionary: bytes, content: bytes, level: int) -> bytes:
    window = max(10, min(27, (len(dictionary) + len(content)).bit_length()))
    parameters = zstandard.ZstdCompressionParameters.from_level(level, window_log=window, write_content_size=False)
    held = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return zstandard.ZstdCompressor(dict_data=held, compression_params=parameters).compress(content)


def each_alone(contents: Iterable[bytes], level: int) -> int:
    """Bytes of these files, each as a zstd stream of its own."""
    compressor = zstandard.ZstdCompressor(level=level)
    return sum(len(compressor.compress(content)) for content in contents)
