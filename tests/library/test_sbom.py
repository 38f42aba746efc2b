"""`skerry image sbom`: valid against CycloneDX's own schema, and true of the image."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import referencing
from hypothesis import given, settings
from hypothesis import strategies as st

from image.memory import SimpleObjects, file_entry
from library.conftest import ROOT, Home
from skerry.image.licences import of_debian, of_wheel
from skerry.image.manifest import tree_of
from skerry.image.origin import Origin, Part
from skerry.image.packages import parts_in
from skerry.image.sbom import purl, sbom

NAME = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=30)


def validator() -> jsonschema.Draft7Validator:
    """By the schemas that the CycloneDX project publishes, as its Python library carries them."""
    found = importlib.util.find_spec("cyclonedx")
    assert found is not None and found.submodule_search_locations, "make venv"
    folder = Path(found.submodule_search_locations[0]) / "schema" / "_res"
    schemas = {
        name: json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_text())
        for name in ("bom-1.5", "spdx", "jsf-0.82")
    }
    resources = [(schema["$id"], referencing.Resource.from_contents(schema)) for schema in schemas.values()]
    return jsonschema.Draft7Validator(schemas["bom-1.5"], registry=referencing.Registry().with_resources(resources))


VALIDATOR = validator()


def test_the_validator_refuses_what_is_wrong() -> None:
    assert list(VALIDATOR.iter_errors({"bomFormat": "CycloneDX", "specVersion": "1.5", "components": [{"name": 1}]}))


@pytest.mark.real
@pytest.mark.parametrize("name", ["guestbook.web", "guestbook.store"])
def test_the_bill_of_an_image_is_valid_and_names_every_file_once(home: Home, name: str) -> None:
    document = home("sbom", name).json
    VALIDATOR.validate(document)
    images = home.images
    tree = images.images.tree(images.names[name])
    located = [
        place["location"]
        for part in document["components"]
        for place in part.get("evidence", {}).get("occurrences", [])
    ]
    assert sorted(located) == sorted(f"/{entry.path}" for entry in tree.entries if entry.kind != "d")
    assert document["compositions"] == [{"aggregate": "complete", "assemblies": [images.names[name]]}]
    assert home("sbom", name, "--json").json == document


@pytest.mark.real
def test_packages_have_urls_versions_hashes_licences_and_files(home: Home) -> None:
    parts = {part["name"]: part for part in home("sbom", "guestbook.web").json["components"]}
    starlette, libc, perl = parts["starlette"], parts["libc6"], parts["tar"]
    assert starlette["purl"].startswith("pkg:pypi/starlette@")
    assert starlette["licenses"] == [{"license": {"name": "BSD-3-Clause"}}]
    assert len(starlette["hashes"][0]["content"]) == 64
    assert libc["purl"].startswith("pkg:deb/debian/libc6@2.36-9%2Bdeb12u")
    assert libc["scope"] == "required"
    assert perl["scope"] == "excluded" and "evidence" not in perl
    assert {"location": "/usr/lib/x86_64-linux-gnu/libc.so.6"} in libc["evidence"]["occurrences"]
    compiled = [
        place["location"] for place in starlette["evidence"]["occurrences"] if place["location"].endswith(".pyc")
    ]
    assert compiled  # bytecode belongs to the module that it was made of
    assert not [p for p in parts["the project's own files, and files that the build wrote"]["evidence"]["occurrences"]
                if "starlette" in p["location"]]  # fmt: skip


@pytest.mark.real
def test_our_own_image_that_comes_back_is_known_by_what_it_tells_itself(
    home: Home, other: Home, tmp_path: Path
) -> None:
    home("export", "guestbook.web", str(tmp_path / "web.tar"))
    other("import", str(tmp_path / "web.tar"), "--name", "web")
    document = other("sbom", "web").json
    VALIDATOR.validate(document)
    assert {part["name"] for part in document["components"]} >= {"starlette", "uvicorn", "redis"}
    assert "libc6" not in {part["name"] for part in document["components"]}  # no database in it says so
    assert document["compositions"][0]["aggregate"] == "unknown"


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.builds(
            Part,
            ecosystem=st.sampled_from(["deb", "pypi", "npm", "apk"]),
            name=NAME,
            version=NAME,
            source=NAME,
            sha256=st.sampled_from(["", "ab" * 32]),
            licences=st.lists(NAME, max_size=3).map(tuple),
            files=st.lists(NAME, max_size=3).map(tuple),
        ),
        max_size=4,
        unique_by=lambda part: purl(part),
    ),
    st.booleans(),
)
def test_whatever_packages_call_themselves_the_bill_is_valid(parts: list[Part], complete: bool) -> None:
    origin = Origin(how="imported", when_s=1.0, parts=tuple(parts), complete=complete)
    VALIDATOR.validate(json.loads(json.dumps(sbom("sha256:" + "ab" * 32, "x", origin))))


DPKG = b"""Package: libssl3
Status: install ok installed
Architecture: amd64
Source: openssl (3.0.11-1)
Version: 3.0.11-1~deb12u2

Package: gone
Status: deinstall ok config-files
Version: 1

Package: nameless-version
"""
APK = b"""P:musl
V:1.2.4-r2
A:x86_64
L:MIT
o:musl
F:lib
R:ld-musl-x86_64.so.1
R:not-there

"""
DATABASES: dict[str, bytes] = {
    "var/lib/dpkg/status": DPKG,
    "var/lib/dpkg/info/libssl3:amd64.list": b"/.\n/lib\n/lib/libssl.so.3\n/no/such\n",
    "usr/lib/libssl.so.3": b"elf",
    "lib/apk/db/installed": APK,
    "lib/ld-musl-x86_64.so.1": b"elf",
    "app/node_modules/@scope/left/package.json": b'{"name":"@scope/left","version":"1.2.3","license":"MIT"}',
    "app/node_modules/@scope/left/lib/a.js": b"1",
    "app/node_modules/@scope/left/node_modules/inner/package.json": b'{"name":"inner","version":"0.1.0"}',
    "app/node_modules/broken/package.json": b"{",
    "usr/lib/python3/dist-packages/Flask_Thing-2.0.dist-info/METADATA": b"Name: Flask.Thing\nVersion: 2.0\nLicense: BSD\n\n",
    "usr/lib/python3/dist-packages/Flask_Thing-2.0.dist-info/RECORD": b"flask_thing/__init__.py,sha256=x,3\n",
    "usr/lib/python3/dist-packages/flask_thing/__init__.py": b"x=1",
    "var/lib/rpm/Packages": b"berkeley",
}


def test_package_databases_of_others_are_read_and_those_that_are_not_are_said(tmp_path: Path) -> None:
    objects = SimpleObjects(tmp_path / "objects")
    for data in DATABASES.values():
        objects.put(data)
    tree = tree_of(file_entry(path, data) for path, data in DATABASES.items())
    parts, findings = parts_in(tree, objects.read)
    told: dict[str, Any] = {part.name: part for part in parts}
    assert set(told) == {"libssl3", "musl", "@scope/left", "inner", "flask-thing"}
    assert (told["libssl3"].source, told["libssl3"].files) == ("openssl", ("usr/lib/libssl.so.3",))
    assert (told["musl"].licences, told["musl"].files) == (("MIT",), ("lib/ld-musl-x86_64.so.1",))
    assert told["flask-thing"].files == ("usr/lib/python3/dist-packages/flask_thing/__init__.py",)
    assert told["@scope/left"].files == tuple(
        f"app/node_modules/@scope/left/{name}" for name in ("lib/a.js", "package.json")
    )
    assert purl(told["@scope/left"]) == "pkg:npm/%40scope/left@1.2.3"
    assert findings == ("var/lib/rpm is a database that is not read: its packages are unknown",)


@given(st.binary(max_size=300))
def test_licences_are_read_of_any_bytes(data: bytes) -> None:
    for names in (
        of_debian(data),
        of_debian(b"Format: x\nLicense: " + data),
        of_wheel(data),
        of_wheel(b"License: " + data),
    ):
        assert all(name.isprintable() and name for name in names)


def test_licences_in_their_usual_forms() -> None:
    assert of_debian(b"Format: 1.0\n\nFiles: *\nLicense: MIT\n text\n\nLicense: GPL-2+\n") == ("MIT", "GPL-2+")
    assert of_debian(b"see /usr/share/common-licenses/GPL-3.\n") == ("GPL-3",)
    assert of_wheel(b"License-Expression: Apache-2.0 OR MIT\nLicense: x\n\n") == ("Apache-2.0 OR MIT",)
    assert of_wheel(b"Classifier: License :: OSI Approved :: MIT License\n\n") == ("MIT License",)
    assert of_wheel(b"License: a whole text, with commas, is no name\n\n") == ()


@pytest.mark.real
def test_packages_of_npm_have_the_hashes_of_the_lock_and_their_files(home: Home, tmp_path: Path) -> None:
    project = tmp_path / "node"
    shutil.copytree(ROOT / "tests" / "image" / "node", project)
    (project / "image.toml").write_text('[image]\nrecipe = "node"\nentrypoint = ["node", "server.mjs"]\n')
    home("build", str(project))
    document = home("sbom", "node").json
    VALIDATOR.validate(document)
    npm = {part["name"]: part for part in document["components"] if part.get("purl", "").startswith("pkg:npm/")}
    express = npm["ws"] if "ws" in npm else next(iter(npm.values()))
    assert express["hashes"][0]["alg"] == "SHA-512"
    assert any(place["location"].endswith("/package.json") for place in express["evidence"]["occurrences"])
    assert express["licenses"]
    images = home.images
    tree = images.images.tree(images.names["node"])
    located = [
        p["location"] for part in document["components"] for p in part.get("evidence", {}).get("occurrences", [])
    ]
    assert sorted(located) == sorted(f"/{entry.path}" for entry in tree.entries if entry.kind != "d")
    home("rm", "node")
