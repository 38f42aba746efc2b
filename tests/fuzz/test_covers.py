"""The table of what is fuzzed (covers.py) is true, and whole."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from fuzz import corpus
from fuzz.covers import COVERS, OWN
from fuzz.targets import TARGETS, run, seeds

SOURCE = Path(__file__).parents[2] / "src" / "skerry"
READS = re.compile(
    r"json\.loads?\(|msgspec\.(json|msgpack)\.decode\(|Decoder\(|YAML\(|tomllib\.loads?\(|ET\.fromstring\(|open_tar\(|tarfile\.open\("
    r"|ZipFile\(|\.unpack(_from)?\(|parse_qs\(|query_params|shlex\.split\(|DNSRecord\.parse\(|message_from_|BytesHeaderParser\("
)
ELSEWHERE = ("lab", "sim")  # take nothing from others


def test_each_target_stands_in_the_table_once() -> None:
    assert set(COVERS) == set(TARGETS)


@pytest.mark.parametrize("name", COVERS)
def test_a_target_runs_through_the_modules_that_the_table_says(name: str) -> None:
    wanted = {str(import_module(f"skerry.{module}").__file__) for module in COVERS[name]}
    for data in [*seeds(name), *corpus.read(name)]:
        wanted -= _files(lambda data=data: run(name, data))  # type: ignore[misc]
    assert not wanted


def _files(act: Callable[[], object]) -> set[str]:
    """Those whose functions it calls."""
    found = set()

    def called(frame: FrameType, event: str, argument: Any) -> None:
        found.add(frame.f_code.co_filename)

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        act()
    finally:
        sys.setprofile(before)
    return found


def test_no_module_reads_bytes_without_a_target_or_a_reason() -> None:
    """A new reader of JSON, msgpack, TOML, tar and the like needs a target, or says whose bytes these are."""
    reading = {
        ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        for path in SOURCE.rglob("*.py")
        if path.relative_to(SOURCE).parts[0] not in ELSEWHERE and READS.search(path.read_text())
    }
    fuzzed = {module for modules in COVERS.values() for module in modules}
    assert reading - fuzzed - set(OWN) == set()
    assert set(OWN) & fuzzed == set(), "it has a target now"
    assert set(OWN) - reading == set(), "it reads nothing any more"
