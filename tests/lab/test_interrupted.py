"""Whatever happens to the one who made a lab: `down` finds all of it and removes all of it. Real parts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from checkout import lab_name
from skerry.lab import Lab
from skerry.lab.cgroups import processes
from skerry.lab.errors import LabNotUp

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not sys.platform.startswith("linux") or os.geteuid() != 0, reason="needs root on Linux"),
]
UP = "import sys\nfrom skerry.lab import Lab\nLab(sys.argv[1]).up(3)\n"


@pytest.fixture
def lab() -> Iterator[Lab]:
    lab = Lab(lab_name("t-broken"))
    lab.down()
    yield lab
    lab.down()
    assert lab.leftovers() == []


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", [0, 1, 2])
def test_the_command_is_ended_while_it_brings_the_lab_up(lab: Lab, blow: signal.Signals, when: int) -> None:
    moments = [lab.directory.exists, lambda: (lab.directory / "state.json").exists(), lambda: bool(processes(lab.name))]
    with subprocess.Popen([sys.executable, "-c", UP, lab.name], stderr=subprocess.DEVNULL) as command:
        end = time.monotonic() + 60
        while not moments[when]() and command.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.001)
        command.send_signal(blow)
    lab.down()
    assert lab.leftovers() == []
    assert not (Path("/var/lib/skerry-lab") / lab.name).exists()


def test_the_hosts_outlive_the_command_that_made_them(lab: Lab) -> None:
    subprocess.run([sys.executable, "-c", UP, lab.name], check=True)
    assert [m.state for m in lab.status()] == ["on"] * 3
    found = lab.leftovers()
    for kind in ("process", "cgroup", "mount", "interface", "file"):
        assert any(line.startswith(kind + " ") for line in found), kind


def test_everything_is_found_without_the_labs_own_notes(lab: Lab) -> None:
    lab.up(1)
    (lab.directory / "state.json").unlink()
    with pytest.raises(LabNotUp):
        lab.status()
    lab.down()
    assert lab.leftovers() == []


def test_down_keeps_what_is_not_the_labs(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years")
    (tmp_path / "own/vps-1/skerry/objects").mkdir(parents=True)
    (tmp_path / "own/vps-1/skerry/objects/thesis.txt").write_text("years")
    (tmp_path / "hosts").symlink_to(tmp_path / "own")
    Lab(lab.name, directory=tmp_path).down()
    assert (
        (tmp_path / "thesis.txt").read_text()
        == (tmp_path / "own/vps-1/skerry/objects/thesis.txt").read_text()
        == "years"
    )
    assert not (tmp_path / "hosts").is_symlink()


def test_two_labs_stand_side_by_side(lab: Lab) -> None:
    other = Lab(lab_name("t-other"))
    other.down()
    try:
        lab.up(1)
        other.up(1)
        assert lab.status()[0].address != other.status()[0].address
        other.down()
        assert lab.exec("vps-1", ["true"]).returncode == 0
    finally:
        other.down()


@pytest.mark.slow
def test_ten_hosts_at_once(lab: Lab) -> None:
    assert [m.state for m in lab.up(10)] == ["on"] * 10


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="needs mmdebstrap")
def test_a_minimal_host_has_an_ssh_server_and_little_else(lab: Lab) -> None:
    lab.up(1, base="minimal")
    done = subprocess.run(
        ["ssh", "-F", lab.ssh_config(), "vps-1", "systemctl", "is-system-running"], capture_output=True
    )
    assert done.stdout in (b"running\n", b"starting\n")
    for program in ("python3", "curl", "nft", "runc"):
        assert lab.exec("vps-1", ["sh", "-c", f"command -v {program}"]).returncode != 0
    lab.kill("vps-1")
    assert lab.boot("vps-1")[0].state == "on"
