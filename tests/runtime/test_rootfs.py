"""Trees that come from outside: hostile symlinks, missing mount points, odd passwd files."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skerry.runtime.contract import RuntimeRefused
from skerry.runtime.overlay import mounts_below
from skerry.runtime.rootfs import Found, find, find_user, lacking, make_skeleton
from skerry.runtime.spec import MountPoint, User


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("etc", "usr/lib"):
        (tmp_path / "tree" / name).mkdir(parents=True)
    return tmp_path / "tree"


@pytest.mark.parametrize("target", ["/etc", "../../../../etc", "/../etc"])
def test_a_symlink_never_leads_out_of_the_tree(tree: Path, target: str) -> None:
    (tree / "conf").symlink_to(target)
    assert find(tree, "/conf/hosts") == Found("/etc/hosts", "missing")


def test_a_chain_of_symlinks_to_what_the_host_has_is_missing_in_the_tree(tree: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tree / "a").symlink_to("b")
    (tree / "b").symlink_to(outside)
    assert find(tree, "/a/x") == Found(f"{outside}/x", "missing")


def test_a_loop_of_symlinks_is_refused(tree: Path) -> None:
    (tree / "a").symlink_to("b")
    (tree / "b").symlink_to("a")
    with pytest.raises(RuntimeRefused, match="too many symlinks"):
        find(tree, "/a")


def test_a_path_through_a_file_is_refused(tree: Path) -> None:
    (tree / "etc/hosts").write_text("")
    with pytest.raises(RuntimeRefused, match="is no directory"):
        find(tree, "/etc/hosts/x")


def test_a_file_where_a_directory_is_needed_is_refused(tree: Path) -> None:
    (tree / "data").write_text("")
    with pytest.raises(RuntimeRefused, match="it is a file"):
        lacking(tree, [MountPoint("/data", True)])


def test_the_skeleton_holds_what_is_lacking_and_looks_like_the_tree(tree: Path, tmp_path: Path) -> None:
    (tree / "etc").chmod(0o750)
    (tree / "var").symlink_to("/usr/lib")
    points = [("/etc/hosts", False), ("/var/data/deep", True), ("/usr", True), ("/var", True, 0o1777), ("/", True)]
    lacks = lacking(tree, [MountPoint(*point) for point in points])
    assert lacks == [("/etc/hosts", False, None), ("/usr/lib/data/deep", True, None), ("/usr/lib", True, 0o1777)]
    skeleton = tmp_path / "skeleton"
    for _ in range(2):  # an interrupted start is repeated
        make_skeleton(tree, skeleton, lacks)
    found = sorted(str(path.relative_to(skeleton)) for path in skeleton.rglob("*"))
    assert found == ["etc", "etc/hosts", "usr", "usr/lib", "usr/lib/data", "usr/lib/data/deep"]
    assert stat.S_IMODE((skeleton / "etc").stat().st_mode) == 0o750
    assert stat.S_IMODE((skeleton / "usr/lib").stat().st_mode) == 0o1777


NAMES = st.sampled_from(["a", "b", "c"])
LINKS = st.dictionaries(
    NAMES, st.lists(st.sampled_from(["a", "b", "c", "..", ".", "/", "etc"]), max_size=4).map("/".join).filter(bool)
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(links=LINKS, path=st.lists(st.sampled_from(["a", "b", "c", "..", "etc", "x"]), max_size=6).map("/".join))
def test_whatever_links_there_are_the_answer_is_in_the_tree_and_has_none(links: dict[str, str], path: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        (tree / "etc").mkdir()
        for name, target in links.items():
            (tree / name).symlink_to(target)
        try:
            found = find(tree, path)
        except RuntimeRefused:
            return
        assert ".." not in found.path.split("/")
        real = os.path.realpath(str(tree) + found.path)
        assert real == os.path.normpath(os.path.realpath(folder) + found.path)


PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/srv/app:/\nbad:x:99999999999:1::/:/\nshort:x\n"


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", User(0, 0, (), "/root")),
        ("0:0", User(0, 0, (), "/root")),
        ("app", User(1000, 1001, (2000,), "/srv/app")),
        ("1000", User(1000, 1001, (2000,), "/srv/app")),
        ("app:extra", User(1000, 2000, (), "/srv/app")),
        ("app:7", User(1000, 7, (), "/srv/app")),
        ("4242", User(4242, 0, (), "/")),
    ],
)
def test_users_by_name_and_number(tree: Path, user: str, expected: User) -> None:
    (tree / "etc/passwd").write_text(PASSWD)
    (tree / "etc/group").write_text("extra:x:2000:app\nother:x:2001:root\n")
    assert find_user(tree, user) == expected


@pytest.mark.parametrize("user", ["nobody", "bad", "short", "app:nogroup", "99999999999", "4294967295", "²"])
def test_unknown_and_impossible_users_are_refused(tree: Path, user: str) -> None:
    (tree / "etc/passwd").write_text(PASSWD)
    with pytest.raises(RuntimeRefused):
        find_user(tree, user)


def test_a_passwd_that_is_a_pipe_or_points_outside_is_as_good_as_none(tree: Path) -> None:
    os.mkfifo(tree / "etc/passwd")
    (tree / "etc/group").symlink_to("../../../../../../etc/hostname")
    assert find_user(tree, "5:6") == User(5, 6)


@given(text=st.text(max_size=300), user=st.text(max_size=20))
def test_any_passwd_gives_a_user_or_a_refusal(text: str, user: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "etc").mkdir()
        (Path(folder) / "etc/passwd").write_text(text, encoding="utf-8", errors="surrogatepass")
        try:
            found = find_user(Path(folder), user)
        except RuntimeRefused:
            return
        assert 0 <= found.uid < 2**32 - 1
        assert 0 <= found.gid < 2**32 - 1


def test_mounts_below_are_given_latest_first() -> None:
    mountinfo = (
        "22 1 0:20 / / rw - ext4 /dev/vda rw\n"
        "30 22 0:30 / /c/a\\040b/root ro - overlay skerry ro\n"
        "31 30 0:31 / /c/a\\040b/root ro - overlay skerry ro\n"
        "32 22 0:32 / /c/a\\040bc ro - tmpfs x ro\n"
        "damaged\n"
    )
    assert mounts_below(Path("/c/a b"), mountinfo) == [Path("/c/a b/root")] * 2
