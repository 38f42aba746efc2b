"""Pools by the command line, against real agents over TLS: what is looked at first, what is signed, and how a keeper goes."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import ipaddress
import re
import sys
import tarfile
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.burst import Guest, at_once, say
from agent.small import Aside, SmallCloud
from client.conftest import commands_beside
from client.test_roles import Person
from skerry.client.enrolment import _subnet, pool_block
from skerry.client.home import Home
from skerry.client.session import Session
from skerry.core.facts import Machine
from skerry.core.intent import App, Node, Policy, Pool
from skerry.errors import Refusal
from skerry.machines import providers
from skerry.machines.contract import Server
from skerry.trust import seal
from skerry.trust.accept import Trusted

pytestmark = pytest.mark.usefixtures("quick_age")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "providers.md"


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The provider of docs/providers.md: machines that are files in a folder."""
    (text,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    module = types.ModuleType("folder")
    exec(compile(text, str(PAGE), "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, "folder", module)
    monkeypatch.setitem(providers.PROVIDERS, "folder", "folder:Folder")
    place = tmp_path / "rented"
    place.mkdir()
    return place


def bundle_at(folder: Path) -> Path:
    path = folder / "skerry-agent-1.0-0123abcd.tar.gz"
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        info = tarfile.TarInfo("1.0-0123abcd/bin/skerry-agent")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"agent"))
    path.write_bytes(gzip.compress(plain.getvalue()))
    return path


@pytest.fixture
def bundle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = bundle_at(tmp_path)
    monkeypatch.setenv("SKERRY_BUNDLE", str(path))
    return path


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aside]:
    with commands_beside(SmallCloud(tmp_path / "hosts", 3), tmp_path, monkeypatch) as aside:
        yield aside


@pytest.fixture
def ann(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Person:
    return Person(tmp_path / "ann", monkeypatch, capsys)


def adding(folder: Path) -> tuple[str, ...]:
    """The command that adds the pool `burst` of the machines in a folder; what bounds it comes after."""
    of = ("--provider", "folder", "--endpoint", f"file://{folder}", "--image", "plain")
    return ("machine", "pool", "add", "burst", *of)


@pytest.fixture
def add(ann: Person, folder: Path, bundle: Path, small: Aside) -> Callable[..., Any]:
    def run(*more: str, **how: Any) -> Any:
        return ann.run(*adding(folder), "--max", "3", *more, **how)

    return run


def held(small: Aside, path: str, at: str = "vps-1") -> Any:
    document = small.look(lambda: small.cloud.agents[at].trusted.document(path))
    return document.body if document is not None else None


def test_a_pool_is_looked_at_signed_with_its_keepers_role_and_their_doors_open(
    add: Callable[..., Any], small: Aside, ann: Person, folder: Path
) -> None:
    answer = add("--size", "s-1", "--spend", "10", "--label", "kind=rented", "--keepers", "vps-1,vps-3")
    assert answer["most"] == "at most 3 machines (s-1), at most 10.00 USD/month, the limit of --spend"
    assert "cloud small" in ann.said and "handing agent" in ann.said
    pool = held(small, "pool/burst")
    assert isinstance(pool, Pool)
    files = small.cloud.files
    assert pool.keepers == {f"node/{name}": files[name].keeper().key for name in ("vps-1", "vps-3")}
    assert (pool.network, pool.spend_usd_month, pool.labels) == ("10.77.16.0/20", 10.0, {"kind": "rented"})
    policy = held(small, "policy")
    role = next(role for role in policy.roles if role.name == "keeper-burst")
    assert (set(role.keys), role.paths, role.kinds) == (set(pool.keepers.values()), ("node/burst/*",), ("node",))
    for name, is_open in (("vps-1", True), ("vps-2", False), ("vps-3", True)):
        small.wait(f"the door of {name}", lambda n=name, o=is_open: bool(small.cloud.agents[n].enrolling.port) is o)  # type: ignore[misc]
        here = small.look(lambda n=name: small.cloud.agents[n].objects.here(pool.bundle))  # type: ignore[misc]
        assert (here is not None) is is_open
    shown = ann.run("machine", "pool", "show", "burst")
    assert shown["provider"] == "folder" and shown["tokens"] == []
    assert [row["pool"] for row in ann.run("machine", "pool", "ls")] == ["burst"]
    assert ann.run("machine", "ls") == []
    # A host that joins later keeps out of its block, and another pool, too.
    assert add("--size", "s-1", code=2)["code"] == "pool-taken"


def test_without_a_ceiling_it_is_what_all_machines_cost_in_a_month_and_a_twentieth(
    add: Callable[..., Any], small: Aside, ann: Person
) -> None:
    """The example's s-1 costs a cent an hour: 7.44 USD in the longest month, which is more than its monthly price."""
    assert add("--size", "s-1")["most"] == "at most 3 machines (s-1), at most 23.44 USD/month"
    assert held(small, "pool/burst").spend_usd_month == 23.44
    assert set(held(small, "pool/burst").keepers) == {"node/vps-1", "node/vps-2"}, (
        "the first two, where nobody says which"
    )
    ann.run("machine", "pool", "set", "burst", "--max", "2")
    assert held(small, "pool/burst").spend_usd_month == 15.63


def test_what_the_provider_does_not_have_is_said_and_nothing_is_signed(
    add: Callable[..., Any], small: Aside, ann: Person
) -> None:
    before = small.look(lambda: dict(small.cloud.agents["vps-1"].trusted.heads()))
    error = add("--size", "s-9", code=2)
    assert (error["code"], error["why"]) == ("no-such-size", "folder has: s-1, s-2")
    assert add("--cpus", "64", code=2)["code"] == "no-such-size"
    assert add("--size", "s-1", "--keepers", "vps-9", code=2)["code"] == "no-such-host"
    assert add("--size", "s-1", "--keepers", "none", code=2)["code"] == "usage"
    assert add("--size", "s-1", "--min", "4", code=2)["code"] == "usage"
    unknown = ("machine", "pool", "add", "burst", "--provider", "moon", "--size", "s-1", "--max", "1")
    assert ann.run(*unknown, code=2)["code"] == "unknown-provider"
    assert small.look(lambda: dict(small.cloud.agents["vps-1"].trusted.heads())) == before


@pytest.mark.real  # wants libvirt's client, whose test driver starts nothing
@pytest.mark.parametrize("image", [(), ("--image", "debian-12")])
def test_a_hypervisors_pool_without_an_image_is_refused_and_the_one_that_makes_one_is_named(
    image: tuple[str, ...], ann: Person, small: Aside, bundle: Path
) -> None:
    before = small.look(lambda: dict(small.cloud.agents["vps-1"].trusted.heads()))
    of = ("--provider", "libvirt", "--endpoint", "test:///default", "--option", "storage=default-pool")
    error = ann.run("machine", "pool", "add", "own", *of, "--size", "small", "--max", "1", *image, code=2)
    assert error["code"] == "no-such-image" and error["why"] == "the storage pool default-pool has: none"
    assert "mmdebstrap" in error["fix"]
    assert "skerry machine image test:///default --storage default-pool, then --image debian-12" in error["fix"]
    assert small.look(lambda: dict(small.cloud.agents["vps-1"].trusted.heads())) == before


def test_a_token_that_reaches_a_fixed_host_is_warned_of(add: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    (folder / "1").write_bytes(__import__("msgspec").json.encode(Server("1", "mine", "active", ("127.0.0.1",))))
    (warning,) = add("--size", "s-1")["warnings"]
    assert "this token reaches" in warning


def test_a_ceiling_under_which_the_least_number_cannot_stay_is_warned_of(add: Callable[..., Any], ann: Person) -> None:
    (warning,) = add("--size", "s-1", "--min", "2", "--spend", "5")["warnings"]
    assert warning.startswith("2 machines (s-1) that stay for a month cost 14.88 USD, and the ceiling is 5.00:")
    assert "lower --min" in ann.said
    ann.run("machine", "pool", "set", "burst", "--spend", "15")
    assert "the ceiling is" not in ann.said


def test_the_token_is_sealed_to_keepers_and_operators_and_stands_nowhere_in_clear(
    add: Callable[..., Any], small: Aside, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("dop_v1_secret\n")
    add("--cpus", "1", "--token-file", str(tmp_path / "token"), "--keepers", "vps-2")
    pool = held(small, "pool/burst")
    assert set(pool.tokens) == {"node/vps-2", small.cloud.operator.key}
    assert seal.open_token(small.cloud.files["vps-2"].seed("sealing"), pool.tokens["node/vps-2"]) == "dop_v1_secret"
    raw = small.look(lambda: b"".join(small.cloud.agents["vps-1"].door.newer_than({})))
    assert b"dop_v1" not in raw
    (tmp_path / "token").write_text("dop_v1_other")
    ann.run("machine", "pool", "set", "burst", "--token-file", str(tmp_path / "token"), "--max", "5", "--min", "1")
    pool = held(small, "pool/burst")
    assert (pool.min, pool.max) == (1, 5)
    assert seal.open_token(small.cloud.sealing, pool.tokens[small.cloud.operator.key]) == "dop_v1_other"


def rent(small: Aside, tmp_path: Path, index: int, keeper: str) -> Guest:
    """A machine of the pool, let in by this keeper."""
    return at_once(small, tmp_path / f"guest-{index}", index, keeper)


def test_an_expelled_keeper_loses_its_right_and_the_machines_stay(
    add: Callable[..., Any], small: Aside, ann: Person, tmp_path: Path
) -> None:
    add("--size", "s-1", "--keepers", "vps-1,vps-3")
    rent(small, tmp_path, 0, "vps-3")
    rent(small, tmp_path, 1, "vps-1")
    thief = small.cloud.files["vps-3"].keeper()
    answer = ann.run("host", "expel", "vps-3")
    assert (answer["kept_pools"], answer["machines_it_enrolled"]) == (["burst"], ["burst/0"])
    assert "keys of its own: take them away at the provider" in ann.said
    policy, pool = held(small, "policy"), held(small, "pool/burst")
    assert isinstance(policy, Policy) and thief.key in policy.barred
    assert set(pool.keepers) == {"node/vps-1"} and "node/vps-3" not in pool.tokens
    assert all(thief.key not in role.keys for role in policy.roles)
    small.wait("the machines at all", lambda: all(
        small.cloud.agents[name].trusted.enrolled(f"node/burst/{n}") is not None
        and not small.cloud.agents[name].trusted.lapsed(f"node/burst/{n}") for name in ("vps-1", "vps-2") for n in (0, 1)
    ))  # fmt: skip
    document = small.look(lambda: small.cloud.agents["vps-1"].trusted.document("node/burst/0"))
    assert document.signers == (small.cloud.operator.key,) and document.epoch == 1


def test_keepers_are_exchanged_without_barring_anybody(
    add: Callable[..., Any], small: Aside, ann: Person, tmp_path: Path
) -> None:
    add("--size", "s-1", "--keepers", "vps-1")
    rent(small, tmp_path, 0, "vps-1")
    ann.run("machine", "pool", "set", "burst", "--keepers", "vps-2,vps-3")
    pool, policy = held(small, "pool/burst"), held(small, "policy")
    assert set(pool.keepers) == {"node/vps-2", "node/vps-3"} and not policy.barred
    small.wait(
        "the doors", lambda: [bool(a.enrolling.port) for a in small.cloud.agents.values()] == [False, True, True]
    )
    assert isinstance(held(small, "node/burst/0"), Node)
    ann.run("machine", "pool", "set", "burst", "--keepers", "vps-1")
    assert set(held(small, "pool/burst").keepers) == {"node/vps-1"}


def test_a_machine_is_shown_and_a_pool_goes_with_all_that_belongs_to_it(
    add: Callable[..., Any], small: Aside, ann: Person, tmp_path: Path
) -> None:
    add("--size", "s-1", "--keepers", "vps-1")
    rent(small, tmp_path, 2, "vps-1")
    (row,) = ann.run("machine", "ls", "burst")
    assert (row["slot"], row["keeper"], row["id"]) == ("burst/2", "vps-1", "200")
    shown = ann.run("machine", "show", "burst/2")
    assert shown["subnet"] == "10.77.18.0/24" and shown["replicas"] == []
    assert ann.run("machine", "show", "burst/7", code=2)["code"] == "no-such-machine"
    assert ann.run("machine", "ls", "boost", code=2)["code"] == "no-such-pool"
    assert ann.run("host", "rm", "burst/2", code=2)["code"] == "machine-of-a-pool"
    assert "burst/2" in [host["name"] for host in ann.run("host", "ls")]
    small.look(lambda: say(small.cloud.agents["vps-1"], "burst/2", Machine(state="gone")))
    assert ann.run("machine", "pool", "rm", "burst", "--now")["returned"] == ["burst/2"]
    assert held(small, "node/burst/2").state == "expelled"
    assert held(small, "pool/burst").deleted
    assert ann.run("machine", "pool", "ls") == []
    small.wait("the door is shut", lambda: not small.cloud.agents["vps-1"].enrolling.port)
    assert add("--size", "s-2")["network"] == "10.77.16.0/20"  # and may come again


def test_an_app_that_is_opened_to_the_pool_is_sealed_to_its_machines_and_no_other_is(
    add: Callable[..., Any], small: Aside, ann: Person, tmp_path: Path
) -> None:
    add("--size", "s-1", "--keepers", "vps-1,vps-2")
    rent(small, tmp_path, 0, "vps-1")
    image = small.look(lambda: small.cloud.give_image(b"an app"))
    assert image
    key, other = b"k" * 32, b"o" * 32
    boxes = {
        f"node/{name}": seal.make_box(key, files.public_keys().sealing, bytes(range(32)))
        for name, files in small.cloud.files.items()
    }  # fmt: skip
    from skerry.core.intent import Secret

    def put(path: str, body: Any) -> None:
        document = small.cloud.agents["vps-1"].trusted.document(path)
        version, prev = (document.version + 1, document.hash) if document is not None else (1, "")
        small.cloud.agents["vps-1"].door.offer(small.cloud.sign(path, body, version, prev=prev), from_client=True)

    small.look(lambda: put("secret/web", Secret(key_id="k1", boxes=boxes)))
    small.look(lambda: put("secret/bank", Secret(key_id="k1", boxes=boxes)))
    small.look(lambda: put("app/bank", App()))
    small.look(lambda: put("app/web", App(pools=("burst",))))
    small.wait("its box", lambda: bool(small.cloud.agents["vps-2"].trusted.enrolled("node/burst/0").boxes))
    node = small.look(lambda: small.cloud.agents["vps-2"].trusted.enrolled("node/burst/0"))
    assert set(node.boxes) == {"web"}
    guest = Guest(tmp_path / "guest-0", small.cloud.cloud)
    assert seal.machine_key(guest.files.seed("sealing"), "web", node) == key != other
    version = small.look(lambda: small.cloud.agents["vps-1"].trusted.document("node/burst/0").version)
    assert version == 2  # one keeper signed it, not both
    small.look(lambda: put("app/web", App()))
    small.wait("no box", lambda: not small.cloud.agents["vps-2"].trusted.enrolled("node/burst/0").boxes)


def test_the_client_leaves_machines_to_their_keepers(
    add: Callable[..., Any], small: Aside, ann: Person, tmp_path: Path
) -> None:
    """Secrets are not sealed to them, hosts keep out of their block, requests go to fixed hosts first, records in order."""
    add("--size", "s-1", "--keepers", "vps-1")
    rent(small, tmp_path, 0, "vps-1")

    async def look() -> None:
        async with Session(Home(tmp_path / "ann").cloud("small"), lambda what: "") as session:
            await session.sync()
            assert "node/burst/0" in session.nodes
            assert set(session.seal_for_all(b"k" * 32).boxes) == {
                "node/vps-1", "node/vps-2", "node/vps-3", small.cloud.operator.key,
            }  # fmt: skip
            assert session.candidates()[-1] == "node/burst/0"
            session.preferred = "node/burst/0"
            assert session.candidates()[-1] == "node/burst/0"
            block = ipaddress.ip_network("10.77.16.0/20")
            free = [_subnet(session, f"node/vps-{n}") for n in (4, 5)]
            assert not any(ipaddress.ip_network(subnet).overlaps(block) for subnet in free)
            assert pool_block(session, 100) == "10.77.128.0/17"
            records = Trusted(session.file.id)
            for text in session.all_records():
                raw = base64.b64decode(text)
                records.commit(records.judge(raw, now_s=time.time()), raw)
            assert records.enrolled("node/burst/0") is not None
            with pytest.raises(Refusal):
                pool_block(session, 250)

    asyncio.run(look())
