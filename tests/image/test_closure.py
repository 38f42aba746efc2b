"""What is kept: libraries by machine, links on the way, rules by library; and what fails the build."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image.memory import deb_of, elf_of, tar_of
from skerry.image.building.closure import Closure
from skerry.image.building.elf import read_elf, stripped
from skerry.image.building.pile import File, Pile, file_of, link_to
from skerry.image.building.rules import base
from skerry.image.building.sources.unpack import unpack_deb
from skerry.image.contract import BuildRefused, DownloadRefused

LIB = "usr/lib/x86_64-linux-gnu"
LOADER = "/lib64/ld-linux-x86-64.so.2"


def pile(*files: File) -> Pile:
    loader = [link_to("usr/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "libc6")]
    return Pile([*loader, file_of(f"{LIB}/ld-linux-x86-64.so.2", elf_of(), "libc6"), *files])


def test_a_program_keeps_its_loader_its_libraries_and_every_link_on_the_way():
    closure = Closure(
        pile(
            link_to("usr/bin/app", "real-app", "app"),
            file_of("usr/bin/real-app", elf_of(("liba.so.1",), LOADER), "app"),
            link_to(f"{LIB}/liba.so.1", "liba.so.1.2", "a"),
            file_of(f"{LIB}/liba.so.1.2", elf_of(("libb.so",)), "a"),
            file_of("usr/lib/libb.so", elf_of(), "b"),
            file_of(f"{LIB}/libunused.so", elf_of(), "c"),
        )
    )
    assert closure.program("/bin/app") == "usr/bin/real-app"
    assert sorted(closure.kept) == [
        "bin", "lib", "lib64", "usr/bin/app", "usr/bin/real-app", "usr/lib/libb.so",
        f"{LIB}/ld-linux-x86-64.so.2", f"{LIB}/liba.so.1", f"{LIB}/liba.so.1.2", "usr/lib64/ld-linux-x86-64.so.2",
    ]  # fmt: skip
    assert closure.executables == {"usr/bin/real-app", f"{LIB}/ld-linux-x86-64.so.2"}


def test_libraries_are_found_beside_whoever_needs_them():
    wheel = file_of("site/x/mod.so", elf_of(("libq.so",), runpath="$ORIGIN/../x.libs"), "x")
    closure = Closure(pile(wheel, file_of("site/x.libs/libq.so", elf_of(), "x")))
    closure.take(["site/x/mod.so"])
    assert "site/x.libs/libq.so" in closure.kept


def test_a_library_that_a_wheel_brings_under_another_name_is_not_missed():
    """auditwheel renames what it grafts, and the old name stays behind as text; one that isn't grafted is told."""
    mod = file_of(
        "site/x/mod.so", elf_of(("libq-0a1b2c3d.so.2.1",), "", "$ORIGIN/../x.libs", ("libq.so.2", "libr.so.1")), "x"
    )
    graft = file_of("site/x.libs/libq-0a1b2c3d.so.2.1", elf_of(), "x")
    others = [file_of(f"{LIB}/{name}", elf_of(), "krb5") for name in ("libq.so.2", "libr.so.1")]
    closure = Closure(pile(mod, graft, *others))
    closure.take(["site/x/mod.so"])
    closure.report()
    assert closure.findings == ["site/x/mod.so may open libr.so.1, which was not kept"]


def test_a_library_that_no_package_has_fails_the_build_and_is_named():
    closure = Closure(pile(file_of("usr/bin/app", elf_of(("libgone.so.3",), LOADER), "app")))
    with pytest.raises(BuildRefused, match=r"libgone\.so\.3"):
        closure.program("/usr/bin/app")


@pytest.mark.parametrize("content", [b"#!/bin/sh\n", b"\x7fELF but no more"])
def test_an_entry_point_that_is_no_program_is_refused(content):
    closure = Closure(pile(file_of("usr/bin/app", content, "app")))
    with pytest.raises(BuildRefused):
        closure.program("/usr/bin/app")
    with pytest.raises(BuildRefused):
        closure.program("/usr/bin/none")


def test_a_glob_stays_in_its_folder_unless_told_and_must_match():
    closure = Closure(pile(*(file_of(path, b"1", "p") for path in ("a/x.sql", "a/y.txt", "a/b/z.sql"))))
    closure.glob("/a/*.sql")
    assert set(closure.kept) == {"a/x.sql"}
    closure.glob("a/**/*.sql")
    assert set(closure.kept) == {"a/x.sql", "a/b/z.sql"}
    with pytest.raises(BuildRefused, match="matches nothing"):
        closure.glob("a/*.none")


def test_libraries_named_as_text_and_callers_of_a_shell_are_reported():
    app = elf_of((), LOADER, calls=("system",)) + b"\0libplug.so.1\0"
    closure = Closure(pile(file_of("usr/bin/app", app, "a"), file_of(f"{LIB}/libplug.so.1", elf_of(), "p")))
    closure.program("/usr/bin/app")
    closure.report()
    assert [finding.split(" ")[0:3:2] for finding in closure.findings] == [
        ["usr/bin/app", "call"],
        ["usr/bin/app", "open"],
    ]


def test_every_image_has_its_mount_points_and_its_user():
    closure = Closure(pile())
    base.apply(closure, "10001:10001")
    assert closure.kept["etc/passwd"].load().splitlines()[1] == b"app:x:10001:10001:app:/:/nonexistent"
    assert {"etc/hosts", "etc/resolv.conf", "proc", "dev", "tmp", "run"} <= set(closure.kept)


def test_links_in_a_circle_lead_nowhere():
    assert Pile([link_to("a", "b", ""), link_to("b", "a", "")]).follow("a/c")[1] is None


@given(st.binary(max_size=300))
def test_any_bytes_after_an_elf_header_are_read_or_not(noise):
    for data in (b"\x7fELF" + noise, elf_of(("liba.so",))[:-20] + noise, noise):
        read_elf(data)
        stripped(data)


def test_a_stripped_library_still_asks_for_the_same():
    data = elf_of(("liba.so",), LOADER)
    assert read_elf(stripped(data + b"symbols" * 1000)) == read_elf(data)
    assert len(stripped(data + b"symbols" * 1000)) == len(data)


def named(folder: Path, content: bytes) -> Path:
    """A download, under its hash."""
    deb = folder / f"{hashlib.sha256(content).hexdigest()}.deb"
    deb.write_bytes(content)
    return deb


@pytest.mark.parametrize("compress", ["xz", ""])
def test_a_package_is_read_without_being_unpacked(tmp_path, compress):
    deb = named(tmp_path, deb_of(tar_of(("./lib/a", b"1"), ("./usr/share/b", b"2"), ("./sbin/c", "a")), compress))
    for _ in range(2):
        files = unpack_deb(deb, tmp_path / "cache", "p 1")
        assert [(file.path, file.kind, file.load()) for file in files if file.kind == "f"] == [
            ("usr/lib/a", "f", b"1"), ("usr/share/b", "f", b"2"),
        ]  # fmt: skip
        assert files[-1].path == "usr/sbin/c"


@pytest.mark.parametrize(
    "content",
    [b"", b"!<arch>\n", deb_of(b"")[:70], deb_of(tar_of(("../x", b"1"))), deb_of(tar_of(("a", b"1" * 2000)))[:-300]],
)
def test_what_is_no_package_is_refused(tmp_path, content):
    deb = named(tmp_path, content)
    with pytest.raises(DownloadRefused):
        unpack_deb(deb, tmp_path / "cache", "p 1")
    assert not list((tmp_path / "cache").rglob("*.msgpack"))
