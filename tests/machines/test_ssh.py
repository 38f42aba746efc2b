"""SSH as the operator's machine meets it: each trouble has its own error. Against a lab host's real server."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import SkerryError, TrustRefusal, Unreachable
from skerry.lab import Lab
from skerry.machines.errors import (
    BadTarget,
    RemoteFailed,
    SshHostKeyChanged,
    SshHostKeyUnknown,
    SshNotInTime,
    SshUnreachable,
    SshWrongKey,
)
from skerry.machines.ssh import Ssh, parse_target


def config(lab: Lab, tmp_path: Path, *changes: tuple[str, str]) -> Path:
    text = lab.ssh_config().read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "config"
    path.write_text(text)
    return path


def refused(ssh: Ssh, error: type[SkerryError]) -> SkerryError:
    with ssh, pytest.raises(error) as caught:
        ssh.run(["true"])
    assert caught.value.what and caught.value.why and caught.value.fix
    return caught.value


@pytest.mark.real
def test_arguments_arrive_as_they_are_and_one_connection_serves_all(lab: Lab, ssh: Ssh) -> None:
    odd = ["a b", "$(reboot)", "'", '"', "*", "", "ä\n"]
    assert ssh.run(["printf", "%s|", *odd]) == "|".join([*odd, ""]).encode()
    assert ssh.run(["cat"], input=b"\0\xff" * 100_000) == b"\0\xff" * 100_000
    sessions = {ssh.run(["sh", "-c", "echo $SSH_CONNECTION"]) for _ in range(5)}
    assert len(sessions) == 1


@pytest.mark.real
def test_a_command_that_fails_there_says_so_in_its_own_words(ssh: Ssh) -> None:
    with pytest.raises(RemoteFailed) as caught:
        ssh.run(["ls", "/nothing here"])
    assert caught.value.exit_status == 2
    assert "/nothing here" in caught.value.why
    with pytest.raises(RemoteFailed):  # 255 is also ssh's own code; these are the host's words
        ssh.run(["sh", "-c", "echo Permission denied >&2; exit 255"])


@pytest.mark.real
def test_a_command_that_takes_too_long_is_left(ssh: Ssh) -> None:
    with pytest.raises(SshNotInTime):
        ssh.run(["sleep", "60"], timeout_s=0.3)
    assert ssh.run(["echo", "still here"]) == b"still here\n"


@pytest.mark.real
def test_a_key_that_the_host_does_not_know(lab: Lab, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    wrong = config(lab, tmp_path, (f'IdentityFile "{lab.directory}/ssh/id_ed25519"', f'IdentityFile "{key}"'))
    refused(Ssh("root@vps-1", config=wrong), SshWrongKey)


@pytest.mark.real
def test_a_host_key_that_changed(lab: Lab, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    address = lab.status()[0].address
    (tmp_path / "known").write_text(f"{address},vps-1 {(tmp_path / 'other.pub').read_text()}")
    changed = config(lab, tmp_path, (f"{lab.directory}/ssh/known_hosts", f"{tmp_path}/known"))
    error = refused(Ssh("root@vps-1", config=changed), SshHostKeyChanged)
    assert isinstance(error, TrustRefusal) and error.exit_code == 3
    assert "ssh-keygen -R" in error.fix


@pytest.mark.real
def test_a_host_key_that_nobody_knows(lab: Lab, tmp_path: Path) -> None:
    unknown = config(lab, tmp_path, (f"{lab.directory}/ssh/known_hosts", f"{tmp_path}/empty"))
    refused(Ssh("root@vps-1", config=unknown), SshHostKeyUnknown)


@pytest.mark.real
def test_nobody_listens_or_nobody_is_there(lab: Lab, tmp_path: Path) -> None:
    address = lab.status()[0].address
    error = refused(Ssh(f"root@{address}:2222", config=lab.ssh_config()), SshUnreachable)
    assert isinstance(error, Unreachable) and error.exit_code == 4
    refused(Ssh("root@no-such-name.invalid"), SshUnreachable)


@pytest.mark.real
def test_a_host_that_dies_in_the_middle_is_unreachable(lab: Lab) -> None:
    with Ssh("root@vps-1", config=lab.ssh_config()) as ssh:
        ssh.run(["true"])
        lab.kill("vps-1")
        with pytest.raises((SshUnreachable, SshNotInTime)):
            ssh.run(["true"], timeout_s=1)
    lab.boot("vps-1")


@given(st.text(max_size=40))
def test_a_target_never_becomes_an_option_or_a_second_word(text: str) -> None:
    try:
        destination, port = parse_target(text)
    except BadTarget:
        return
    assert not destination.startswith("-") and not destination.rpartition("@")[2].startswith("-")
    assert destination.isascii() and " " not in destination
    assert 0 <= port <= 65535


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("root@198.51.100.7", ("root@198.51.100.7", 0)),
        ("vps-1", ("vps-1", 0)),
        ("root@host.example:2222", ("root@host.example", 2222)),
        ("root@[2001:db8::1]:22", ("root@2001:db8::1", 22)),
        ("root@[2001:db8::1]", ("root@2001:db8::1", 0)),
    ],
)
def test_targets(text: str, wanted: tuple[str, int]) -> None:
    assert parse_target(text) == wanted


@pytest.mark.parametrize(
    "text", ["-oProxyCommand=x", "root@-x", "", "a b", "root@host:0", "root@host:99999", "a@b@c", "h;x"]
)
def test_no_targets(text: str) -> None:
    with pytest.raises(BadTarget):
        parse_target(text)
