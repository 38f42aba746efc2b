"""`skerry image audit`: lists of known vulnerabilities in their real forms, and files that are none."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from library.conftest import Home
from skerry.image.audit.known import Known, Range, findings, keys_of
from skerry.image.audit.osv import parse_osv
from skerry.image.audit.severity import cvss_score, severity_of_score
from skerry.image.audit.versions import compare_in
from skerry.image.origin import Part


def osv(id: str, ecosystem: str, name: str, events: list[dict[str, str]], **more: Any) -> dict[str, Any]:
    affected = {"package": {"ecosystem": ecosystem, "name": name}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
    return {"schema_version": "1.6.0", "id": id, "modified": "2026-01-01T00:00:00Z", "affected": [affected], **more}


STARLETTE = osv(
    "GHSA-7f5h-v6xp-fcq8", "PyPI", "Starlette", [{"introduced": "0.39.0"}, {"fixed": "99.1"}],
    aliases=["CVE-2025-62727"], summary="Quadratic work for a Range header",
    severity=[{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"}],
)  # fmt: skip
FIXED_LONG_AGO = osv("PYSEC-2020-1", "PyPI", "uvicorn", [{"introduced": "0"}, {"fixed": "0.11.7"}])
WITHDRAWN = osv("GHSA-gone", "PyPI", "uvicorn", [{"introduced": "0"}], withdrawn="2024-01-01T00:00:00Z")
SAME_BY_PYSEC = osv(
    "PYSEC-2025-2", "PyPI", "starlette", [{"introduced": "0"}, {"fixed": "99.1"}], aliases=["CVE-2025-62727"]
)
OPENSSL = osv("DSA-9999-1", "Debian:12", "openssl", [{"introduced": "0"}, {"fixed": "9.0-1"}], upstream=["CVE-2026-1"])
OTHER_RELEASE = osv("DSA-9998-1", "Debian:11", "openssl", [{"introduced": "0"}, {"fixed": "9.0-1"}])
NOT_KEPT = osv("DSA-9997-1", "Debian:12", "tar", [{"introduced": "0"}])
DOCUMENTS = [STARLETTE, FIXED_LONG_AGO, WITHDRAWN, SAME_BY_PYSEC, OPENSSL, OTHER_RELEASE, NOT_KEPT]
TRACKER = {
    "openssl": {
        "CVE-2026-1": {"description": "over the end", "scope": "local", "releases": {
            "bookworm": {"status": "resolved", "repositories": {"bookworm": "3.0.1"}, "fixed_version": "9.0-1", "urgency": "high**"}}},
        "CVE-2026-2": {"description": "open", "releases": {
            "bookworm": {"status": "open", "repositories": {}, "urgency": "unimportant"}}},
        "CVE-2026-3": {"releases": {"bookworm": {"status": "resolved", "fixed_version": "0", "urgency": "high"}}},
        "CVE-2026-4": {"releases": {"bookworm": {"status": "resolved", "fixed_version": "1.1-1", "urgency": "high"}}},
        "CVE-2026-5": {"releases": {"trixie": {"status": "open", "urgency": "high"}}},
        "CVE-2026-6": {"releases": {"bookworm": {"status": "open", "urgency": "not yet assigned"}}},
    },
    "no-such-source": {"CVE-2026-7": {"releases": {"bookworm": {"status": "open", "urgency": "high"}}}},
}  # fmt: skip


def write(path: Path, content: Any) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def zipped(path: Path, documents: list[Any]) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for number, document in enumerate(documents):
            archive.writestr(f"{number}.json", json.dumps(document))
    return str(path)


@pytest.mark.real
@pytest.mark.parametrize("form", ["list", "zip", "answer"])
def test_what_osv_knows_of_the_image_in_each_of_its_forms(home: Home, tmp_path: Path, form: str) -> None:
    if form == "zip":
        path = zipped(tmp_path / "all.zip", DOCUMENTS)
    else:
        path = write(tmp_path / "osv.json", DOCUMENTS if form == "list" else {"vulns": DOCUMENTS})
    found = home("audit", "guestbook.web", "--db", path, "--json").json
    told = {(row["id"], row["package"]): row for row in found["findings"]}
    assert {package for _, package in told} == {"starlette", "libssl3", "openssl"}
    starlette = told["GHSA-7f5h-v6xp-fcq8", "starlette"]
    assert (starlette["severity"], starlette["fixed"]) == ("high", "99.1")
    assert starlette["aliases"] == ["CVE-2025-62727", "PYSEC-2025-2"]  # three names, one finding
    assert told["DSA-9999-1", "libssl3"]["fixed"] == "9.0-1"
    assert found["complete"] is True
    assert "starlette" in home("audit", "guestbook.web", "--db", path).out


@pytest.mark.real
def test_what_debians_tracker_knows(home: Home, tmp_path: Path) -> None:
    path = write(tmp_path / "tracker.json", TRACKER)
    found = home("audit", "guestbook.store", "--db", path, "--json").json
    told = {row["id"]: row for row in found["findings"] if row["package"] == "libssl3"}
    assert set(told) == {"CVE-2026-1", "CVE-2026-2", "CVE-2026-6"}
    assert (told["CVE-2026-1"]["severity"], told["CVE-2026-1"]["fixed"]) == ("high", "9.0-1")
    assert told["CVE-2026-2"]["severity"] == "negligible"
    assert told["CVE-2026-6"]["severity"] == "unknown"
    assert found["counts"] == {"high": 2, "negligible": 2, "unknown": 2}


@pytest.mark.real
def test_two_lists_together_and_the_level_that_fails(home: Home, tmp_path: Path) -> None:
    tracker, some = write(tmp_path / "t.json", TRACKER), write(tmp_path / "o.json", [STARLETTE, OPENSSL])
    both = home("audit", "guestbook.web", "--db", tracker, "--db", some, "--fail-on", "high", "--json", code=1).json
    one = next(row for row in both["findings"] if row["package"] == "libssl3" and row["id"] == "CVE-2026-1")
    assert one["aliases"] == ["DSA-9999-1"]
    home("audit", "guestbook.web", "--db", tracker, "--fail-on", "critical")
    home("audit", "guestbook.store", "--db", some, "--fail-on", "low")  # of unknown severity
    home("audit", "guestbook.store", "--db", some, "--fail-on", "any", code=1)
    home("audit", "guestbook.web", "--db", write(tmp_path / "none.json", [FIXED_LONG_AGO]), "--fail-on", "any")


@pytest.mark.real
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "truncated"),
        (b"\xff\xfe", "malformed"),
        (b"[]", "holds nothing"),
        (b"{", "truncated"),
        (b"[1]", "Expected `object`"),
        (b'{"a": 1}', "neither"),
        (b'{"vulns": [{"no": "id"}]}', "id"),
        (b'{"id": "X", "affected": 3}', "affected"),
        (b'{"a": {"CVE-1": {"releases": {"bookworm": {"status": 3}}}}}', "neither"),
        (b"[" * 100_000, ""),
        (b"PK\x05\x06" + b"\0" * 18, "no .json"),
    ],
)
def test_a_file_that_is_no_list_is_refused_never_a_clean_bill(
    home: Home, tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "bad").write_bytes(content)
    refused = home("audit", "guestbook.store", "--db", str(tmp_path / "bad"), "--json", code=2).json["error"]
    assert refused["code"] == "bad-database"
    assert said in refused["why"]
    assert "OSV" in refused["fix"]


@pytest.mark.real
def test_one_broken_document_in_a_zip_is_named(home: Home, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("good.json", json.dumps(STARLETTE))
        archive.writestr("broken.json", "{")
    refused = home("audit", "guestbook.web", "--db", str(tmp_path / "all.zip"), "--json", code=2).json["error"]
    assert "broken.json" in refused["why"]
    missing = home("audit", "guestbook.web", "--db", str(tmp_path / "nothing"), "--json", code=2).json["error"]
    assert "there is no file" in missing["why"]
    home("audit", "guestbook.web", code=2)


@pytest.mark.parametrize(
    ("ecosystem", "older", "newer"),
    [
        ("deb", "1:1.0-1", "1:1.0-1+deb12u1"),
        ("deb", "1.0~rc1-1", "1.0-1"),
        ("deb", "9.0-1", "1:0.1-1"),
        ("pypi", "1.9", "1.10"),
        ("pypi", "2.0rc1", "2.0"),
        ("npm", "1.2.9", "1.10.0"),
        ("npm", "1.0.0-alpha.2", "1.0.0-alpha.10"),
        ("npm", "1.0.0-rc", "1.0.0"),
    ],
)
def test_versions_are_compared_as_their_ecosystem_does(ecosystem: Any, older: str, newer: str) -> None:
    compare = compare_in(ecosystem)
    for left, right, sign in ((older, newer, -1), (newer, older, 1), (older, older, 0)):
        found = compare(left, right)
        assert found is not None and (found > 0) - (found < 0) == sign
    assert compare("not a version", newer) is None


def test_a_version_that_cannot_be_compared_is_told_as_doubtful() -> None:
    part = Part(ecosystem="pypi", name="x", version="odd version", files=("x",))
    (found,) = findings([Known(id="A", ecosystem="pypi", package="x", ranges=(Range(fixed="2"),))], keys_of([part]))
    assert found.doubtful


def test_ranges_open_and_close_in_turn() -> None:
    events = [{"introduced": "1"}, {"fixed": "2"}, {"introduced": "3"}, {"last_affected": "4"}, {"introduced": "6"}]
    (known,) = parse_osv(json.dumps(osv("A", "PyPI", "x", events)).encode(), {("pypi", "x")})
    hit = {}
    for version in ("0.9", "1", "1.9", "2", "3.5", "4", "4.1", "6", "99"):
        part = Part(ecosystem="pypi", name="x", version=version, files=("x",))
        hit[version] = bool(findings([known], keys_of([part])))
    assert hit == {
        "0.9": False,
        "1": True,
        "1.9": True,
        "2": False,
        "3.5": True,
        "4": True,
        "4.1": False,
        "6": True,
        "99": True,
    }


def test_a_rebuilt_debian_package_is_judged_by_its_source_version() -> None:
    part = Part(ecosystem="deb", name="libbz2-1.0", source="bzip2", version="1.0.8-5+b1", files=("x",))
    known = Known(id="A", ecosystem="deb", package="bzip2", ranges=(Range(introduced="1.0.8-5", last="1.0.8-5"),))
    assert findings([known], keys_of([part]))


@pytest.mark.parametrize(
    ("vector", "score", "word"),
    [  # scores that the National Vulnerability Database publishes for these vectors
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8, "critical"),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", 10.0, "critical"),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H", 7.5, "high"),
        ("CVSS:3.0/AV:L/AC:H/PR:L/UI:N/S:U/C:H/I:N/A:N", 4.7, "medium"),
        ("CVSS:3.1/AV:N/AC:L/PR:L/UI:R/S:C/C:L/I:L/A:N", 5.4, "medium"),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", 0.0, "negligible"),
    ],
)  # fmt: skip
def test_scores_are_those_of_the_standard(vector: str, score: float, word: str) -> None:
    found = cvss_score(vector)
    assert found == score
    assert severity_of_score(found) == word


@pytest.mark.parametrize(
    "vector", ["", "CVSS:3.1", "CVSS:4.0/AV:N", "CVSS:3.1/AV:X/AC:L", "CVSS:3.1/AV:NA/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"]
)
def test_what_is_no_vector_has_no_score(vector: str) -> None:
    assert cvss_score(vector) is None
