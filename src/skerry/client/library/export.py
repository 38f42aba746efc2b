"""An image into a file or folder that other tools read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from skerry.errors import BadInput
from skerry.image.export import export_docker, export_layout, export_tar
from skerry.store.disk import full_disk_told

if TYPE_CHECKING:
    from skerry.client.images import LocalImages

Format = Literal["oci", "docker"]
PACKED = (".tar.gz", ".tgz")


def export(images: LocalImages, ref: str, path: Path, format: Format) -> str:
    """Write what `ref` names to `path`, by the ending: .tar, .tar.gz or .tgz is one file, anything else the folder of an OCI
    layout. Gives the digest. Nothing half-written stays. Raises ImageNotFound, BadInput, DiskFull."""
    if path.exists():
        raise BadInput("nothing was exported", f"{path} is there already", "name another path")
    if path.name.endswith((".zst", ".zstd")):
        why = "many tools refuse archives that zstd packed"
        raise BadInput("nothing was exported", why, "name it .tar or .tar.gz")
    one_file = path.name.endswith((".tar", *PACKED))
    if format == "docker" and not one_file:
        raise BadInput("nothing was exported", "a docker-archive is one file", f"name it {path.name}.tar")
    digest = images.find(ref)
    name = next((name for name, named in sorted(images.names.items()) if named == digest), "")
    packed = path.name.endswith(PACKED)
    try:
        with full_disk_told(path.parent):
            if format == "docker":
                export_docker(digest, images.objects, path, _tag(ref if ref in images.names else name), packed=packed)
            elif one_file:
                export_tar(digest, images.objects, path, packed=packed)
            else:
                _layout(digest, images, path)
    except OSError as error:
        raise BadInput("nothing was exported", f"{path}: {error.strerror}", "check the path") from None
    return digest


def _layout(digest: str, images: LocalImages, path: Path) -> None:
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of one that was killed: blobs of another image may be in it
    try:
        export_layout(digest, images.objects, part)
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _tag(name: str) -> str:
    """As `docker load` wants a name: with a tag."""
    last = name.rpartition("/")[2]
    return name if ":" in last else f"{name or 'skerry'}:latest"
