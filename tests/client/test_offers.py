"""Several providers side by side: their price lists, a pool over two accounts, and what is signed of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.small import Aside
from client.test_pools import ann, bundle, held, small
from client.test_roles import Person
from skerry.client.offers import alone, compare, offers_said, tokens_said
from skerry.core.intent import Offer, Pool
from skerry.errors import BadInput
from skerry.lab.ocean import Pace, Simulator
from skerry.lab.ocean.serving import Server
from skerry.machines.contract import Size
from skerry.trust import seal

pytestmark = pytest.mark.usefixtures("quick_age")
__all__ = ["ann", "bundle", "small"]
FIRST, SECOND = "dop_v1_" + "a1" * 32, "dop_v1_" + "b2" * 32
GIB = 1 << 30


class Accounts:
    """Two at DigitalOcean's simulator, the second at half the price."""

    def __init__(self) -> None:
        self.simulators = [Simulator(pace=Pace(), tokens={FIRST: None}),
                           Simulator(pace=Pace(), tokens={SECOND: None}, price_factor=0.5)]  # fmt: skip
        self.servers = [Server(each, ("127.0.0.1", 0)).start() for each in self.simulators]

    @property
    def providers(self) -> tuple[str, ...]:
        return tuple(word for each in self.servers for word in ("--provider", f"digitalocean={each.endpoint}"))


@pytest.fixture
def accounts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Accounts]:
    monkeypatch.setenv("DIGITALOCEAN_TOKEN", FIRST)
    monkeypatch.setenv("DIGITALOCEAN_2_TOKEN", SECOND)
    made = Accounts()
    yield made
    for server in made.servers:
        server.stop()


NEEDS = ("--cpus", "1", "--memory", "1g", "--max", "2")


def add(accounts: Accounts, *more: str) -> tuple[str, ...]:
    image = ("--image", "debian-12-x64", "--option", "digitalocean-2.image=ubuntu-24-04-x64")
    return ("machine", "pool", "add", "burst", *accounts.providers, *image, *more)


def test_prices_are_shown_side_by_side_and_the_cheapest_fit_first(ann: Person, accounts: Accounts) -> None:
    rows = ann.run("machine", "sizes", *accounts.providers, "--cpus", "2", "--memory", "2g", "--price", "20")
    assert [(row["provider"], row["name"], row["usd_month"], row["fit"]) for row in rows] == [
        ("digitalocean-2", "s-2vcpu-2gb", 9.0, "cheapest"),
        ("digitalocean-2", "s-2vcpu-4gb", 12.0, "fits"),
        ("digitalocean", "s-2vcpu-2gb", 18.0, "fits"),
    ]
    every = ann.run("machine", "sizes", *accounts.providers, "--cpus", "2", "--memory", "2g", "--price", "20", "--all")
    assert len(every) > len(rows) and every[: len(rows)] == rows


def test_a_provider_that_tells_no_prices_is_said_and_the_others_are_shown(ann: Person, accounts: Accounts) -> None:
    accounts.servers[1].stop()
    rows = ann.run("machine", "sizes", *accounts.providers, "--cpus", "1", "--memory", "1g")
    assert {row["provider"] for row in rows} == {"digitalocean"} and "digitalocean-2 tells no prices" in ann.said


def test_a_pool_over_two_accounts_is_signed_with_both_and_the_dearer_one_makes_its_ceiling(
    ann: Person, accounts: Accounts, bundle: Path, small: Aside
) -> None:
    answer = ann.run(*add(accounts, *NEEDS, "--keepers", "vps-1,vps-2"))
    assert answer["provider"] == "digitalocean-2" and answer["size"] == "s-1vcpu-1gb"
    assert [(fit["provider"], fit["fit"]) for fit in answer["fits"][:2]] == [
        ("digitalocean-2", "cheapest"), ("digitalocean", "fits")]  # fmt: skip
    pool = held(small, "pool/burst")
    assert isinstance(pool, Pool)
    assert pool.others == (Offer(name="digitalocean-2", provider="digitalocean", image="ubuntu-24-04-x64",
                                 endpoint=accounts.servers[1].endpoint),)  # fmt: skip
    assert pool.spend_usd_month == pytest.approx(2 * 744 * 0.00744 * 1.05, abs=0.01)  # at the dearer of the two
    agent = small.cloud.agents["vps-1"]
    tokens = small.look(lambda: [agent.enrolments.token(pool, name) for name in pool.offers()])
    assert tokens == [FIRST, SECOND]
    assert ann.run("machine", "pool", "ls")[0]["provider"] == "digitalocean, digitalocean-2"
    prices = ann.run("machine", "sizes", "--pool", "burst")
    assert prices[0]["provider"] == "digitalocean-2" and prices[0]["fit"] == "cheapest"


def test_one_token_of_two_is_exchanged_and_the_other_stays(
    ann: Person, accounts: Accounts, bundle: Path, small: Aside, tmp_path: Path
) -> None:
    ann.run(*add(accounts, *NEEDS, "--keepers", "vps-1"))
    new = "dop_v1_" + "c3" * 32
    accounts.simulators[1].tokens[new] = None
    (tmp_path / "token").write_text(f"digitalocean-2={new}\n")
    ann.run("machine", "pool", "set", "burst", "--token-file", str(tmp_path / "token"))
    pool = held(small, "pool/burst")
    agent = small.cloud.agents["vps-1"]
    assert small.look(lambda: [agent.enrolments.token(pool, name) for name in pool.offers()]) == [FIRST, new]
    refused = ann.run("machine", "pool", "set", "burst", "--size", "s-1vcpu-2gb", code=2)
    assert "several providers" in refused["why"]


def test_without_keepers_the_cheapest_alone_is_signed(
    ann: Person, accounts: Accounts, bundle: Path, small: Aside
) -> None:
    answer = ann.run(*add(accounts, *NEEDS, "--keepers", "none", "--meeting", "vps-1"))
    pool = held(small, "pool/burst")
    assert (pool.endpoint, pool.others, pool.image) == (accounts.servers[1].endpoint, (), "ubuntu-24-04-x64")
    assert answer["size"] == "s-1vcpu-1gb" and pool.options == {"meeting": "vps-1"}


def test_what_nobody_has_for_that_price_is_refused_and_nothing_is_signed(
    ann: Person, accounts: Accounts, bundle: Path, small: Aside
) -> None:
    refused = ann.run(*add(accounts, *NEEDS, "--price", "2"), code=2)
    assert refused["code"] == "no-such-size" and "digitalocean, digitalocean-2" in refused["what"]
    one = (
        "machine",
        "pool",
        "add",
        "burst",
        "--provider",
        f"digitalocean={accounts.servers[0].endpoint}",
        "--max",
        "1",
    )
    refused = ann.run(*one, "--size", "s-1vcpu-1gb", "--price", "2", "--image", "debian-12-x64", code=2)
    assert refused["code"] == "no-such-size" and "5.00 USD/month now, and --price is 2.00" in refused["why"]
    assert ann.run(*add(accounts, "--size", "s-1vcpu-1gb", "--max", "1"), code=2)["code"] == "usage"
    assert held(small, "pool/burst") is None


def test_what_is_said_of_a_further_provider_is_its_own() -> None:
    said = offers_said(
        ("digitalocean", "libvirt=qemu+ssh://root@box/system", "digitalocean=http://127.0.0.1:1"), "", "debian",
        {"meeting": "vps-1", "libvirt.image": "mine", "libvirt.storage": "fast", "digitalocean-2.vpc": "v"},
    )  # fmt: skip
    assert (said["provider"], said["endpoint"], said["image"], said["options"]) == (
        "digitalocean", "", "debian", {"meeting": "vps-1"})  # fmt: skip
    assert said["others"] == (
        Offer(
            name="libvirt",
            provider="libvirt",
            endpoint="qemu+ssh://root@box/system",
            image="mine",
            options={"storage": "fast"},
        ),
        Offer(name="digitalocean-2", provider="digitalocean", endpoint="http://127.0.0.1:1", options={"vpc": "v"}),
    )


@pytest.mark.parametrize(("providers", "endpoint"), [(("digitalocean", "manual"), ""), (("a", "b"), "http://x")])
def test_what_a_person_brings_is_compared_with_nobody_and_an_endpoint_is_somebodys(
    providers: tuple[str, ...], endpoint: str
) -> None:
    with pytest.raises(BadInput):
        offers_said(providers, endpoint, "", {})


TWO = Pool(provider="a", max=1, network="10.77.0.0/16", others=(Offer(name="b", provider="b"),), regions=("x",))


def test_tokens_of_several_are_lines_or_an_object_and_who_is_not_named_keeps_its_own() -> None:
    known = seal.token_text({"": "1", "b": "2"})
    assert seal.tokens_of(TWO, tokens_said(TWO, known, "b=3")) == {"": "1", "b": "3"}
    assert seal.tokens_of(TWO, tokens_said(TWO, known, '{"a": "line 1\\nline 2"}')) == {"": "line 1\nline 2", "b": "2"}
    assert {name: token for name, (_, token) in alone(TWO, known).items()} == {"": "1", "b": "2"}
    for wrong in ("c=3", "b", "b=", '{"a": 1}'):
        with pytest.raises(BadInput):
            tokens_said(TWO, known, wrong)


def test_what_is_in_no_region_of_the_pool_does_not_fit_and_what_is_equal_goes_by_memory() -> None:
    def size(name: str, gib: int, usd: float, *regions: str) -> Size:
        return Size(name, 1.0, gib * GIB, 0, usd / 744, usd, regions)

    lists: dict[str, Any] = {"": [size("far", 8, 1.0, "y"), size("even", 1, 5.0, "x")], "b": [size("more", 2, 5.0)]}
    found = compare(TWO, lists)
    assert [(row.size, row.fit) for row in found] == [("more", "cheapest"), ("even", "fits"), ("far", "")]


def test_a_folder_says_a_pool_over_two_accounts_and_applied_again_it_changes_nothing(
    ann: Person, accounts: Accounts, bundle: Path, small: Aside, tmp_path: Path
) -> None:
    folder = tmp_path / "cloud"
    folder.mkdir()
    urls = ", ".join(f"digitalocean={server.endpoint}" for server in accounts.servers)
    text = (
        f"pools:\n  burst:\n    providers: [{urls}]\n    image: debian-12-x64\n    cpus: 1\n    memory: 1g\n    max: 2\n"
        "    options: {digitalocean-2.image: ubuntu-24-04-x64}\n    keepers: [vps-1]\n"
    )
    (folder / "pools.yaml").write_text(text)
    assert [step["action"] for step in ann.run("apply", str(folder), "--yes")["steps"]] == ["add"]
    pool = held(small, "pool/burst")
    assert [offer.image for offer in pool.offers().values()] == ["debian-12-x64", "ubuntu-24-04-x64"]
    assert ann.run("plan", str(folder))["steps"] == []
    ann.run("export", str(tmp_path / "out"))
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "pools.yaml").write_text((tmp_path / "out" / "pools.yaml").read_text())
    assert ann.run("plan", str(tmp_path / "again"))["steps"] == []
    (folder / "pools.yaml").write_text(text.replace("keepers: [vps-1]", "size: s-1vcpu-1gb\n    keepers: []"))
    refused = ann.run("plan", str(folder), code=2)
    assert "one provider's word" in str(refused) and "no keepers to choose" in str(refused)
