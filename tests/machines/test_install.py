"""The agent's way onto a host and off again, over real SSH to a lab host, with an agent that is a shell script."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from skerry.lab import Lab
from skerry.machines.errors import AgentFailed, BundleRefused, RemoteFailed
from skerry.machines.install import AgentRefused, Install, unit_text
from skerry.machines.ssh import Ssh
from skerry.machines.survey import judge, survey

pytestmark = pytest.mark.real
Make = Callable[[str], Path]


def tree(ssh: Ssh) -> str:
    """Everything of the host that installing could touch: paths, sizes, owners, modes, contents of units."""
    places = ["/etc", "/opt", "/usr/local", "/root", "/var/lib"]
    skip = ["-not", "-path", "/var/lib/systemd/*"]
    return ssh.run(["find", *places, *skip, "-printf", "%p %y %m %u %l %s\\n"]).decode()


def clean(ssh: Ssh) -> None:
    Install(ssh).rm(purge=True)


def test_a_host_is_joined_seen_mended_and_left_as_it_was(lab: Lab, ssh: Ssh, make_bundle: Make) -> None:
    before = tree(ssh)
    bundle = make_bundle("0.1.0-0badcafe")
    said: list[str] = []
    install = Install(ssh, said.append)
    assert install.status() == {"active": "", "version": "", "since": ""}
    assert install.node() == {}

    assert install.bundle(bundle) is True
    keys = install.keys("0.1.0-0badcafe")
    install.join("0.1.0-0badcafe", b'{"cloud": "c10d", "node": "node/vps-1"}')
    assert install.unit("0.1.0-0badcafe") is True
    install.start()
    status = install.status()
    assert (status["active"], status["version"]) == ("active", "0.1.0-0badcafe")
    assert install.node() == {"cloud": "c10d", "node": "node/vps-1"}
    assert "agent 0.1.0-0badcafe runs" in lab.exec("vps-1", ["journalctl", "-u", "skerry", "-o", "cat"]).stdout.decode()

    found = survey(ssh)
    assert (found.skerry_version, found.skerry_cloud, found.skerry_node) == ("0.1.0-0badcafe", "c10d", "node/vps-1")
    assert found.skerry_pid > 0
    assert judge(found, cloud="c10d") == []
    assert [p.code for p in judge(found, cloud="07e4")] == ["host-other-cloud"]

    pid = ssh.run(["systemctl", "show", "-p", "MainPID", "--value", "skerry"])
    said.clear()
    again = Install(ssh, said.append)  # a second run: nothing is changed
    assert again.bundle(bundle) is False
    assert again.keys("0.1.0-0badcafe") == keys
    assert again.unit("0.1.0-0badcafe") is False
    again.start()
    assert said == []
    assert ssh.run(["systemctl", "show", "-p", "MainPID", "--value", "skerry"]) == pid

    ssh.run(["rm", "/opt/skerry/0.1.0-0badcafe/lib/data with a blank"])  # broken in three ways, then mended
    ssh.run(["rm", "/etc/systemd/system/skerry.service"])
    ssh.run(["systemctl", "kill", "-s", "KILL", "skerry"])
    mending = Install(ssh)
    assert mending.bundle(bundle) is True
    assert mending.unit("0.1.0-0badcafe") is True
    mending.start()
    assert mending.status()["active"] == "active"
    assert mending.bundle(bundle) is False

    assert Install(ssh).rm(purge=False) == ["containers, rules and tunnel", "skerry.service", "/opt/skerry"]
    assert ssh.run(["ls", "/var/lib/skerry"]) == b"key\nnode.json\n"
    assert Install(ssh).rm(purge=True) == ["/var/lib/skerry"] or Install(ssh).rm(purge=True) == []
    assert tree(ssh) == before


def test_the_agent_comes_back_after_a_power_cut(lab: Lab, ssh: Ssh, make_bundle: Make) -> None:
    install = Install(ssh)
    install.bundle(make_bundle("0.1.0-00000001"))
    install.unit("0.1.0-00000001")
    install.start()
    lab.kill("vps-1")
    lab.boot("vps-1")
    with Ssh("root@vps-1", config=lab.ssh_config()) as fresh:
        fresh.run(["systemctl", "is-system-running", "--wait"])
        assert Install(fresh).status()["active"] == "active"
        assert Install(fresh).bundle(make_bundle("0.1.0-00000001")) in (True, False)
        clean(fresh)


def test_a_new_version_takes_over_and_the_old_one_can_come_back(ssh: Ssh, make_bundle: Make) -> None:
    install = Install(ssh)
    for version in ("0.1.0-00000001", "0.1.0-00000002", "0.1.0-00000003"):
        assert install.bundle(make_bundle(version))
        install.unit(version)
        install.start()
        assert version in ssh.run(["journalctl", "-u", "skerry", "-n", "3", "-o", "cat"]).decode()
    assert ssh.run(["ls", "/opt/skerry"]) == b"0.1.0-00000002\n0.1.0-00000003\ncurrent\n"
    install.unit("0.1.0-00000002")
    install.start()
    assert install.status()["version"] == "0.1.0-00000002"
    clean(ssh)


def test_an_agent_that_does_not_start_is_reported_in_its_own_words(ssh: Ssh, make_bundle: Make) -> None:
    install = Install(ssh)
    install.bundle(make_bundle("0.1.0-00000001"))
    install.keys("0.1.0-00000001")
    ssh.run(["touch", "/var/lib/skerry/broken"])
    install.unit("0.1.0-00000001")
    with pytest.raises(AgentFailed) as caught:
        install.start(timeout_s=10)
    assert "a bone is broken" in caught.value.why
    ssh.run(["rm", "/var/lib/skerry/broken"])
    Install(ssh).start()
    assert install.status()["active"] == "active"
    clean(ssh)


def test_a_refusal_of_the_agent_comes_through_as_it_is(ssh: Ssh, make_bundle: Make) -> None:
    install = Install(ssh)
    install.bundle(make_bundle("0.1.0-00000001"))
    install.keys("0.1.0-00000001")
    with pytest.raises(AgentRefused) as caught:
        install.join("0.1.0-00000001", b'{"cloud": "refuse-me"}')
    assert (caught.value.what, caught.value.why, caught.value.agent_code) == (
        "the host was not joined",
        "a test",
        "other-cloud",
    )
    clean(ssh)


def test_what_is_no_bundle_is_refused_and_leaves_nothing_to_run(ssh: Ssh, tmp_path: Path) -> None:
    install = Install(ssh)
    with pytest.raises(BundleRefused):
        install.bundle(tmp_path / "evil.tar.gz")
    cut = tmp_path / "skerry-agent-0.1.0-00000009.tar.gz"
    cut.write_bytes(b"\x1f\x8bno gzip at all")
    with pytest.raises(BundleRefused):
        install.bundle(cut)
    with pytest.raises(RemoteFailed):
        ssh.run(["test", "-e", "/opt/skerry/0.1.0-00000009"])
    clean(ssh)


@pytest.mark.parametrize("version", ["../../etc", "1;reboot", "", "1 2", "v1"])
def test_a_version_never_leads_out_of_its_folder(version: str) -> None:
    with pytest.raises(BundleRefused):
        unit_text(version)


def test_the_unit_keeps_containers_alive_and_never_gives_up() -> None:
    text = unit_text("0.1.0-00000001").decode()
    for line in ("KillMode=process", "Delegate=yes", "Restart=always", "StartLimitIntervalSec=0", "Type=notify"):
        assert f"\n{line}\n" in text
    assert "ExecStart=/opt/skerry/0.1.0-00000001/bin/skerry-agent run --state /var/lib/skerry\n" in text
