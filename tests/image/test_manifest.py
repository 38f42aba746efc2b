"""The tree manifest: one form for one tree, and nothing that could leave it."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image.memory import file_entry
from skerry.image.contract import BadImage
from skerry.image.manifest import HEADER, MAX_NAME_BYTES, Entry, Tree, parse_tree, tree_of

NAMES = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\x7f"), min_size=1, max_size=8
).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
HASH = "0" * 64


@given(st.dictionaries(PATHS, st.binary(max_size=8), max_size=12))
def test_what_is_written_is_read_back_and_has_one_form(files):
    try:
        tree = tree_of(file_entry(path, data) for path, data in files.items())
    except BadImage:
        return  # a file below a file
    assert parse_tree(tree.encode()) == tree
    assert tree_of(reversed(tree.entries)).encode() == tree.encode()


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: (HEADER + text).encode("utf-8", "replace")))
def test_any_bytes_are_read_or_refused(data):
    try:
        tree = parse_tree(data)
    except BadImage:
        return
    assert tree.encode() == data


@given(st.data())
def test_a_changed_byte_never_reads_as_the_same_tree(data):
    whole = tree_of([file_entry("a/b"), Entry("c", "l", 0o777, link="a")]).encode()
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    with contextlib.suppress(BadImage):
        assert parse_tree(changed).encode() == changed


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../up",
        "a/../b",
        "a//b",
        "a/",
        "./a",
        "",
        "a\nb",
        "a\tb",
        "n" * (MAX_NAME_BYTES + 1),
        "a/" * 2100 + "b",
    ],
)
def test_a_path_that_leaves_the_tree_or_its_bounds_is_refused(path):
    with pytest.raises(BadImage):
        tree_of([file_entry(path)])


@pytest.mark.parametrize(
    "lines",
    [
        f"f\t644\tb\t{HASH}\t1\nf\t644\ta\t{HASH}\t1\n",  # not sorted
        f"f\t644\ta\t{HASH}\t1\nf\t644\ta\t{HASH}\t1\n",  # twice
        f"f\t644\ta\t{HASH}\t1\nf\t644\ta/b\t{HASH}\t1\n",  # below a file
        f"l\t777\ta\tb\nf\t644\ta/b\t{HASH}\t1\n",  # below a link
        f"f\t644\ta/b\t{HASH}\t1\n",  # its folder is not named
        f"f\t4755\ta\t{HASH}\t1\n",  # set-user-id
        f"f\t0644\ta\t{HASH}\t1\n",
        f"f\t644\ta\t{HASH}\t01\n",
        f"f\t644\ta\t{HASH}\t-1\n",
        f"f\t644\ta\t{HASH.upper().replace('0', 'A')}\t1\n",
        f"f\t644\ta\t{HASH}\t99999999999999\n",
        "l\t777\ta\t\n",
        "d\t700\ta\n",
        "d\t755\ta",
        "c\t644\tdev\n",
    ],
)
def test_lines_that_break_a_rule_are_refused(lines):
    with pytest.raises(BadImage):
        parse_tree((HEADER + lines).encode())


def test_a_link_may_point_anywhere_as_it_is_followed_inside_only():
    assert len(tree_of([Entry("a", "l", 0o777, link="../../etc/shadow")]).entries) == 1


def test_the_empty_tree_is_one():
    assert parse_tree(HEADER.encode()) == Tree(())
