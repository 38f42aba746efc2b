"""libvirt on another machine, by SSH: a key of the pool's own, a host key that is named, images and errors on that way."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.lab import Lab
from skerry.machines.contract import NoSuchServer, ProviderDenied, ProviderSilent
from skerry.machines.libvirt import Libvirt
from skerry.machines.ssh import Ssh
from skerry.machines.virsh import Virsh

pytestmark = pytest.mark.real

LIMIT_S = 20.0
START_S = 60.0  # a busy machine starts libvirt slowly


class Host:
    """A lab host with a libvirt, and what a pool has to say to get there."""

    def __init__(self, lab: Lab, ssh: Ssh) -> None:
        self.ssh = ssh
        self.address = lab.status()[0].address
        self.key = (lab.directory / "ssh/id_ed25519").read_text()
        lines = (lab.directory / "ssh/known_hosts").read_text().splitlines()
        self.host_key = next(line for line in lines if self.address in line.split()[0].split(","))

    def provider(self, **changes: str) -> Libvirt:
        given = {"key": self.key, "host_key": self.host_key, "address": self.address} | changes
        return Libvirt(given["key"], f"qemu+ssh://root@{given['address']}/system", {"host_key": given["host_key"]})


@pytest.fixture(scope="module")
def host(lab: Lab) -> Iterator[Host]:
    with Ssh("root@vps-1", config=lab.ssh_config()) as ssh:
        # Debian's package of the daemon leaves its user to another one, without which libvirtd ends at once.
        ssh.run(["sh", "-c", "id libvirt-qemu || useradd --system --user-group --no-create-home libvirt-qemu"])
        ssh.run(["systemd-run", "--quiet", "--unit=trial-libvirtd", "libvirtd"])
        end_s = time.monotonic() + START_S
        while not answers(ssh) and time.monotonic() < end_s:
            time.sleep(0.1)
        ssh.run(
            ["virsh", "-c", "qemu:///system", "pool-define-as", "default", "dir", "--target", "/var/lib/skerry/images"]
        )
        ssh.run(["virsh", "-c", "qemu:///system", "pool-build", "default"])
        yield Host(lab, ssh)
        ssh.run(["systemctl", "stop", "trial-libvirtd"])


def answers(ssh: Ssh) -> bool:
    return b"/system" in ssh.run(["sh", "-c", "virsh -c qemu:///system uri 2>&1 || true"])


def test_by_a_key_of_the_pools_own_to_a_host_whose_key_is_named(host: Host, tmp_path: Path) -> None:
    files = {part: tmp_path / part for part in ("qcow2", "initrd")}
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", files["qcow2"], "10M"], check=True)
    files["initrd"].write_bytes(b"\0\xff" * 100_000)
    provider = host.provider()
    assert provider.list() == []
    with pytest.raises(NoSuchServer):
        provider.get("4d0be23a-5df9-5cb5-82a4-8706e23f5c27")
    told: list[str] = []
    provider.volumes.put_image("debian-12", files, told.append)  # the storage pool was not even started
    assert [line.split()[0] for line in told] == ["sending"] * 2
    provider.volumes.put_image("debian-12", files, told.append)
    assert told[2:] == ["debian-12 is there already"]
    there = host.ssh.run(["sha256sum", "/var/lib/skerry/images/debian-12.initrd"]).split()[0]
    assert there == subprocess.run(["sha256sum", files["initrd"]], capture_output=True, check=True).stdout.split()[0]


def test_ways_that_are_refused_or_lead_nowhere_are_told_apart(host: Host, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    other = f"{host.address} {' '.join((tmp_path / 'other.pub').read_text().split()[:2])}"
    for changes, words in (
        ({"host_key": other}, "erification failed"),
        ({"key": (tmp_path / "other").read_text()}, "Permission denied"),
    ):
        with pytest.raises(ProviderDenied) as caught:
            host.provider(**changes).list()
        assert words in caught.value.why and caught.value.fix
    with pytest.raises(ProviderSilent):
        host.provider(address=f"{host.address}:2").list()


def test_a_host_that_does_not_answer_is_left_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun_s = time.monotonic()
        with pytest.raises(ProviderSilent):
            Virsh(f"qemu+tcp://127.0.0.1:{silent.getsockname()[1]}/system").run("uri", limit_s=0.5)
        assert time.monotonic() - begun_s < LIMIT_S
