"""The corpus in git: tests/fuzz/corpus/TARGET.txt, an input a line as Python writes bytes; a line that begins with # says why.

What is in it reached lines of the modules in question that no seed of the target reaches, or failed once. `minimised` chooses it from
what atheris has gathered in build/fuzz; `make test` runs all of it.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

FOLDER = Path(__file__).parent / "corpus"
INPUT_BYTES = 4096  # of one that reached something; what failed is kept whole
TARGET_BYTES = 9000  # as text, without what failed

Edge = tuple[CodeType, int, int]


def read(name: str) -> list[bytes]:
    return [data for data, _ in _lines(name)]


def finds(name: str) -> list[bytes]:
    """Those that failed once: a line before each says how."""
    return [data for data, why in _lines(name) if why]


def _lines(name: str) -> list[tuple[bytes, str]]:
    path, found, why = FOLDER / f"{name}.txt", [], ""
    for line in path.read_text("ascii").splitlines() if path.exists() else ():
        if line.startswith("#"):
            why = line
        else:
            found.append((ast.literal_eval(line), why))
            why = ""
    return found


def add_find(name: str, data: bytes, why: str) -> None:
    """An input that failed stays for good, with what it raised."""
    if data not in read(name):
        _write(
            name,
            [*_lines(name), (data, "# " + why.encode("ascii", "backslashreplace").decode().replace("\n", " ")[:120])],
        )


def keep(name: str, chosen: Iterable[bytes]) -> None:
    failed = [(data, why) for data, why in _lines(name) if why]
    _write(name, [*((data, "") for data in chosen if data not in dict(failed)), *failed])


def _write(name: str, lines: list[tuple[bytes, str]]) -> None:
    FOLDER.mkdir(exist_ok=True)
    text = "".join(f"{why}\n{data!r}\n" if why else f"{data!r}\n" for data, why in lines)
    (FOLDER / f"{name}.txt").write_text(text, "ascii")


def minimised(
    run: Callable[[bytes], Any], seeds: list[bytes], gathered: Iterable[bytes], files: set[str]
) -> list[bytes]:
    """The shortest of `gathered` that reach steps from line to line of `files` which the seeds and shorter ones do not."""
    reached: set[Edge] = set()
    for seed in seeds:
        reached |= edges(run, seed, files)
    chosen, room = [], TARGET_BYTES
    for data in sorted(set(gathered), key=lambda data: (len(data), hashlib.sha256(data).digest())):
        cost = len(repr(data)) + 1
        if len(data) <= INPUT_BYTES and cost <= room and (new := edges(run, data, files) - reached):
            reached |= new
            chosen.append(data)
            room -= cost
    return chosen


def edges(run: Callable[[bytes], Any], data: bytes, files: set[str]) -> set[Edge]:
    """The steps from line to line within `files` that the run takes."""
    found: set[Edge] = set()

    def called(frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if code.co_filename not in files:
            return None
        last = 0

        def stepped(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal last
            if event == "line":
                found.add((code, last, frame.f_lineno))
                last = frame.f_lineno
            return stepped

        return stepped

    before = sys.gettrace()
    sys.settrace(called)
    try:
        run(data)
    except Exception:  # a find, which its own run tells
        pass
    finally:
        sys.settrace(before)
    return found
