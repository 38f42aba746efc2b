"""Which packages a wish needs: versions as Debian orders them, alternatives in turn, what provides what."""

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.image.building.sources.debian import parse_packages
from skerry.image.building.sources.resolve import Index, Package, compare_versions, parse_relations, resolve
from skerry.image.contract import BuildRefused


def package(name: str, version: str = "1", depends: str = "", provides: str = "") -> Package:
    return Package(name, version, depends, provides, "debian", f"pool/{name}_{version}.deb", 1, "0" * 64)


MERGED = package("usr-is-merged")


def names(index: list[Package], *wanted: str) -> list[str]:
    return [f"{found.name} {found.version}" for found in resolve(Index([MERGED, *index]), wanted) if found != MERGED]


def test_what_it_depends_on_comes_along():
    index = [
        package("web", depends="libc (>= 2), python:any"),
        package("libc", "2.1"),
        package("python"),
        package("other"),
    ]
    assert names(index, "web") == ["libc 2.1", "python 1", "web 1"]


def test_the_newest_version_is_taken_whatever_archive_has_it():
    assert names([package("a", "1.0-1"), package("a", "1.0-1+deb12u1"), package("a", "1.0~rc1")], "a") == [
        "a 1.0-1+deb12u1"
    ]


def test_the_first_alternative_that_can_be_had_is_taken_and_one_that_is_there_suffices():
    index = [
        package("a", depends="none | two | three"),
        package("two"),
        package("three"),
        package("b", depends="two | three"),
    ]
    assert names(index, "a", "b") == ["a 1", "b 1", "two 1"]
    assert names(index, "three", "b") == ["b 1", "three 1"]


def test_a_provider_stands_in_but_not_for_a_version_that_it_does_not_name():
    index = [package("a", depends="mail"), package("exim", provides="mail"), package("b", depends="mail (>= 2)")]
    assert names(index, "a") == ["a 1", "exim 1"]
    with pytest.raises(BuildRefused):
        names(index, "b")


def test_a_circle_of_dependencies_ends():
    assert names([package("a", depends="b"), package("b", depends="a")], "a") == ["a 1", "b 1"]


def test_a_package_that_nobody_has_is_named():
    with pytest.raises(BuildRefused, match="no-such"):
        names([], "no-such")


@pytest.mark.skipif(not shutil.which("dpkg"), reason="dpkg is the judge")
@settings(max_examples=60, deadline=None)
@given(*[st.from_regex(r"([0-9]:)?[0-9][a-z0-9.+~]{0,5}(-[a-z0-9+.~]{1,3})?", fullmatch=True)] * 2)
def test_versions_are_ordered_as_dpkg_orders_them(one, other):
    older = subprocess.run(["dpkg", "--compare-versions", one, "lt", other], check=False).returncode == 0
    assert (compare_versions(one, other) < 0) == older
    assert compare_versions(one, other) == -compare_versions(other, one)


@given(st.text(max_size=80))
def test_any_text_is_read_as_relations(text):
    parse_relations(text)


@given(st.text(max_size=200))
def test_any_text_is_read_as_an_index(text):
    parse_packages(text, "debian")


def test_an_index_is_read_stanza_by_stanza():
    text = "Package: a\nVersion: 1\nPre-Depends: x\nDepends: y\nFilename: pool/a.deb\nSize: 7\nSHA256: ff\n\nPackage: cut\n"
    assert parse_packages(text, "debian") == [Package("a", "1", "x, y", "", "debian", "pool/a.deb", 7, "ff")]


def test_a_typing_error_is_answered_with_the_nearest_name():
    with pytest.raises(BuildRefused) as caught:
        names([package("redis-server"), package("redis-tools")], "redis-sever")
    assert "Did you mean redis-server?" in caught.value.fix
