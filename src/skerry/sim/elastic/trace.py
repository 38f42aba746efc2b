"""Load traces as files: `minute,requests`, one line a minute, the first minute first."""

from __future__ import annotations

from pathlib import Path

from skerry.errors import BadFormat

HEAD = "minute,requests"
MINUTES_MAX = 10_000_000
REQUESTS_MAX = 10**12


class BadTrace(BadFormat):
    """A load trace is not `minute,requests` with a line for each minute."""

    code = "bad-trace"


def read(path: Path) -> list[int]:
    """Requests in each minute. A file that ends in .gz is unpacked."""
    try:
        text = _text(path)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BadTrace(
            f"{path} can't be read", str(error), "name a CSV file with the columns minute,requests"
        ) from error
    lines = text.splitlines()
    if not lines or lines[0].strip().replace(" ", "") != HEAD:
        raise _bad(path, 1, f"{lines[0][:60]!r} is not {HEAD!r}" if lines else "the file is empty")
    found: list[int] = []
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        minute, _, requests = line.partition(",")
        if not (_digits(minute) and _digits(requests)):
            raise _bad(path, number, f"{line[:60]!r} is not two whole numbers, as in 0,42")
        if int(minute) != len(found):
            raise _bad(path, number, f"minute {int(minute)} stands where minute {len(found)} should")
        if int(requests) > REQUESTS_MAX or len(found) >= MINUTES_MAX:
            raise _bad(path, number, f"at most {REQUESTS_MAX} requests a minute and {MINUTES_MAX} minutes are taken")
        found.append(int(requests))
    if not any(found):
        raise _bad(path, len(lines), "there is no minute with a request")
    return found


def _digits(text: str) -> bool:
    return text.strip().isascii() and text.strip().isdigit() and len(text) < 20


def _text(path: Path) -> str:
    if path.suffix == ".gz":
        import gzip

        return gzip.decompress(path.read_bytes()).decode()
    return path.read_text(encoding="utf-8")


def _bad(path: Path, line: int, why: str) -> BadTrace:
    return BadTrace(
        f"{path}, line {line}: this is no load trace", why, f"the first line is {HEAD}, then 0,42 and so on"
    )
