"""Ways to a host: other users, other ports, hosts on the way, and keys that are seen for the first time. Against real servers."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import BadInput, TrustRefusal
from skerry.lab import Lab
from skerry.machines.errors import BadTarget, NotRoot, SshHostKeyOther, SshHostKeyUnknown, SshWrongKey
from skerry.machines.hostkeys import read_known
from skerry.machines.ssh import Ssh
from skerry.machines.survey import judge, survey

PORT = 2222
LIMIT_S = 20.0


@pytest.fixture(scope="module")
def server(lab: Lab) -> Iterator[dict[str, str]]:
    """A second server in the lab host, on another port, with keys of two kinds: kind -> fingerprint."""
    with Ssh("root@vps-1", config=lab.ssh_config()) as ssh:
        for kind in ("ed25519", "rsa"):
            ssh.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", f"/root/second-{kind}"])
        keys = [f"-oHostKey=/root/second-{kind}" for kind in ("ed25519", "rsa")]
        ssh.run(["/usr/sbin/sshd", "-p", str(PORT), "-o", "PidFile=/run/second.pid", *keys])
        told = {
            kind: ssh.run(["ssh-keygen", "-lf", f"/root/second-{kind}.pub"]).decode() for kind in ("ed25519", "rsa")
        }
        yield {kind: text.split()[1] for kind, text in told.items()}
        ssh.run(["sh", "-c", "kill $(cat /run/second.pid)"])


@pytest.fixture
def fresh(lab: Lab, tmp_path: Path) -> Path:
    """An ssh configuration that knows no host yet, and takes any in silence."""
    path = tmp_path / "config"
    path.write_text(
        f'Host *\n    IdentityFile "{lab.directory}/ssh/id_ed25519"\n    IdentitiesOnly yes\n    GSSAPIAuthentication no\n'
        f"    StrictHostKeyChecking accept-new\n    UserKnownHostsFile {tmp_path}/known\n    GlobalKnownHostsFile none\n"
    )
    return path


def address(lab: Lab) -> str:
    return lab.status()[0].address


def known(fresh: Path) -> str:
    file = fresh.with_name("known")
    return file.read_text() if file.exists() else ""


@pytest.mark.real
def test_a_key_that_nobody_agreed_to_is_not_taken_in_silence_and_is_shown(
    lab: Lab, server: dict[str, str], fresh: Path
) -> None:
    with Ssh(f"root@{address(lab)}:{PORT}", config=fresh) as ssh, pytest.raises(SshHostKeyUnknown) as caught:
        ssh.run(["true"])
    assert caught.value.exit_code == 3
    assert server["ed25519"] in caught.value.why and f"--host-key {server['ed25519']}" in caught.value.fix
    assert known(fresh) == ""


@pytest.mark.real
@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_the_key_that_was_named_is_taken_and_remembered(
    lab: Lab, server: dict[str, str], fresh: Path, kind: str
) -> None:
    target = f"root@{address(lab)}:{PORT}"
    with Ssh(target, config=fresh, host_keys=[server[kind]]) as ssh:
        assert ssh.run(["hostname"]) == b"vps-1\n"
        ssh.close()
        assert ssh.run(["hostname"]) == b"vps-1\n", "and once more, after the connection broke"
    (line,) = known(fresh).splitlines()
    assert [key.fingerprint for key in read_known(line)] == [server[kind]]
    with Ssh(target, config=fresh) as ssh:
        ssh.run(["true"])
    assert known(fresh).splitlines() == [line]


@pytest.mark.real
def test_another_key_than_the_one_that_was_named(lab: Lab, server: dict[str, str], fresh: Path) -> None:
    other = "SHA256:" + "A" * 43
    target = f"root@{address(lab)}:{PORT}"
    with Ssh(target, config=fresh, host_keys=[other]) as ssh, pytest.raises(SshHostKeyOther) as caught:
        ssh.run(["true"])
    assert isinstance(caught.value, TrustRefusal)
    assert server["ed25519"] in caught.value.why and server["rsa"] in caught.value.why
    assert known(fresh) == ""
    with Ssh(target, config=fresh, host_keys=[server["rsa"]]) as ssh:
        ssh.run(["true"])
    with Ssh(target, config=fresh, host_keys=[other]) as ssh, pytest.raises(SshHostKeyOther):
        ssh.run(["true"])  # also where another one is known already


@pytest.mark.real
@pytest.mark.parametrize(("answer", "agreed"), [("yes", True), ("no", False)])
def test_at_a_terminal_a_person_is_shown_the_key_and_asked(
    lab: Lab, server: dict[str, str], fresh: Path, answer: str, agreed: bool
) -> None:
    code = (
        "import sys; from pathlib import Path; from skerry.machines.ssh import Ssh\n"
        "with Ssh(sys.argv[1], config=Path(sys.argv[2])) as ssh: print('came in as', ssh.run(['id', '-un']).decode())"
    )
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", code, f"root@{address(lab)}:{PORT}", str(fresh)])
    shown, answered = "", False
    end_s = time.monotonic() + LIMIT_S
    while time.monotonic() < end_s:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                shown += os.read(terminal, 4096).decode(errors="replace")
            except OSError:  # it has ended
                break
        if "(yes/no" in shown and not answered:
            assert server["ed25519"] in shown and "came in" not in shown
            os.write(terminal, f"{answer}\n".encode())
            answered = True
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert answered, shown
    assert ("came in as root" in shown) is agreed, shown
    assert (os.waitstatus_to_exitcode(status) == 0) is agreed
    assert (server["ed25519"] in [key.fingerprint for key in read_known(known(fresh))]) is agreed


@pytest.mark.real
def test_through_a_host_on_the_way(lab: Lab, server: dict[str, str], fresh: Path, tmp_path: Path) -> None:
    """127.0.0.1 of the host on the way: from here nobody is there."""
    target = f"root@127.0.0.1:{PORT}"
    key = lab.directory / "ssh/id_ed25519"
    fresh.with_name("known").write_text((lab.directory / "ssh/known_hosts").read_text())
    for more in ({}, {"identity": key}):
        with Ssh(target, config=fresh, jump=f"root@{address(lab)}", host_keys=[server["ed25519"]], **more) as ssh:
            assert ssh.run(["sh", "-c", "hostname; echo $SSH_CONNECTION"]).decode().startswith("vps-1\n127.0.0.1 ")
    text = fresh.read_text()
    fresh.write_text(f"Host inner\n    HostName 127.0.0.1\n    Port {PORT}\n    ProxyJump root@{address(lab)}\n{text}")
    with Ssh("root@inner", config=fresh, host_keys=[server["ed25519"]]) as ssh:
        assert ssh.run(["hostname"]) == b"vps-1\n"


@pytest.mark.real
def test_a_host_on_the_way_that_nobody_knows(lab: Lab, server: dict[str, str], fresh: Path) -> None:
    fresh.write_text(fresh.read_text().replace("accept-new", "yes"))
    with (
        Ssh(f"root@127.0.0.1:{PORT}", config=fresh, jump=f"root@{address(lab)}") as ssh,
        pytest.raises(SshHostKeyUnknown) as caught,
    ):
        ssh.run(["true"])
    assert "on the way" in caught.value.why and "-W" in caught.value.fix


@pytest.fixture
def person(lab: Lab, ssh: Ssh) -> Iterator[str]:
    """A user of the host, let in by the operator's key."""
    ssh.run(["useradd", "--create-home", "--shell", "/bin/sh", "--password", "*", "person"])
    ssh.run(["install", "-d", "-o", "person", "-m", "700", "/home/person/.ssh"])
    ssh.run(["install", "-o", "person", "-m", "600", "/root/.ssh/authorized_keys", "/home/person/.ssh/authorized_keys"])
    yield "person"
    ssh.run(["rm", "-f", "/etc/sudoers.d/person"])
    ssh.run(["userdel", "--remove", "--force", "person"])


@pytest.mark.real
def test_a_user_who_may_by_sudo_works_as_root(lab: Lab, ssh: Ssh, person: str) -> None:
    ssh.run(["dd", "of=/etc/sudoers.d/person", "status=none"], input=b"person ALL=(ALL) NOPASSWD: ALL\n")
    with Ssh(f"{person}@{address(lab)}", config=lab.ssh_config()) as other:
        assert other.run(["id", "-un"]) == b"root\n"
        odd = ["a b", "$(reboot)", "'", "*", "ä\n"]
        assert other.run(["printf", "%s|", *odd], input=b"").decode() == "|".join([*odd, ""])
        assert other.run(["cat"], input=b"\0\xff" * 1000) == b"\0\xff" * 1000
        found = survey(other)
    assert judge(found, cloud="c10d") == []
    assert (found.user, found.address) == ("root", address(lab)), "sudo forgets over which address we came"


@pytest.mark.real
def test_a_user_who_may_not_is_told_what_is_missing(lab: Lab, ssh: Ssh, person: str) -> None:
    with Ssh(f"{person}@{address(lab)}", config=lab.ssh_config()) as other:
        assert other.run(["id", "-un"]) == b"person\n"
        (refused,) = judge(survey(other), cloud="c10d")
    assert isinstance(refused, NotRoot)
    assert "person" in refused.why and "password" in refused.why and "NOPASSWD" in refused.fix


@pytest.mark.real
def test_a_user_whom_the_host_does_not_let_in(lab: Lab) -> None:
    with Ssh(f"nobody@{address(lab)}", config=lab.ssh_config()) as other, pytest.raises(SshWrongKey):
        other.run(["true"])


@given(st.text(max_size=200))
def test_no_file_of_known_hosts_breaks_the_reader(text: str) -> None:
    assert all(key.fingerprint.startswith("SHA256:") for key in read_known(text))


def test_fingerprints_are_those_of_ssh(tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "k"], check=True)
    told = subprocess.run(["ssh-keygen", "-lf", tmp_path / "k.pub"], capture_output=True, text=True, check=True).stdout
    (key,) = read_known(f"[vps-1]:2222 {(tmp_path / 'k.pub').read_text()}# a word\n@revoked x y z\nshort\n")
    assert key.fingerprint == told.split()[1] and key.kind == "ssh-ed25519"


@pytest.mark.parametrize(
    "more", [{"host_keys": ["MD5:aa:bb"]}, {"host_keys": ["SHA256:short"]}, {"jump": "-oProxyCommand=x"}]
)
def test_what_is_no_fingerprint_or_no_host_is_told_before_anything_is_done(more: dict[str, object]) -> None:
    with pytest.raises(BadInput if "host_keys" in more else BadTarget):
        Ssh("root@198.51.100.7", **more)  # type: ignore[arg-type]
