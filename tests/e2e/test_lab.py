"""`skerry lab` as a person uses it: one command gives a ready cloud, and whatever happens to it nothing stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from demo.skerry import COMMAND, Skerry

from checkout import lab_name
from skerry.lab.lab import Lab

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(os.geteuid() != 0, reason="whole machines need root")]
NAME = lab_name("hosts-lab")


@pytest.fixture
def lab() -> Iterator[Lab]:
    lab = Lab(NAME)
    lab.down()
    yield lab
    lab.down()
    assert lab.leftovers() == []


def test_lab_up_alone_gives_a_ready_cloud_that_sees_nothing_of_the_operator(lab: Lab, tmp_path: Path) -> None:
    skerry = Skerry(tmp_path / "home", print)
    rows = skerry.json("lab", "up", "--lab", NAME, "--hosts", "2")
    assert [(row["name"], row["state"]) for row in rows] == [("vps-1", "on"), ("vps-2", "on")]
    assert rows == skerry.json("lab", "status", "--lab", NAME)
    assert all(row["address"] and row["pid"] > 1 for row in rows)
    assert [(c["name"], c["selected"]) for c in skerry.json("cloud", "ls")] == [(NAME, True)]
    skerry.wait("both are up", lambda: [h["state"] for h in skerry.json("host", "ls")] == ["up", "up"])

    secret = json.loads((tmp_path / "home" / "clouds" / NAME / "keys" / "operator.key").read_bytes())["seed"]
    places = ["/etc", "/root", "/run", "/tmp", "/var", "/opt", "/home", "/srv", "/mnt"]
    assert lab.exec("vps-1", ["grep", "-rlsF", "--exclude-dir=proc", secret, *places]).stdout == b""
    for path in (tmp_path, COMMAND, Path(__file__), lab.directory):
        assert lab.exec("vps-1", ["test", "-e", str(path)]).returncode == 1, path

    assert (
        b"already"
        in subprocess.run(
            [COMMAND, "lab", "up", "--lab", NAME],
            env=Skerry(tmp_path / "other", print).environment,
            capture_output=True,
        ).stderr
    ), "another operator of this machine is told that it is there"
    try:
        skerry.run("lab", "slow", "vps-1", "--delay", "20ms", "--lab", NAME)
    except RuntimeError as refused:
        assert "netem" in str(refused)
    skerry.run("lab", "down", "--lab", NAME)
    assert skerry.json("cloud", "ls") == [] and lab.leftovers() == []


def test_a_cloud_that_is_selected_stays_so_and_the_lab_says_how_to_select_its_own(lab: Lab, tmp_path: Path) -> None:
    skerry = Skerry(tmp_path / "home", print)
    skerry.run("init", "mine", "--recovery-file", str(tmp_path / "recovery.age"))
    done = subprocess.run(
        [COMMAND, "lab", "up", "--lab", NAME, "--hosts", "1"], env=skerry.environment, capture_output=True, check=True
    )
    assert f"skerry cloud use {NAME}".encode() in done.stderr
    assert [(c["name"], c["selected"]) for c in skerry.json("cloud", "ls")] == [(NAME, False), ("mine", True)]
    skerry.run("lab", "down", "--lab", NAME)
    assert [c["name"] for c in skerry.json("cloud", "ls")] == ["mine"]


@pytest.mark.parametrize("blow", [signal.SIGTERM, signal.SIGKILL])
def test_lab_up_is_ended_while_hosts_join(lab: Lab, tmp_path: Path, blow: signal.Signals) -> None:
    skerry = Skerry(tmp_path / "home", print)
    sent: Callable[[], bool] = lambda: (lab.directory / "hosts/vps-1/opt/skerry").exists()  # noqa: E731
    with subprocess.Popen(
        [COMMAND, "lab", "up", "--lab", NAME, "--hosts", "2"], env=skerry.environment, stderr=subprocess.DEVNULL
    ) as command:
        skerry.wait("the first host gets its agent", lambda: sent() or command.poll() is not None)
        command.send_signal(blow)
    assert command.returncode != 0
    if blow == signal.SIGKILL:
        skerry.run("lab", "down", "--lab", NAME)
    assert lab.leftovers() == []
    assert skerry.json("cloud", "ls") == []
