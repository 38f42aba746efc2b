"""The same trees by way of a registry: Debian's docker-registry, skopeo on both sides, its wire counted.

Everything is in the registry's favour: no TLS; skopeo keeps its memory of blobs between the pushes; the second pull goes to
where the first one is; layers are gzip, as skopeo pushes them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.images.apps import WORK, App, Version
from bench.images.wire import Wire
from skerry.image.contract import Objects
from skerry.image.manifest import Tree
from skerry.image.oci import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE, layer_of

HOME = WORK / "registry"
START_S = 20.0


def second_version(app: App, layers: int) -> tuple[int, int]:
    """(bytes of the second push, of the second pull), both ways, of an app in so many layers."""
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    for tag, version in (("1", app.old), ("2", app.new)):
        write_layout(HOME / "pushed", tag, version, layers, app.images.objects)
    with _registry() as port, Wire(port) as wire:
        there = f"docker://127.0.0.1:{wire.port}/app"
        pushed = [_copy(wire, f"oci:{HOME}/pushed:{tag}", f"{there}:{tag}") for tag in "12"]
        pulled = [_copy(wire, f"{there}:{tag}", f"oci:{HOME}/pulled:{tag}") for tag in "12"]
    return pushed[1], pulled[1]


def write_layout(folder: Path, tag: str, version: Version, layers: int, objects: Objects) -> None:
    """Add a version to an OCI layout, as a build tool leaves it that puts what changes least lowest."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    diffs = [_layer(tree, objects, blobs) for tree in version.layers(layers)]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["python3"]},
        "rootfs": {"type": "layers", "diff_ids": [diff["digest"] for diff in diffs]},
    }
    manifest = {"schemaVersion": 2, "config": _blob(blobs, config, CONFIG_TYPE), "layers": diffs}
    entry = _blob(blobs, manifest, MANIFEST_TYPE) | {"annotations": {"org.opencontainers.image.ref.name": tag}}
    index = folder / "index.json"
    entries = json.loads(index.read_text())["manifests"] if index.exists() else []
    index.write_text(json.dumps({"schemaVersion": 2, "manifests": [*entries, entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


def _layer(tree: Tree, objects: Objects, blobs: Path) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    part = blobs / "part"
    with part.open("wb") as sink:
        for block in layer_of(tree, objects.read):
            digest.update(block)
            size += sink.write(block)
    part.replace(blobs / digest.hexdigest())
    return {"mediaType": LAYER_TYPE, "digest": f"sha256:{digest.hexdigest()}", "size": size}


def _blob(blobs: Path, value: Any, kind: str) -> dict[str, Any]:
    data = json.dumps(value).encode()
    hash = hashlib.sha256(data).hexdigest()
    (blobs / hash).write_bytes(data)
    return {"mediaType": kind, "digest": f"sha256:{hash}", "size": len(data)}


@contextmanager
def _registry() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = HOME / "config.yml"
    config.write_text(
        json.dumps(
            {
                "version": 0.1,
                "log": {"level": "error", "accesslog": {"disabled": True}},
                "storage": {"filesystem": {"rootdirectory": str(HOME / "data")}},
                "http": {"addr": f"127.0.0.1:{port}"},
            }
        )
    )
    with (HOME / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
    try:
        deadline_s = time.monotonic() + START_S
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"docker-registry does not answer: {(HOME / 'log').read_text()[-500:]}")
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _copy(wire: Wire, source: str, target: str) -> int:
    """Gives the bytes of both ways. Skopeo's memory of blobs is root's own, below /var/lib/containers/cache."""
    plain = "--src-tls-verify=false" if source.startswith("docker:") else "--dest-tls-verify=false"
    done = subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "-q", plain, source, target], capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"skopeo copy {source} {target}: {done.stderr[-500:]}")
    return wire.take()
