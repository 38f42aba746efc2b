"""Names on this machine that are this checkout's own: others may run the same tests beside us."""

from __future__ import annotations

import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "build" / "cache"
MARK = hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]


def share_downloads(images: Path) -> None:
    """A home's images use the downloads of all tests, which are kept between runs."""
    images.mkdir(parents=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    (images / "cache").symlink_to(CACHE)


def lab_name(word: str) -> str:
    return f"{word.replace('_', '-')[:17].rstrip('-')}-{MARK}"
