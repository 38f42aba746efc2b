"""Files from the network into the download cache, checked by size and hash. Knows nothing of what they are."""

from __future__ import annotations

import contextlib
import hashlib
import queue
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from skerry.image.contract import DownloadFailed, DownloadRefused
from skerry.image.kept import write_whole

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 30.0
SLOWEST_BYTES_S = 1000
TRIES = 3
AT_ONCE = 4  # connections, each used again: many look-ups of one name at a time are more than some resolvers bear
MAX_BYTES = 1 << 30
_CHECK = "check the network, or name another mirror in SKERRY_DEBIAN_MIRROR"
_ANOTHER = (
    "remove skerry.lock to lock what is there now; is it new, the mirror may be out of step: try again later, "
    "or name another in SKERRY_DEBIAN_MIRROR"
)


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
    """Fetch what isn't in its place yet; gives how many were fetched. Raises DownloadFailed, DownloadRefused."""
    todo = [want for want in wanted if not want.path.exists()]
    if todo:
        with _client() as client:
            _side_by_side(lambda want: _fetch_checked(client, want), todo)
    return len(todo)


class Sealed(msgspec.Struct, frozen=True):
    """A file to fetch that is known by its SHA-512 alone; at most `limit_bytes` are taken."""

    url: str
    path: Path
    sha512: bytes
    limit_bytes: int


_W = TypeVar("_W", Wanted, Sealed)


def fetch_sealed(wanted: Iterable[Sealed]) -> None:
    """Fetch these. Raises DownloadFailed, DownloadRefused."""

    def fetch(want: Sealed) -> bytes:
        data = _fetch(client, want.url, want.limit_bytes)
        if hashlib.sha512(data).digest() != want.sha512:
            raise DownloadRefused(f"{want.url} was refused", "its hash is not the locked one")
        return data

    with _client() as client:
        _side_by_side(fetch, list(wanted))


def _side_by_side(fetch: Callable[[_W], bytes], wanted: Sequence[_W]) -> None:
    """Fetch these, some at once, and write them. Its threads are waited for by nobody: a server that says nothing would hold up
    Ctrl-C, and the word of another's failure, for minutes. So they write nothing."""
    todo: queue.SimpleQueue[_W] = queue.SimpleQueue()
    came: queue.SimpleQueue[tuple[_W, bytes | BaseException]] = queue.SimpleQueue()
    over = threading.Event()
    for want in wanted:
        todo.put(want)

    def work() -> None:
        with contextlib.suppress(queue.Empty):
            while not over.is_set():
                want = todo.get_nowait()
                try:
                    came.put((want, fetch(want)))
                except BaseException as error:
                    came.put((want, error))

    for _ in range(min(AT_ONCE, len(wanted))):
        threading.Thread(target=work, name="fetch", daemon=True).start()
    try:
        for _ in wanted:
            want, data = came.get()
            if isinstance(data, BaseException):
                raise data
            write_whole(want.path, data)
    finally:
        over.set()


def fetch_bytes(url: str, limit_bytes: int = MAX_BYTES, authorities: str = "") -> bytes:
    """The body of a URL, at most `limit_bytes`. Tries again after what may pass. `authorities`: a file of certificates to trust
    instead of the usual ones. Raises DownloadFailed, DownloadRefused."""
    with _client(authorities) as client:
        return _fetch(client, url, limit_bytes)


def _client(authorities: str = "") -> httpx.Client:
    import httpx  # a tenth of a second that a build from the cache need not spend

    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    plain = {"accept-encoding": "identity"}
    trusted = ssl.create_default_context(cafile=authorities) if authorities else True
    return httpx.Client(timeout=TIMEOUT_S, limits=limits, headers=plain, follow_redirects=True, verify=trusted)


def _fetch(client: httpx.Client, url: str, limit_bytes: int) -> bytes:
    import httpx

    why = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(0.5 * attempt)
        try:
            with client.stream("GET", url) as answer:
                if answer.status_code in (404, 410):
                    raise Gone(f"{url} is gone", f"the server answered {answer.status_code}")
                if answer.status_code == 200:
                    return _body(answer, url, limit_bytes)
                why = f"the server answered {answer.status_code}"
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
    raise DownloadFailed(f"{url} could not be fetched", why, _CHECK)


def _body(answer: httpx.Response, url: str, limit_bytes: int) -> bytes:
    data = bytearray()
    began_s = time.monotonic()
    for block in answer.iter_raw():
        data += block
        if len(data) > limit_bytes:
            raise DownloadRefused(f"{url} was refused", f"it has more than {limit_bytes} bytes", _ANOTHER)
        took_s = time.monotonic() - began_s
        if took_s > TIMEOUT_S and len(data) < took_s * SLOWEST_BYTES_S:
            raise DownloadFailed(f"{url} could not be fetched", f"{len(data)} bytes in {took_s:.0f} s", _CHECK)
    return bytes(data)


def _fetch_checked(client: httpx.Client, want: Wanted) -> bytes:
    data = _fetch(client, want.url, want.size)
    if len(data) != want.size or hashlib.sha256(data).hexdigest() != want.sha256:
        raise DownloadRefused(
            f"{want.url} was refused",
            "its size or hash is not the signed or locked one",
            _ANOTHER,
        )
    return data
