"""What others wrote is what they published, and its licence goes with it; what we wrote makes no markup out of strings."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

STATIC = Path(__file__).resolve().parents[2] / "src" / "skerry" / "ui" / "static"
VENDORED = {
    "addon-fit.js": "2d87e1bddc73be9111de8beee5370c3bb7aac9c94e18e6f245f02ca741ef1769",
    "htm-preact.js": "72284e8e9079c87817145df1110f74e8a2aa040b2fc384922e18dfcb46fc1fd7",
    "uplot.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "uplot.js": "5dd9b3281aa64b461b42d9945f6adb2649d346502b12281a9ae0d46599a80eba",
    "xterm.css": "854a7c0fb70e8b1a083c16797ab827299fb18744f5ad34f227b48337e33293c6",
    "xterm.js": "b336ec65a086c056d4804b3d4c2347da5663d3f23c3f25be866467bd8857ad59",
}
LICENCES = {"addon-fit", "htm", "preact", "uplot", "xterm"}
AXE = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"


def test_vendored_files_are_the_published_ones() -> None:
    there = {path.name: path for path in (STATIC / "vendor").iterdir()}
    assert {name for name in there if name.endswith((".js", ".css"))} == set(VENDORED)
    assert {name: hashlib.sha256(there[name].read_bytes()).hexdigest() for name in VENDORED} == VENDORED
    assert {name.removesuffix(".LICENSE") for name in there if name.endswith(".LICENSE")} == LICENCES
    assert hashlib.sha256((Path(__file__).parent / "vendor" / "axe.min.js").read_bytes()).hexdigest() == AXE


@pytest.mark.parametrize("path", sorted((STATIC / "js").glob("*.js")), ids=lambda path: path.name)
def test_no_markup_is_made_of_strings_and_nothing_is_fetched_from_elsewhere(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|dangerously|document\.write|\beval\b|new Function", text)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)


def test_the_page_has_no_script_or_style_of_its_own() -> None:
    text = (STATIC / "index.html").read_text()
    assert not re.search(r"<script(?![^>]* src=\"/static/)|<style| style=| on[a-z]+=", text)
