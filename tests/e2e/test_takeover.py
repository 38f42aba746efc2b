"""Taking a cloud over: from its recovery file alone, and, with every key lost, by SSH."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo.clients import Clients, ask
from demo.skerry import Skerry

from e2e.machines import Hosts, machines

pytestmark = pytest.mark.e2e
NAME = "hosts-takeover"
PASSPHRASE = "seven wet stones"
OF_CLOUD = ("vps-1", "vps-2")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with machines(NAME, 2, tmp_path_factory.mktemp("takeover"), recovery_passphrase=PASSPHRASE) as made:
        for name in OF_CLOUD:
            made.add(name)
        made.deploy()
        made.skerry.wait("the app is well", made.well)
        yield made


def elsewhere(hosts: Hosts, folder: Path) -> Hosts:
    """Another operator's machine, which knows nothing."""
    skerry = Skerry(folder / "home", print)
    skerry.environment["SKERRY_RECOVERY_PASSPHRASE"] = PASSPHRASE
    return Hosts(hosts.lab, skerry, folder)


def test_the_recovery_file_alone_takes_the_cloud_over_and_deploys(hosts: Hosts, tmp_path: Path) -> None:
    other = elsewhere(hosts, tmp_path)
    recovery = hosts.work / "recovery.age"
    met = other.skerry.json("key", "import", str(recovery), "--host", hosts.address("vps-2"))
    assert (met["name"], met["met"]) == (NAME, "node/vps-2")
    assert other.up() == list(OF_CLOUD)
    assert other.well()
    other.skerry.run("scale", "small.web", "1")
    other.skerry.wait("one replica of web", lambda: len([r for r in other.ps() if r["service"] == "web"]) == 1)
    hosts.skerry.run("scale", "small.web", "2")  # the first machine learns of it and goes on
    hosts.skerry.wait("two again", hosts.well)

    file = tmp_path / "newer.age"
    other.skerry.run("key", "export", "--out", str(file))
    third = elsewhere(hosts, tmp_path / "third")
    assert third.skerry.json("key", "import", str(file))["met"], "a newer file knows the hosts itself"
    assert third.up() == list(OF_CLOUD)


def test_a_recovery_file_that_does_not_open_leaves_nothing_behind(hosts: Hosts, tmp_path: Path) -> None:
    other = elsewhere(hosts, tmp_path)
    recovery = hosts.work / "recovery.age"
    damaged = tmp_path / "damaged.age"
    data = bytearray(recovery.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    there = ["--host", hosts.address("vps-1")]
    other.skerry.environment["SKERRY_RECOVERY_PASSPHRASE"] = "not this one"
    for file in (recovery, damaged, tmp_path / "home"):
        (tmp_path / "home").write_text("not a recovery file at all") if file.name == "home" else None
        code, error = other.refused("key", "import", str(file), *there)
        assert (code, error["code"]) == (3, "cannot-open"), error
        other.skerry.environment["SKERRY_RECOVERY_PASSPHRASE"] = PASSPHRASE
    (tmp_path / "home").unlink()
    code, error = other.refused("key", "import", str(recovery), "--host", "127.0.0.1:9")
    assert (code, error["code"]) == (4, "unreachable")
    assert other.skerry.json("cloud", "ls") == []

    code, error = hosts.refused("key", "import", str(recovery), *there)
    assert (code, error["code"]) == (2, "cloud-exists")


def test_what_is_public_has_no_secret_in_it_and_serves_a_key_with_a_role(hosts: Hosts, tmp_path: Path) -> None:
    ci = elsewhere(hosts, tmp_path)
    key, public = tmp_path / "ci.key", tmp_path / "cloud.json"
    ci.skerry.run("key", "new", "ci", "--out", str(key))
    hosts.skerry.run("key", "export", "--public", "--out", str(public))
    assert "seed" not in public.read_text() and "secret" not in public.read_text()
    code, error = ci.refused("key", "import", str(public), "--key", str(key))
    assert code != 0 and "skerry role" in error["fix"], error
    hosts.skerry.run("role", "add", "ci", "ci", "--key", f"{key}.pub", "--app", "small")
    hosts.skerry.run("key", "export", "--public", "--out", str(public))
    assert ci.skerry.json("key", "import", str(public), "--key", str(key))["met"]
    assert ci.well()
    code, error = ci.refused("host", "drain", "vps-1")
    assert code == 3, error


def test_a_lost_operator_key_is_replaced_and_the_old_one_signs_nothing_any_more(hosts: Hosts, tmp_path: Path) -> None:
    """A new root: from the recovery file, on another machine."""
    programs = hosts.programs(*OF_CLOUD)
    other, newer = elsewhere(hosts, tmp_path), tmp_path / "newer.age"
    other.skerry.run("key", "import", str(hosts.work / "recovery.age"), "--host", hosts.address("vps-1"))
    replaced = other.skerry.json("key", "rotate", "--recovery-file", str(newer))
    assert replaced["secrets_it_could_read"] == ["small"]
    assert {"app/small", "release/small", "node/vps-1", "node/vps-2"} <= set(replaced["signed_again"])
    code, error = hosts.refused("scale", "small.web", "1")
    assert code in (3, 4), error
    other.skerry.run("scale", "small.web", "2")
    other.skerry.wait("the app is well", other.well)
    assert hosts.programs(*OF_CLOUD) == programs
    shutil.rmtree(hosts.skerry.home)  # the first machine goes on from the new file
    hosts.skerry.run("key", "import", str(newer))
    hosts.skerry.wait("the first machine is back", hosts.well)


def test_with_every_key_lost_hosts_are_adopted_by_ssh_and_their_apps_run_on(hosts: Hosts, tmp_path: Path) -> None:
    hosts.skerry.wait("the app is well", hosts.well)
    keeper = next(iter(hosts.where("keep")))
    hosts.said(keeper, "sh", "-c", "echo kept > /var/lib/skerry/volumes/small/data/mark")
    programs, where = hosts.programs(*OF_CLOUD), [(row["slot"], row["node"]) for row in hosts.ps()]
    other = elsewhere(hosts, tmp_path)
    other.skerry.run("init", "rescued", "--recovery-file", str(tmp_path / "rescued.age"))
    code, error = other.refused("host", "add", f"root@{hosts.address('vps-1')}", *hosts.ssh())
    assert (code, error["code"]) == (3, "host-other-cloud")

    targets = [f"root@{hosts.address(name)}" for name in OF_CLOUD]
    with Clients(hosts.web(), write=False, path="/") as clients:
        adopted = other.skerry.json("host", "adopt", *targets, *hosts.ssh())
        other.skerry.wait("the app is well in its new cloud", other.well)
        count = clients.take()
    assert adopted == {"hosts": list(OF_CLOUD), "apps": ["small"]}
    assert count.requests > 0 and count.failed == 0, count.whys
    assert hosts.programs(*OF_CLOUD) == programs, "nothing was started anew"
    assert [(row["slot"], row["node"]) for row in other.ps()] == where
    assert hosts.said(keeper, "cat", "/var/lib/skerry/volumes/small/data/mark") == "kept\n"

    code, error = hosts.refused("ps")  # whoever has the old keys has nothing any more
    assert code in (3, 4), error
    other.skerry.run("scale", "small.web", "3")
    other.skerry.wait(
        "three of web", lambda: len([r for r in other.ps() if r["service"] == "web" and r["healthy"]]) == 3
    )
    assert ask(hosts.web()[0], path="/")[1] == ""
    shutil.rmtree(hosts.skerry.home)
