"""What the image room asks of others and how it refuses: the objects it keeps files in, and its errors. No code
lives here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from skerry.errors import BadFormat, BadInput, Passing, Refusal


class Objects(Protocol):
    """Files by the SHA-256 of their content (64 lower-case hex digits). `store.objects` is one; tests have one in
    memory.

    An object, once there, never changes: root trees are made of hard links to `path`.
    """

    def put(self, data: bytes) -> str:
        """Keep it, and give its hash. The same again changes nothing."""
        ...

    def has(self, hash: str, /) -> bool: ...

    def read(self, hash: str, /) -> bytes:
        """The whole content. Only for objects that are there (`has`)."""
        ...

    def verify(self, hash: str, /) -> bool:
        """Read it through. False: it isn't there, or it was damaged, and then it no longer is."""
        ...

    def path(self, hash: str, /) -> Path:
        """The file that holds it. Its mtime is when it came."""
        ...

    def remove(self, hash: str, /) -> None:
        """Already gone counts as removed."""
        ...

    def __iter__(self) -> Iterator[str]:
        """The hashes of all objects."""
        ...


class BadImage(BadFormat):
    """A tree manifest, OCI manifest, config, layer or archive that breaks its format or a bound."""

    code = "bad-image"


class ImageTooLarge(Refusal):
    """It doesn't fit into what this host's disk has for images. `lacking_bytes`: how much more room it would take."""

    code = "image-too-large"

    def __init__(self, digest: str, needs_bytes: int, spare_bytes: int) -> None:
        super().__init__(
            f"image {digest[7:19]} is too large for the budget",
            f"it needs {needs_bytes / 1e6:.1f} MB more, {max(spare_bytes, 0) / 1e6:.1f} MB are left for images on this host",
            "give a host more for images: skerry host budget NAME SIZE; or make the image smaller",
        )
        self.lacking_bytes = needs_bytes - spare_bytes


class ImageNotFound(BadInput):
    """No such image here: a digest or a name that the local store doesn't hold, or a path without an image."""

    code = "image-not-found"


class ImageIncomplete(Passing):
    """Objects of this image are still missing: fetch what `Images.missing` names."""

    code = "image-incomplete"


class BuildRefused(Refusal):
    """The recipe can't be built as it stands: an unknown package, an unresolved library, an empty glob."""

    code = "build-refused"


class DownloadFailed(Passing):
    """A mirror or a package index couldn't be reached, or gave less than it promised."""

    code = "download-failed"


class DownloadRefused(Refusal):
    """What was downloaded isn't what was signed or locked: a wrong hash, a bad signature, a package that is gone."""

    code = "download-refused"
