"""The agent bundle: one archive with everything a host needs to run the agent. Joins `image` (packages, closure) and
`machines`.

`python -m skerry.client.bundle OUT` builds it (`make bundle`).
"""

from __future__ import annotations

from pathlib import Path

import msgspec


class Bundle(msgspec.Struct, frozen=True):
    """A bundle at `path`: gzipped tar whose only top directory is `version`; unpack it in /opt/skerry. `sha256` of
    the archive.
    """

    path: Path
    version: str
    sha256: str
    size_bytes: int


def read_bundle(path: Path) -> Bundle:
    """Look at a bundle: hash it, and read its version from its first entry. Raises BadFormat."""
    raise NotImplementedError


def build_bundle(out: Path, *, cache: Path, mirror: str = "") -> Bundle:
    """Build the bundle from Debian's packages, wheels and this package's own source into the file `out`."""
    raise NotImplementedError
