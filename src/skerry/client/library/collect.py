"""Making room: images that nothing refers to any more, and downloads that no build has asked for in a while."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skerry.errors import SkerryError
from skerry.image.contract import ImageIncomplete
from skerry.image.trees import Collected

if TYPE_CHECKING:
    from skerry.client.images import LocalImages

OLDER_THAN_S = 7 * 86400.0


def collect(images: LocalImages, *, older_than_s: float, downloads: bool, dry_run: bool) -> dict[str, Any]:
    """Remove what no name and no deploy refers to and is older than that; `downloads`: the cache of builds, too.

    An interruption leaves objects that nobody needs, which the next call finds. A kept image whose documents are damaged doesn't
    say what it needs: then no object is removed, and `damaged` names it.
    """
    before_s = time.time() - older_than_s
    kept = {*images.names.values(), *images.uses.values()}
    known = set(images.origins.digests()) | set(images.images.held())
    unnamed = sorted(digest for digest in known - kept if _when_s(images, digest) < before_s)
    kept |= known - set(unnamed)
    damaged = [digest for digest in sorted(kept) if _is_damaged(images, digest)]
    gone = Collected(0, 0)
    if not damaged:
        gone = images.collect(older_than_s=older_than_s, keep=kept, drop=unnamed, dry_run=dry_run)
        for digest in unnamed if not dry_run else ():
            images.images.forget(digest)
            images.origins.remove(digest)
    cached = _downloads(images.cache, before_s, dry_run) if downloads else 0
    if not dry_run:
        from skerry.client.trial.container import sweep

        sweep(images.trials)
    return {
        "images": unnamed if not damaged else [],
        "objects": gone.objects,
        "size_bytes": gone.bytes,
        "downloads_bytes": cached,
        "kept": len(kept),
        "damaged": damaged,
        "dry_run": dry_run,
    }


def _when_s(images: LocalImages, digest: str) -> float:
    """When it came, unix time."""
    origin = images.origins.get(digest)
    return origin.when_s if origin else time.time() - images.images.age_s(digest, time.time())


def _is_damaged(images: LocalImages, digest: str) -> bool:
    """Its documents can't be read, so what it needs is unknown. One that isn't here at all needs nothing."""
    try:
        images.images.objects(digest)
    except ImageIncomplete:
        return False
    except SkerryError:
        return True
    return False


def _downloads(cache: Path, before_s: float, dry_run: bool) -> int:
    """Their size. A package's plain tar and the list of what is in it go together, the list first: a build looks for that."""
    together: dict[tuple[Path, str], list[Path]] = {}
    for path in cache.rglob("*"):
        if path.is_file():
            together.setdefault((path.parent, path.name.partition(".")[0] or path.name), []).append(path)
    size_bytes = 0
    for paths in together.values():
        with contextlib.suppress(FileNotFoundError):
            statuses = [path.stat() for path in paths]
            if max(max(status.st_atime, status.st_mtime) for status in statuses) < before_s:
                size_bytes += sum(status.st_size for status in statuses)
                for path in sorted(paths, key=lambda path: path.suffix != ".msgpack") if not dry_run else ():
                    path.unlink()
    return size_bytes
