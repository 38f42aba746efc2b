"""Tools images by the command line, against real agents over TLS: named, listed, taken away; in a cloud that is older than they."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.small import Aside, SmallCloud, archive
from client.conftest import commands_beside
from client.test_roles import Person, held
from skerry.agent.serve import Server
from skerry.client import delivery, kits
from skerry.client.images import LocalImages
from skerry.client.session import Answered, Session
from skerry.core.intent import ALLOWABLE, Policy, Service, Tools
from skerry.core.records import Slot
from skerry.image.manifest import Entry, tree_of
from skerry.image.oci import ImageConfig, assemble
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
    rows = {row["name"]: (row["image"], row["about"]) for row in ann.run("tools", "ls")}
    assert rows.pop("mine") == (added["image"], "image kit")
    assert rows == dict.fromkeys(("base", "bpf", "memray", "perf", "python"), ("", "built when it is first used"))
    ann.run("tools", "add", "mine", "kit")
    assert held(small, "tools/mine").version == 1, "the same again signs nothing"
    ann.run("tools", "rm", "mine")
    gone = held(small, "tools/mine")
    assert gone.body == Tools(deleted=True) and gone.expires == 0
    assert "mine" not in {row["name"] for row in ann.run("tools", "ls")}
    assert ann.run("tools", "rm", "mine", code=2)["code"] == "no-such-tools"
    ann.run("tools", "add", "mine", "kit")
    assert "mine" in {row["name"] for row in ann.run("tools", "ls")}
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


@pytest.fixture
async def mine(session: Session, cloud: SmallCloud, tmp_path: Path) -> tuple[LocalImages, str]:
    """Tools `mine`, signed, whose image only this machine has."""
    images = LocalImages(tmp_path / "images")
    archive(tmp_path / "kit.tar", b"a program" * 1000)
    digest = images.bring(tmp_path / "kit.tar", "").digest
    await session.sync()
    await kits.add(session, images, "mine", digest, "image kit")
    return images, digest


async def test_tools_come_to_the_host_that_needs_them_handed_over_once_and_then_from_one_another(
    session: Session, cloud: SmallCloud, mine: tuple[LocalImages, str], tmp_path: Path
) -> None:
    images, digest = mine
    said: list[str] = []
    hold = [cloud.agents[f"vps-{n}"].images for n in (1, 2, 3)]
    assert await delivery.ready(session, images, "mine", "node/vps-2", said.append) == digest
    assert [host.root(digest) is not None for host in hold] == [False, True, False]
    assert said[0] == "tools mine: handing 8.8 KiB to vps-2, once"
    said.clear()
    nothing = LocalImages(tmp_path / "of-another-machine")
    assert await delivery.ready(session, nothing, "mine", "node/vps-2", said.append) == digest and said == []
    assert await delivery.ready(session, nothing, "mine", "node/vps-3", said.append) == digest
    assert [host.root(digest) is not None for host in hold] == [False, True, True]
    assert not [line for line in said if "handing" in line]


async def test_tools_that_nobody_has_any_more_are_said_to_be_nowhere(
    session: Session, cloud: SmallCloud, mine: tuple[LocalImages, str], tmp_path: Path
) -> None:
    with pytest.raises(delivery.ToolsNowhere) as nowhere:
        await delivery.ready(session, LocalImages(tmp_path / "empty"), "mine", "node/vps-1", print)
    assert "skerry tools" in nowhere.value.fix
    with pytest.raises(kits.NoSuchTools):
        await delivery.ready(session, LocalImages(tmp_path / "empty"), "theirs", "node/vps-1", print)


async def test_a_host_fetches_nothing_that_is_not_signed_as_tools(
    session: Session, cloud: SmallCloud, mine: tuple[LocalImages, str]
) -> None:
    for name, digest in (("mine", "sha256:" + "0" * 64), ("theirs", mine[1])):
        with pytest.raises(Answered) as refused:
            await session.request("tools", {"tools": name, "digest": digest}, node="node/vps-1")
        assert refused.value.code == "tools-not-named" and refused.value.exit_code == 3
    await kits.rm(session, "mine")
    with pytest.raises(Answered):
        await session.request("tools", {"tools": "mine", "digest": mine[1]}, node="node/vps-1")


async def test_an_image_of_tools_is_never_run_as_an_app(cloud: SmallCloud) -> None:
    """Not even where an app's document allows whatever can be allowed, signed by an operator."""
    agent = cloud.agents["vps-1"]
    tree = tree_of([Entry("sh", "f", 0o755, sha256=agent.objects.put(b"a shell"), size=7)])
    image = assemble(tree, ImageConfig(entrypoint=("/sh",), tools=True), agent.objects.read)
    for document in (image.manifest, image.config, tree.encode()):
        agent.objects.put(document)
    await agent.fetcher.make(image.digest)
    cloud.deploy("shop", Service(allow=dict.fromkeys(ALLOWABLE, "all of it")), image.digest)

    def why() -> str:
        return agent.loop.core.explain(Slot("shop", "shop", 0)).awaits

    async with asyncio.timeout(20):
        while "its image was refused: / is an image of tools" not in why():
            await agent.loop.stepped()
    assert not cloud.runtimes["vps-1"].disk.specs


def test_nor_is_it_deployed(small: Aside, ann: Person) -> None:
    archive(Path("kit.tar"), b"a program", labels={"dev.skerry.tools": "true"})
    Path("compose.yaml").write_text("name: shop\nservices: {web: {image: kit.tar, command: [/app]}}\n")
    refused = ann.run("deploy", "compose.yaml", code=1)
    assert refused["code"] == "image-refused" and "is an image of tools" in refused["why"]
    assert "give the app an image of its own" in refused["fix"]
