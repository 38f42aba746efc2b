"""Tools images by the command line, against real agents over TLS: named, listed, taken away; in a cloud that is older than they."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.small import Aside, SmallCloud, archive
from client.conftest import commands_beside
from client.test_roles import Person, held
from skerry.agent.serve import Server
from skerry.core.intent import Policy, Tools
from skerry.trust import genesis
from skerry.trust.checks import ROLE_KINDS

pytestmark = pytest.mark.usefixtures("quick_age")


@pytest.fixture
def ann(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Person:
    return Person(tmp_path / "ann", monkeypatch, capsys)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aside]:
    with commands_beside(SmallCloud(tmp_path / "hosts", 2), tmp_path, monkeypatch) as aside:
        yield aside


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aside]:
    """A cloud whose policy was signed before there were documents of kind tools."""
    with monkeypatch.context() as before:
        before.setattr(genesis, "ROLE_KINDS", ROLE_KINDS - {"tools"})
        cloud = SmallCloud(tmp_path / "hosts", 2)
    with commands_beside(cloud, tmp_path, monkeypatch) as aside:
        yield aside


def test_an_image_of_the_library_is_named_as_tools_listed_and_taken_away(small: Aside, ann: Person) -> None:
    archive(Path("kit.tar"), b"a program")
    ann.run("image", "import", "kit.tar", "--name", "kit")
    added = ann.run("tools", "add", "mine", "kit")
    assert held(small, "tools/mine").body == Tools(image=added["image"], size_bytes=9, about="image kit")
    (row,) = ann.run("tools", "ls")
    assert (row["name"], row["image"], row["hosts"]) == ("mine", added["image"], [])
    ann.run("tools", "add", "mine", "kit")
    assert held(small, "tools/mine").version == 1, "the same again signs nothing"
    ann.run("tools", "rm", "mine")
    gone = held(small, "tools/mine")
    assert gone.body == Tools(deleted=True) and gone.expires == 0
    assert ann.run("tools", "ls") == []
    assert ann.run("tools", "rm", "mine", code=2)["code"] == "no-such-tools"
    ann.run("tools", "add", "mine", "kit")
    assert [row["name"] for row in ann.run("tools", "ls")] == ["mine"]
    assert ann.run("tools", "add", "-x", "kit", code=2)["code"] in ("usage", "bad-input")
    assert ann.run("tools", "add", "A B", "kit", code=2)["code"] == "bad-input"
    assert ann.run("tools", "add", "other", "no-such-image", code=2)["code"] == "image-not-found"


def kinds(small: Aside) -> tuple[str, ...]:
    policy = held(small, "policy").body
    assert isinstance(policy, Policy)
    return policy.roles[0].kinds


def test_an_older_clouds_policy_is_renewed_by_the_next_command_of_an_operator(older: Aside, ann: Person) -> None:
    assert "tools" not in kinds(older)
    ann.run("ps")
    assert "the policy was older than documents of kind tools: renewed" in ann.said
    assert "tools" in kinds(older)
    ann.run("ps")
    assert "renewed" not in ann.said and held(older, "policy").version == 2


def test_or_in_the_same_step_as_the_first_tools(older: Aside, ann: Person) -> None:
    archive(Path("kit.tar"), b"a program")
    ann.run("tools", "add", "mine", "kit.tar")
    assert held(older, "tools/mine").version == 1 and "tools" in kinds(older) and held(older, "policy").version == 2


def test_a_host_whose_agent_is_older_is_named_and_nothing_is_signed_that_it_would_refuse(
    older: Aside, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Server, "_verb_kinds")  # agents of that time had no such verb
    archive(Path("kit.tar"), b"a program")
    refused = ann.run("tools", "add", "mine", "kit.tar", code=1)
    assert (
        refused["code"] == "hosts-too-old"
        and "vps-1, vps-2 is older" in refused["why"]
        and "skerry host upgrade" in refused["fix"]
    )
    assert "tools" not in kinds(older) and held(older, "policy").version == 1
    ann.run("ps")
    assert "can't be signed yet" in ann.said and held(older, "policy").version == 1
