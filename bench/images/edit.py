"""One line changed in an application: what travels, against the bound, and against a registry in the same run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.images import apps, hops, registry
from bench.images.bound import bundle_bound
from bench.images.trees import kept, with_files
from skerry.core.history import HISTORY
from skerry.image.bundle import Version as Documents
from skerry.image.bundle import make_bundle, version_of
from skerry.image.contract import Objects
from skerry.image.manifest import tree_of


def bundle(old: apps.Version, new: apps.Version, objects: Objects) -> bytes:
    """What an agent or an operator would send to who has the old one."""
    return make_bundle(documents(old, objects), documents(new, objects), objects.read)


def documents(version: apps.Version, objects: Objects) -> Documents:
    return version_of(version.digest, objects.read)


def measure(tell: Callable[[str], None]) -> dict[str, Any]:
    project, guestbook = apps.project(tell), apps.guestbook(tell)
    figures: dict[str, Any] = {}
    worst = {"bytes": 0, "bound": 0.0, "registry_1": 0.0, "registry_3": 0.0}
    for app in (project, guestbook):
        told = _of(app, tell)
        figures |= {f"edit_{key}_{app.name}": value for key, value in told.items()}
        worst["bytes"] = max(worst["bytes"], told["bytes"])
        worst["bound"] = max(worst["bound"], told["payload"] / told["bound"])
        for layers in (1, 3):
            ratio = max(told["bytes_up"] / told[f"push_{layers}"], told["bytes_across"] / told[f"pull_{layers}"])
            worst[f"registry_{layers}"] = max(worst[f"registry_{layers}"], ratio)
    return {
        "edit_bytes": worst["bytes"],
        "edit_vs_bundle_bound": round(worst["bound"], 2),
        "edit_vs_registry_1": round(worst["registry_1"], 6),
        "edit_vs_registry_3": round(worst["registry_3"], 4),
        **figures,
    }


def _of(app: apps.App, tell: Callable[[str], None]) -> dict[str, Any]:
    objects = app.images.objects
    old, new = app.old, app.new
    # Ten releases before, of whatever: by then a release names as many as it ever does, for hosts to keep.
    programs = [with_files(tree_of([]), {"app": b"program %d" % n}, objects, 0o755) for n in range(HISTORY)]
    earlier = [kept(tree, objects) for tree in programs]
    *_, (up, across) = hops.travel([*earlier, old, new], app.images)
    tell(f"{app.name}: to the host {up}")
    tell(f"{app.name}: host to host {across}")
    told = {
        "entries": len(new.tree.entries),
        "payload": len(bundle(old, new, objects)),
        "bound": bundle_bound(old.tree, new.tree, objects),
        "bytes": max(up.bytes, across.bytes),
        "bytes_up": up.bytes,
        "bytes_across": across.bytes,
        "tls_bytes_up": up.with_tls,
        "tls_bytes_across": across.with_tls,
        "talk_bytes": up.talk,
    }
    for layers in (1, 3):
        told[f"push_{layers}"], told[f"pull_{layers}"] = registry.second_version(app, layers)
    return told
