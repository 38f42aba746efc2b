"""A first copy: what travels when nothing of the image is known, against its whole layer in one zstd -3 stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import zstandard

from bench.images import apps, hops, sizes
from skerry.image.contract import Objects
from skerry.image.manifest import Tree
from skerry.image.oci import layer_of


def measure(tell: Callable[[str], None]) -> dict[str, Any]:
    """`cold_ratio`: the worst of these images, and of the two hops. All messages count, questions too."""
    figures: dict[str, Any] = {}
    ratios: dict[str, float] = {}
    for name, (version, images) in _images(tell).items():
        ((up, across),) = hops.travel([version], images)
        layer = _compressed(version.tree, images.objects)
        figures |= {f"cold_bytes_up_{name}": up.transfer, f"cold_bytes_across_{name}": across.transfer}
        figures[f"cold_layer_{name}"] = layer
        ratios[name] = round(max(up.transfer, across.transfer) / layer, 3)
        tell(f"{name}: {up.transfer} to the host, {across.transfer} from there, {layer} as a layer")
    return {"cold_ratio": max(ratios.values()), "cold_ratio_each": ratios, **figures}


def _images(tell: Callable[[str], None]) -> dict[str, tuple[apps.Version, Any]]:
    project = apps.project(tell)
    found = {"project": (project.old, project.images)}
    for name in ("python", "redis", "postgresql"):
        if name in sizes.KINDS:
            digest = sizes.built(name, project.images)
            found[name] = apps.Version(digest, project.images.images.tree(digest)), project.images
    return found


def _compressed(tree: Tree, objects: Objects) -> int:
    compressor = zstandard.ZstdCompressor(level=3).compressobj()
    size = sum(len(compressor.compress(block)) for block in layer_of(tree, objects.read))
    return size + len(compressor.flush())
