"""An image's files in portions of about 1 MiB, for whoever has none of them: packs of small files, parts of large ones. Pure.

Both ends number them alike, as they are a function of the tree: so a host can say in a few bytes what it has, and several
hosts can give different ones at once. A pack is one zstd frame; what comes out is hashed, file by file, by whoever takes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec
import zstandard

from skerry.image.contract import BadImage
from skerry.image.manifest import MAX_MANIFEST_BYTES, parse_tree
from skerry.image.oci import MAX_JSON_BYTES, hash_of, parse_config, parse_manifest
from skerry.outside import UNREADABLE

PACK_BYTES = 1 << 20  # smaller ones pack worse, larger ones take longer to be of use to others
WHOLE_BYTES = 4 << 20  # a file that is larger travels in parts
PART_BYTES = 1 << 20
LEVEL = 3
DOCUMENTS_BYTES = MAX_MANIFEST_BYTES + 2 * MAX_JSON_BYTES + 64


class BadPack(BadImage):
    """A pack or part that is not what was asked for. Nothing of it was kept."""

    code = "bad-pack"

    def __init__(self, why: str) -> None:
        super().__init__("a pack of files was refused", why, "it is asked of the next host that has it")


class Portion(msgspec.Struct, frozen=True):
    """A pack: whole files, as (hash, size). Or, with `at` >= 0, a part of one large file: `length` bytes from there."""

    files: tuple[tuple[str, int], ...]
    at: int = -1
    length: int = 0

    @property
    def is_part(self) -> bool:
        return self.at >= 0

    @property
    def size_bytes(self) -> int:
        return self.length if self.is_part else sum(size for _, size in self.files)


def portions_of(files: Iterable[tuple[str, int]]) -> list[Portion]:
    """These files, as (hash, size), in portions. In the tree's order: neighbours are alike, and pack better together."""
    portions: list[Portion] = []
    pack: list[tuple[str, int]] = []
    filled = 0
    for hash, size in dict(files).items():
        if size > WHOLE_BYTES:
            portions += parts_of(hash, size)
            continue
        if pack and filled + size > PACK_BYTES:
            portions.append(Portion(tuple(pack)))
            pack, filled = [], 0
        pack.append((hash, size))
        filled += size
    if pack:
        portions.append(Portion(tuple(pack)))
    return portions


def parts_of(hash: str, size: int) -> list[Portion]:
    starts = range(0, size, PART_BYTES)
    return [Portion(((hash, size),), at, min(PART_BYTES, size - at)) for at in starts]


def pack(contents: Iterable[bytes]) -> bytes:
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=False).compress(b"".join(contents))


def pack_documents(manifest: bytes, config: bytes, tree: bytes) -> bytes:
    """The three documents of an image: what says which files there are."""
    return pack([msgspec.msgpack.encode((manifest, config, tree))])


def unpack_documents(frame: bytes, digest: str) -> tuple[bytes, bytes, bytes]:
    """Manifest, config and tree of this image, checked from its digest down. Raises BadPack, BadImage."""
    try:
        told = zstandard.get_frame_parameters(frame).content_size
        if not 0 < told <= DOCUMENTS_BYTES:
            raise BadPack(f"it says to hold documents of {told} bytes")
        data = zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
        manifest, config, tree = msgspec.msgpack.decode(data, type=tuple[bytes, bytes, bytes])
    except (zstandard.ZstdError, ValueError, MemoryError, *UNREADABLE) as error:
        raise BadPack(f"its documents can't be read: {error}") from None
    if hashlib.sha256(manifest).hexdigest() != hash_of(digest):
        raise BadPack("its manifest is another image's")
    refs = parse_manifest(manifest)
    if not refs.tree:
        raise BadImage(f"image {digest} was refused", "its manifest names no tree: import it first")
    if (hashlib.sha256(config).hexdigest(), hashlib.sha256(tree).hexdigest()) != (refs.config, refs.tree):
        raise BadPack("its config or tree is not what the manifest names")
    parse_config(config)
    parse_tree(tree)
    return manifest, config, tree


def unpack(frame: bytes, sizes: Sequence[int]) -> list[bytes]:
    """The contents of a pack; nothing is unpacked that says to have another size than these together. Raises BadPack."""
    total = sum(sizes)
    try:
        told = zstandard.get_frame_parameters(frame).content_size
        if told != total:
            raise BadPack(f"it says to hold {told} bytes, not {total}")
        data = zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except (zstandard.ZstdError, ValueError, MemoryError) as error:
        raise BadPack(f"it can't be unpacked: {error}") from None
    if len(data) != total:
        raise BadPack(f"it holds {len(data)} bytes, not {total}")
    view, contents = memoryview(data), []
    for size in sizes:
        contents.append(bytes(view[:size]))
        view = view[size:]
    return contents
