"""The user's file of known vulnerabilities, whichever of the forms it has: told by its content, read with bounds.

An OSV document, a list of them, an answer of OSV's API ({"vulns": […]}), a zip of documents as OSV exports an ecosystem, or
Debian's security tracker. A file of which something can't be read is refused: a part that was skipped would look like safety.
"""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from skerry.errors import BadFormat, BadInput
from skerry.image.audit.known import Known
from skerry.image.audit.osv import parse_osv
from skerry.image.audit.tracker import looks_like, parse_tracker
from skerry.image.origin import Ecosystem
from skerry.image.zips import NO_ZIP
from skerry.outside import UNREADABLE

MAX_FILE_BYTES = 1 << 30
MAX_MEMBERS = 1_000_000
MAX_DOCUMENT_BYTES = 16 << 20
MAX_ZIP_BYTES = 16 << 30

Wanted = Collection[tuple[Ecosystem, str]]


class BadDatabase(BadFormat):
    """A file of known vulnerabilities that isn't one, or of which a part can't be read."""

    code = "bad-database"


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    vulns: list[msgspec.Raw]
    next_page_token: str = ""


def read_database(path: Path, wanted: Wanted) -> list[Known]:
    """What the file says about these packages. Raises BadDatabase, BadInput for a file that isn't there."""
    try:
        if not path.is_file():
            raise BadInput("nothing was audited", f"there is no file {path}", "export one: see docs/images.md")
        if zipfile.is_zipfile(path):
            return list(_of_zip(path, wanted))
        if path.stat().st_size > MAX_FILE_BYTES:
            raise _bad(path, f"it has more than {MAX_FILE_BYTES >> 20} MiB")
        return list(parse_database(path.read_bytes(), wanted))
    except UNREADABLE as error:
        raise _bad(path, str(error)) from error
    except (OSError, *NO_ZIP) as error:
        raise _bad(path, str(error) or type(error).__name__) from error


def parse_database(data: bytes, wanted: Wanted) -> Iterator[Known]:
    """Of one JSON text. Raises msgspec.DecodeError, UnicodeDecodeError, RecursionError."""
    start = data.lstrip()[:1]
    if start == b"[":
        documents = msgspec.json.decode(data, type=list[msgspec.Raw])
        if not documents:
            raise msgspec.DecodeError("it holds nothing")
        for document in documents:
            yield from parse_osv(document, wanted)
    elif looks_like(data):
        yield from parse_tracker(data, wanted)
    else:
        keys = msgspec.json.decode(data, type=dict[str, msgspec.Raw]).keys()
        if "vulns" in keys:
            for document in msgspec.json.decode(data, type=_Answer).vulns:
                yield from parse_osv(document, wanted)
        elif "id" in keys:
            yield from parse_osv(data, wanted)
        else:
            raise msgspec.DecodeError("it is neither OSV nor Debian's tracker")


def _of_zip(path: Path, wanted: Wanted) -> Iterator[Known]:
    with zipfile.ZipFile(path) as archive:
        infos = [info for info in archive.infolist() if info.filename.endswith(".json")]
        if not infos:
            raise _bad(path, "the zip holds no .json file")
        if len(infos) > MAX_MEMBERS or sum(info.file_size for info in infos) > MAX_ZIP_BYTES:
            raise _bad(path, "the zip holds too much")
        for info in infos:
            with archive.open(info) as member:
                data = member.read(MAX_DOCUMENT_BYTES + 1)
            if len(data) > MAX_DOCUMENT_BYTES:
                raise _bad(path, f"{info.filename[:100]} has more than {MAX_DOCUMENT_BYTES >> 20} MiB")
            try:
                yield from parse_osv(data, wanted)
            except UNREADABLE as error:
                raise _bad(path, f"{info.filename[:100]}: {error}") from error


def _bad(path: Path, why: str) -> BadDatabase:
    fix = "give an export of OSV (all.zip of an ecosystem, or JSON), or the JSON of Debian's security tracker"
    return BadDatabase(f"{path} can't be used", why, fix)
