"""The agent bundle: one archive with all that a host needs to run the agent. How it is made: bundling.py.

Most commands that touch hosts need to know which one there is, so nothing heavy is imported here.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from pathlib import Path

import msgspec

import skerry
from skerry.errors import BadFormat, Refusal

PACKAGE = Path(skerry.__file__).parent


class NoBundle(Refusal):
    """There is no bundle to hand to a host."""

    code = "no-bundle"


class Bundle(msgspec.Struct, frozen=True):
    """A bundle at `path`: gzipped tar whose only top directory is `version`; unpack it in /opt/skerry.

    `sha256` of the archive; `size_bytes` of the archive.
    """

    path: Path
    version: str
    sha256: str
    size_bytes: int


def find_bundle() -> Bundle:
    """The bundle that goes with this program: $SKERRY_BUNDLE, the one that was shipped with it, or what `make
    bundle` made.
    """
    named = os.environ.get("SKERRY_BUNDLE")
    if named:
        return read_bundle(Path(named))
    for directory in (PACKAGE / "data", PACKAGE.parent.parent / "build" / "bundle"):
        found = sorted(directory.glob("skerry-agent-*.tar.gz"), key=lambda path: path.stat().st_mtime)
        if found:
            return read_bundle(found[-1])
    raise NoBundle("there is no agent bundle", "it was neither shipped nor built", "make bundle")


def read_bundle(path: Path) -> Bundle:
    """Look at a bundle: hash it, and read its version from its first entry. Raises BadFormat."""
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        with tarfile.open(path, "r:gz") as tar:
            first = tar.next()
    except (OSError, EOFError, tarfile.TarError) as error:
        raise BadFormat(f"{path} is not an agent bundle", str(error), "make bundle") from error
    version = first.name.split("/")[0] if first else ""
    if not re.fullmatch(r"[0-9][0-9A-Za-z.+]*-[0-9a-f]{8}", version):
        raise BadFormat(f"{path} is not an agent bundle", f"its first entry is {version!r}", "make bundle")
    return Bundle(path, version, sha256, path.stat().st_size)
