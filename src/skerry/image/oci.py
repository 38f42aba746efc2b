"""From a tree and a config to an OCI image, as pure functions: the layer, the config, the manifest, and the way back.

The image's digest is the SHA-256 of the OCI manifest, which names the tree manifest in an annotation. One
uncompressed layer: compressed bytes depend on the compressor's build, so they are never named by a digest that
somebody signs. Nothing here touches a file; contents come through a function. Source: OCI image spec 1.0,
image-layout.md, manifest.md, config.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from skerry.image.contract import BadImage
from skerry.image.manifest import Tree
from skerry.outside import UNREADABLE

TREE_ANNOTATION = "dev.skerry.tree"
EXECUTABLES_LABEL = "dev.skerry.executables"
INIT_LABEL = "dev.skerry.init"
TOOLS_LABEL = "dev.skerry.tools"
INPUT_LABEL = "dev.skerry.input"
INITIALISED_BY_LABEL = "dev.skerry.initialised-by"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
MAX_JSON_BYTES = 1 << 20
DIGEST = re.compile(r"sha256:([0-9a-f]{64})\Z")

Read = Callable[[str], bytes]
"""Gives a file's content by its hash."""


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How an image wants to be run. `user` as "10001:10001" or a name; `exposed` as "8000/tcp"; `env` in order.

    `executables`: the paths that may run in it, as its builder declared them; none for an image that others made. `init`: it
    is run once before a service, never as one, and only so may it hold a declared shell. `initialised_by`: digest of the init
    image that a service of this one needs. `input`: the hash of what somebody else built, where it was made of such. `volumes`:
    where it keeps data. `tools`: it is run beside containers that somebody looks into, never as an app.
    """

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    user: str = ""
    working_dir: str = "/"
    exposed: tuple[str, ...] = ()
    stop_signal: str = ""
    architecture: str = "amd64"
    input: str = ""
    executables: tuple[str, ...] = ()
    init: bool = False
    initialised_by: str = ""
    volumes: tuple[str, ...] = ()
    tools: bool = False


class Image(msgspec.Struct, frozen=True):
    """An image's three documents: OCI manifest and config as bytes, and the tree that both stand for."""

    manifest: bytes
    config: bytes
    tree: Tree

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.manifest).hexdigest()


class Refs(msgspec.Struct, frozen=True):
    """What an OCI manifest names, as hex hashes; `tree` is empty for an image that isn't Skerry's."""

    config: str
    layers: tuple[str, ...]
    tree: str


def assemble(tree: Tree, config: ImageConfig, read: Read) -> Image:
    """The image of a tree. Reads every file once, for the layer's hash."""
    layer, layer_bytes = hashlib.sha256(), 0
    for block in layer_of(tree, read):
        layer.update(block)
        layer_bytes += len(block)
    diff_id = "sha256:" + layer.hexdigest()
    config_json = encode_config(config, diff_id)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": _digest(config_json), "size": len(config_json)},
        "layers": [{"mediaType": LAYER_TYPE, "digest": diff_id, "size": layer_bytes}],
        "annotations": {TREE_ANNOTATION: tree.sha256},
    }
    return Image(_json(manifest), config_json, tree)


def layer_of(tree: Tree, read: Read) -> Iterator[bytes]:
    """The uncompressed layer, block by block: GNU tar in the tree's order, owner 0:0, time 0. Equal trees give equal
    bytes.
    """
    import tarfile  # hosts read what images say of themselves, and make no layers

    for entry in tree.entries:
        info = tarfile.TarInfo(entry.path)
        info.mode = entry.mode
        if entry.kind == "d":
            info.type = tarfile.DIRTYPE
        elif entry.kind == "l":
            info.type, info.linkname = tarfile.SYMTYPE, entry.link
        else:
            info.size = entry.size
        yield info.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")
        if entry.kind == "f" and entry.size:
            data = read(entry.sha256)
            if len(data) != entry.size:
                raise BadImage(
                    f"{entry.path} can't be packed", f"it has {len(data)} bytes, its manifest says {entry.size}"
                )
            yield data
            if rest := entry.size % tarfile.BLOCKSIZE:
                yield bytes(tarfile.BLOCKSIZE - rest)
    yield bytes(2 * tarfile.BLOCKSIZE)


def encode_config(config: ImageConfig, diff_id: str) -> bytes:
    """The OCI config JSON; empty fields are left out."""
    labels = {
        EXECUTABLES_LABEL: json.dumps(sorted(config.executables)) if config.executables else "",
        INIT_LABEL: "true" if config.init else "",
        TOOLS_LABEL: "true" if config.tools else "",
        INITIALISED_BY_LABEL: config.initialised_by,
        INPUT_LABEL: config.input,
    }
    inner: dict[str, Any] = {
        "Entrypoint": list(config.entrypoint),
        "Cmd": list(config.cmd),
        "Env": [f"{name}={value}" for name, value in config.env],
        "User": config.user,
        "WorkingDir": config.working_dir,
        "ExposedPorts": {port: {} for port in config.exposed},
        "StopSignal": config.stop_signal,
        "Volumes": {path: {} for path in config.volumes},
        "Labels": {name: value for name, value in labels.items() if value},
    }
    return _json(
        {
            "architecture": config.architecture,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {key: value for key, value in inner.items() if value},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        }
    )


def parse_config(data: bytes) -> ImageConfig:
    """Read an OCI (or Docker) config JSON; unknown fields are ignored, wrong types are not. Raises BadImage."""
    outer = _load(data, "config")
    try:
        inner = msgspec.convert(outer.get("config") or {}, _Inner)
        architecture = msgspec.convert(outer.get("architecture", "amd64"), str)
    except msgspec.ValidationError as error:
        raise BadImage("an image config was refused", str(error)) from error
    labels = inner.Labels or {}
    initialised_by = str(labels.get(INITIALISED_BY_LABEL, ""))
    if initialised_by:
        hash_of(initialised_by)
    env = tuple((name, value) for name, _, value in (pair.partition("=") for pair in inner.Env or ()))
    return ImageConfig(
        entrypoint=tuple(inner.Entrypoint or ()),
        cmd=tuple(inner.Cmd or ()),
        env=env,
        user=inner.User or "",
        working_dir=inner.WorkingDir or "/",
        exposed=tuple(sorted(inner.ExposedPorts or ())),
        stop_signal=inner.StopSignal or "",
        architecture=architecture,
        executables=_executables(labels.get(EXECUTABLES_LABEL, "[]")),
        init=labels.get(INIT_LABEL) == "true",
        tools=labels.get(TOOLS_LABEL) == "true",
        input=str(labels.get(INPUT_LABEL, "")),
        initialised_by=initialised_by,
        volumes=tuple(sorted(inner.Volumes or ())),
    )


def _executables(text: object) -> tuple[str, ...]:
    try:
        return tuple(sorted(msgspec.json.decode(str(text), type=list[str])))
    except UNREADABLE as error:
        raise BadImage("an image config was refused", f"its label {EXECUTABLES_LABEL} is no list: {error}") from error


def parse_manifest(data: bytes) -> Refs:
    """Read an OCI or Docker (schema 2) manifest. Raises BadImage."""
    outer = _load(data, "manifest")
    try:
        manifest = msgspec.convert(outer, _Manifest)
    except msgspec.ValidationError as error:
        raise BadImage("an image manifest was refused", str(error)) from error
    tree = (manifest.annotations or {}).get(TREE_ANNOTATION, "")
    if tree and not DIGEST.match("sha256:" + tree):
        raise BadImage("an image manifest was refused", f"its annotation {TREE_ANNOTATION} is not a hash")
    if not 1 <= len(manifest.layers) <= 128:
        raise BadImage("an image manifest was refused", f"it has {len(manifest.layers)} layers")
    return Refs(hash_of(manifest.config.digest), tuple(hash_of(layer.digest) for layer in manifest.layers), tree)


def hash_of(digest: str) -> str:
    """The hex part of "sha256:<hex>". Raises BadImage for anything else."""
    found = DIGEST.match(digest)
    if not found:
        raise BadImage(f"{digest[:100]!r} is not an image's digest", "it must be sha256: and 64 hex digits")
    return found[1]


class _Inner(msgspec.Struct):
    Entrypoint: list[str] | None = None
    Cmd: list[str] | None = None
    Env: list[str] | None = None
    User: str | None = None
    WorkingDir: str | None = None
    ExposedPorts: dict[str, Any] | None = None
    StopSignal: str | None = None
    Labels: dict[str, Any] | None = None
    Volumes: dict[str, Any] | None = None


class _Descriptor(msgspec.Struct):
    digest: str


class _Manifest(msgspec.Struct):
    config: _Descriptor
    layers: list[_Descriptor]
    annotations: dict[str, str] | None = None


def _load(data: bytes, name: str) -> dict[str, Any]:
    if len(data) > MAX_JSON_BYTES:
        raise BadImage(f"an image {name} was refused", f"it has more than {MAX_JSON_BYTES} bytes")
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except UNREADABLE as error:
        raise BadImage(f"an image {name} was refused", f"it is not a JSON object: {error}") from error


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
