"""The kept history: images of earlier releases that hosts keep as long as there is room, so that going back moves no byte.

Each release names them itself: a host that was away, or whose records were lost, knows them as well as any other. By the
first digits of their digests, in one word for each earlier release: nothing is fetched or run because of it, two of one
name are both kept, and an update must stay small.
"""

from __future__ import annotations

from collections.abc import Mapping

from skerry.core.intent import Release

HISTORY = 10  # releases before the newest
SHORT = 8  # hex digits


def short(image: str) -> str:
    """ "sha256:0123456789abcdef…" -> "01234567"."""
    return image[7 : 7 + SHORT]


def earlier_of(replaced: Release | None, images: Mapping[str, str]) -> tuple[str, ...]:
    """What a release of `images` names of those before it: the last one first, each image once, none of its own.

    Of each release a line of names with spaces between.
    """
    if replaced is None:
        return ()
    seen = {short(image) for image in images.values()}
    earlier = []
    for line in (" ".join(sorted({short(image) for image in replaced.images.values()})), *replaced.earlier):
        if left := [name for name in line.split() if name not in seen]:
            earlier.append(" ".join(left))
            seen.update(left)
    return tuple(earlier[:HISTORY])
