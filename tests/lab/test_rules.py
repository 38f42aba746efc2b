"""The lab's pure parts: names, rates, addresses, rules, cgroup trees."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import BadInput
from skerry.lab import Lab, cgroups, programs, wires
from skerry.lab.errors import LabBadInput, LabError, LabNeedsLinux, LabNeedsPackages, LabNeedsRoot
from skerry.lab.state import Host, State

HYBRID = """\
31 29 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw
32 31 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 31 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
34 31 0:29 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw,nsdelegate
35 31 0:30 / /mnt/elsewhere rw - cgroup cgroup rw,memory
"""


def test_hybrid_machines_give_their_v1_trees_and_unified_ones_their_only_tree() -> None:
    assert [(t.path.name, t.version) for t in cgroups.trees(HYBRID)] == [("cpu,cpuacct", 1), ("systemd", 1)]
    assert cgroups.trees(HYBRID)[0].options == "cpu,cpuacct"
    assert "name=systemd" in cgroups.trees(HYBRID)[1].options.split(",")
    unified = "31 29 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"
    assert [(str(t.path), t.version) for t in cgroups.trees(unified)] == [("/sys/fs/cgroup", 2)]


def test_rules_separate_groups_and_leave_the_unnamed_alone() -> None:
    hosts = [
        Host(name="vps-1", index=1, group=0, loss=0.015),
        Host(name="vps-2", index=2, group=1),
        Host(name="vps-3", index=3),
    ]
    text = wires.rules(State(name="lab", base="host", network=0, hosts=hosts))
    assert text.splitlines()[5:-2] == [
        '  iifname "h1" oifname { "h2" } drop',
        '  iifname "h1" numgen random mod 10000 < 150 drop',
        '  oifname "h1" numgen random mod 10000 < 150 drop',
        '  iifname "h2" oifname { "h1" } drop',
    ]


@given(st.integers(0, wires.NETWORKS - 1))
def test_every_network_has_its_own_subnet_in_10_90_to_10_99_and_a_short_interface(number: int) -> None:
    lab = State(name="lab", base="host", network=number, hosts=[])
    first, second, third = map(int, lab.subnet.split("."))
    assert (first, second in range(90, 100), third in range(256)) == (10, True, True)
    assert len(lab.interface) <= 15
    assert lab.subnet != State(name="lab", base="host", network=(number + 1) % wires.NETWORKS, hosts=[]).subnet


@given(st.text(max_size=30))
def test_rates_losses_delays_and_names_are_taken_strictly(text: str) -> None:
    for check in (wires.check_rate, wires.check_loss, wires.check_delay, Lab):
        try:
            check(text)
        except LabBadInput as refused:
            assert isinstance(refused, BadInput) and isinstance(refused, LabError)
            assert refused.exit_code == 2


@pytest.mark.parametrize("text", ["101%", "-1%", "1", "%", "1e1%"])
def test_a_loss_is_from_nothing_to_all(text: str) -> None:
    with pytest.raises(LabBadInput):
        wires.check_loss(text)


def test_what_the_help_says_is_taken() -> None:
    assert wires.check_rate("10mbit") == "10mbit"
    assert wires.check_loss("1%") == 0.01
    assert wires.check_delay("20ms") == "20ms"


def test_what_this_machine_lacks_is_said_with_the_way_to_mend_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(LabNeedsPackages) as caught:
        programs.check_programs({"no-such-program-a": "a-tool", "no-such-program-b": "b-tool"})
    assert caught.value.fix == "apt-get install --no-install-recommends a-tool b-tool"
    lab = Lab("t-nothing", directory=tmp_path / "lab")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(LabNeedsRoot):
        lab.up()
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(LabNeedsLinux):
        lab.up()
    assert not lab.directory.exists()


@pytest.mark.parametrize(("hosts", "base"), [(0, "host"), (51, "host"), (3, "ubuntu")])
def test_a_lab_that_cannot_be_made_is_refused_before_anything_is(
    hosts: int, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(LabBadInput):
        Lab("t-nothing").up(hosts, base)
    assert not Lab("t-nothing").directory.exists()
