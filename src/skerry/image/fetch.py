"""Files from the network into the download cache, checked by size and hash. Knows nothing of what they are."""

from __future__ import annotations

import hashlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import msgspec

from skerry.image.contract import DownloadFailed, DownloadRefused

TIMEOUT_S = 30.0
TRIES = 3
AT_ONCE = 6
MAX_BYTES = 1 << 30


class Gone(DownloadRefused):
    """The server answers, but no longer has it."""

    code = "download-gone"


class Wanted(msgspec.Struct, frozen=True):
    """A file to fetch: kept at `path` once it has this size (bytes) and SHA-256 (hex)."""

    url: str
    path: Path
    sha256: str
    size: int


def fetch_all(wanted: Iterable[Wanted]) -> int:
    """Fetch what isn't in its place yet, some at once; gives how many were fetched. Raises DownloadFailed,
    DownloadRefused.
    """
    todo = [want for want in wanted if not want.path.exists()]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(_fetch_into, todo))
    return len(todo)


def fetch_bytes(url: str, limit_bytes: int = MAX_BYTES) -> bytes:
    """The body of a URL, at most `limit_bytes`. Tries again after what may pass. Raises DownloadFailed, Gone."""
    why = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(0.5 * attempt)
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
                data: bytes = answer.read(limit_bytes + 1)
            if len(data) > limit_bytes:
                raise DownloadRefused(f"{url} was refused", f"it has more than {limit_bytes} bytes")
            return data
        except urllib.error.HTTPError as error:
            if error.code in (404, 410):
                raise Gone(f"{url} is gone", f"the server answered {error.code}") from error
            why = f"the server answered {error.code}"
        except (OSError, HTTPException) as error:  # URLError is an OSError
            why = str(error)
    raise DownloadFailed(f"{url} could not be fetched", why, "check the network, or name another mirror by --mirror")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file of the cache so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(data)
    part.replace(path)


def _fetch_into(want: Wanted) -> None:
    data = fetch_bytes(want.url, want.size)
    if len(data) != want.size or hashlib.sha256(data).hexdigest() != want.sha256:
        raise DownloadRefused(
            f"{want.url} was refused",
            "its size or hash is not the signed or locked one",
            "the mirror may be out of step: try again later, or name another by --mirror",
        )
    write_whole(want.path, data)
