"""What a container may notice of a tool, said before it runs."""

from __future__ import annotations

import pytest

from skerry.core.visibility import CLASSES, classify


@pytest.mark.parametrize(
    ("command", "visibility"),
    [
        ("ls -l /target", "unseen"),
        ("/usr/bin/lsof -p 2", "unseen"),
        ("perf record -p 2", "unseen"),
        ("py-spy dump --pid 2", "felt"),
        ("py-spy dump --nonblocking --pid 2", "unseen"),
        ("strace -f -p 2", "felt"),
        ("gdb -p 2 -batch", "felt"),
        ("sh", "unseen"),
        ("timeout 5 strace -p 2", "felt"),
        ("sh -c ls;strace_-p_2", "unseen"),
        ("sh -c ps|strace", "felt"),
        ("curl -s localhost", "unseen"),
        ("something-else", "felt"),
        ("", "felt"),
    ],
)
def test_the_class_of_a_command(command: str, visibility: str) -> None:
    assert classify(command.split()).visibility == visibility


def test_what_joins_is_joined_whatever_it_is() -> None:
    for command in (["ls"], ["strace"], []):
        assert classify(command, joined=("net",)).visibility == "joined"
    assert "traced" in classify(["strace"], joined=("net",)).notices
    assert "files that you change" in classify(["curl"], joined=("net",), write=True).notices


def test_writing_is_noticed_by_what_was_written() -> None:
    assert classify(["vi"]).notices == "nothing"
    assert classify(["vi"], write=True).notices == "the files that you change"
    assert classify(["gdb"], write=True).notices.endswith("; the files that you change")


def test_every_class_has_a_place_in_the_order() -> None:
    assert CLASSES == ("unseen", "felt", "joined")
