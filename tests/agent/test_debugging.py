"""Looking into a container by the command line: who may, what it says, and that nothing is left of it. Real containers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.beside import SLOT, CloudBeside
from agent.small import Aside
from client.conftest import commands_beside, quick_age
from client.test_roles import Person

__all__ = ["quick_age"]
pytestmark = [pytest.mark.real, pytest.mark.usefixtures("quick_age")]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aside]:
    cloud = CloudBeside(tmp_path / "hosts")
    with commands_beside(cloud, tmp_path, monkeypatch) as aside:
        aside.wait("the container", lambda: cloud.running() == [SLOT])
        yield aside
        assert cloud.tools_left() == []


@pytest.fixture
def ann(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Person:
    return Person(tmp_path / "ann", monkeypatch, capsys)


def cloud_of(small: Aside) -> CloudBeside:
    assert isinstance(small.cloud, CloudBeside)
    return small.cloud


def debug(person: Person, *words: str, code: int = 0, slot: str = SLOT) -> Any:
    """The JSON that the command printed."""
    return person.run("debug", slot, *words, code=code)


def told(small: Aside) -> list[tuple[str, str]]:
    """Events of kind debug: (subject, reason)."""
    entries = small.look(lambda: small.cloud.agents["vps-1"].events.tail(1000))
    return [(entry.subject, entry.reason) for entry in entries if entry.kind == "debug"]


def test_a_command_runs_beside_the_container_and_its_class_is_said_first(small: Aside, ann: Person) -> None:
    done = debug(ann, "--", "busybox", "ls", "/target/usr/bin", "/usr/bin")
    assert done["code"] == 0 and done["stdout"].split() == ["/target/usr/bin:", "app", "/usr/bin:", "busybox"]
    assert done["visibility"] == "unseen" and ann.said.startswith(f"unseen: {SLOT} may notice: nothing")
    assert told(small) == [
        (SLOT, "ann began: busybox ls /target/usr/bin /usr/bin (unseen)"),
        (SLOT, "ann ended: busybox ls /target/usr/bin /usr/bin (unseen)"),
    ]


def test_its_exit_code_is_ours_and_a_program_that_is_not_there_is_named(small: Aside, ann: Person) -> None:
    assert debug(ann, "--", "busybox", "sh", "-c", "echo wrong >&2; exit 7", code=7)["stderr"] == "wrong\n"
    done = debug(ann, "--", "no-such-program", code=127)
    assert "no-such-program" in done["why"] and "not found" in done["why"]
