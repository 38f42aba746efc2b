"""An image of the local store for other tools: an OCI layout (a folder or a tar of it), or a docker-archive. Plain or gzip, never
zstd, which Debian's skopeo and umoci refuse. Sources: OCI image-layout.md; Docker's image spec 1.2, "combined image JSON".
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import msgspec

from skerry.image.contract import BadImage, ImageNotFound, Objects
from skerry.image.manifest import Tree, parse_tree
from skerry.image.oci import MANIFEST_TYPE, hash_of, layer_of, parse_manifest
from skerry.outside import UNREADABLE


class _Sized(msgspec.Struct):
    size: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]


class _Layers(msgspec.Struct):
    layers: list[_Sized]


def export_layout(digest: str, objects: Objects, directory: Path, name: str = "latest") -> None:
    """Write the image as an OCI layout into `directory` (made if needed), under the tag `name`."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    documents, layer, tree = _parts(digest, objects)
    for hash in documents:
        (blobs / hash).write_bytes(objects.read(hash))
    whole = hashlib.sha256()
    with (blobs / layer).open("wb") as sink:
        for block in layer_of(tree, objects.read):
            whole.update(block)
            sink.write(block)
    if whole.hexdigest() != layer:
        raise BadImage(f"{digest} can't be exported", "its tree makes another layer than its manifest names")
    for path, data in _heads(digest, len(objects.read(hash_of(digest))), name):
        (directory / path).write_bytes(data)


def export_tar(digest: str, objects: Objects, out: Path, name: str = "latest", *, packed: bool = False) -> None:
    """Write the image as one tar of an OCI layout, `packed` by gzip. Equal images give equal bytes."""
    documents, layer, tree = _parts(digest, objects)
    manifest = objects.read(hash_of(digest))
    with _tar(out, packed) as tar:
        for path, data in _heads(digest, len(manifest), name):
            _add(tar, path, io.BytesIO(data), len(data))
        for hash in documents:
            data = objects.read(hash)
            _add(tar, f"blobs/sha256/{hash}", io.BytesIO(data), len(data))
        _add_layer(tar, f"blobs/sha256/{layer}", tree, objects, manifest)


def export_docker(digest: str, objects: Objects, out: Path, name: str, *, packed: bool = False) -> None:
    """Write the image as a docker-archive, as `docker load` wants it; `name`: such as "shop.web:latest"."""
    documents, layer, tree = _parts(digest, objects)
    config = documents[1]
    manifest = [{"Config": f"{config}.json", "RepoTags": [name], "Layers": [f"{layer}/layer.tar"]}]
    with _tar(out, packed) as tar:
        for path, data in ((f"{config}.json", objects.read(config)), ("manifest.json", json.dumps(manifest).encode())):
            _add(tar, path, io.BytesIO(data), len(data))
        _add_layer(tar, f"{layer}/layer.tar", tree, objects, objects.read(hash_of(digest)))


@contextmanager
def _tar(out: Path, packed: bool) -> Iterator[tarfile.TarFile]:
    """A new tar, whole under its name or not there."""
    part = out.with_name(f".{out.name}.part")
    try:
        with part.open("wb") as file:
            # No name and no time in the gzip header: equal images give equal bytes.
            sink: IO[bytes] = gzip.GzipFile("", "wb", 6, file, 0) if packed else file  # type: ignore[assignment]
            with tarfile.open(fileobj=sink, mode="w", format=tarfile.GNU_FORMAT) as tar:
                yield tar
            if packed:
                sink.close()
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def _parts(digest: str, objects: Objects) -> tuple[list[str], str, Tree]:
    manifest = hash_of(digest)
    if not objects.has(manifest):
        raise ImageNotFound(f"{digest} can't be exported", "the local store does not have it")
    refs = parse_manifest(objects.read(manifest))
    if not refs.tree:
        raise BadImage(f"{digest} can't be exported", "its manifest names no tree")
    return [manifest, refs.config], refs.layers[0], parse_tree(objects.read(refs.tree))


def _heads(digest: str, size: int, name: str) -> Iterator[tuple[str, bytes]]:
    annotations = {"org.opencontainers.image.ref.name": name}
    manifest = {"mediaType": MANIFEST_TYPE, "digest": digest, "size": size, "annotations": annotations}
    yield "oci-layout", b'{"imageLayoutVersion":"1.0.0"}'
    yield "index.json", json.dumps({"schemaVersion": 2, "manifests": [manifest]}, sort_keys=True).encode()


def _add(tar: tarfile.TarFile, path: str, source: io.BufferedIOBase, size: int) -> None:
    info = tarfile.TarInfo(path)
    info.size, info.mode = size, 0o644
    tar.addfile(info, source)


def _add_layer(tar: tarfile.TarFile, path: str, tree: Tree, objects: Objects, manifest: bytes) -> None:
    """A tar says a size before the bytes; the manifest has it, and may lie."""
    layer = _Blocks(layer_of(tree, objects.read))
    said = "anything but a size"
    try:
        said = f"{(size := msgspec.json.decode(manifest, type=_Layers).layers[0].size)} bytes"
        _add(tar, path, layer, size)
        is_true = not layer.read(1)
    except OSError as error:
        if error.errno is not None:
            raise
        is_true = False  # tarfile: less came than was said
    except UNREADABLE:
        is_true = False
    if not is_true:
        raise BadImage("the image can't be exported", f"its manifest says that the layer has {said}, which is not so")


class _Blocks(io.BufferedIOBase):
    """A layer's blocks as the file that tarfile wants."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")

    def read(self, size: int | None = -1, /) -> bytes:
        taken = bytearray()
        while size is None or size < 0 or len(taken) < size:
            if not self._rest:
                block = next(self._blocks, None)
                if block is None:
                    break
                self._rest = memoryview(block)
            want = len(self._rest) if size is None or size < 0 else size - len(taken)
            taken += self._rest[:want]
            self._rest = self._rest[want:]
        return bytes(taken)
