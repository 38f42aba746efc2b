"""A whole Debian in a virtual machine, as one more host on the lab's bridge: its own kernel, pure cgroup v2, kernel WireGuard.

By emulation (TCG), as hardware virtualisation is not everywhere: some ten times slower than a lab host. The disk is made
anew for each machine from a tree that is fetched once; the kernel is Debian's own for clouds, booted from outside.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from skerry.lab.errors import LabFailed, LabNotInTime
from skerry.lab.lab import Lab
from skerry.lab.programs import run

SUITE = "bookworm"
INCLUDE = ("systemd-sysv", "openssh-server", "udev", "iproute2", "kmod", "dbus", "linux-image-cloud-amd64")
FETCH_LIMIT_S = 900.0
DISK_BYTES = 4 << 30
MEMORY_MIB = 1024
ADDRESS = 200  # the last byte of its address in the lab's network
BOOT_LIMIT_S = 300.0

# Learnt the hard way: networkd waits for udev; without a resolver's file sshd looks names up in vain; and what the lab
# does by namespaces has to be said in files here.
NETWORK = "[Match]\nName=en* eth*\n[Network]\nAddress={address}/24\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"


def tree(cache: Path) -> Path:
    """The Debian that disks are made of, fetched at its first use (about a minute)."""
    place = cache / f"guest-{SUITE}"
    if not place.is_dir():
        fresh = cache / f"guest-{SUITE}.new"
        shutil.rmtree(fresh, ignore_errors=True)  # of an interrupted fetch
        cache.mkdir(parents=True, exist_ok=True)
        argv = ["mmdebstrap", "--variant=minbase", f"--include={','.join(INCLUDE)}", "--mode=root", SUITE, str(fresh)]
        run(["unshare", "--mount", *argv], what="the guest's Debian could not be made", timeout_s=FETCH_LIMIT_S)
        for key in (fresh / "etc/ssh").glob("ssh_host_*"):
            key.unlink()
        fresh.rename(place)
    return place


@dataclass
class Guest:
    """One virtual machine on the bridge of `lab`. `work`: where its disk and its words are."""

    lab: Lab
    work: Path
    name: str = "guest"
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return self.lab.status()[0].address.rpartition(".")[0] + f".{ADDRESS}"

    @property
    def tap(self) -> str:
        return "tap-guest"

    @property
    def ssh_config(self) -> Path:
        return self.work / "ssh-config"

    @property
    def console(self) -> Path:
        return self.work / "guest.console"

    def make_disk(self, cache: Path) -> None:
        """Its own copy of the tree with address, name and keys, and a way in for the lab's operator."""
        base = tree(cache)
        own = self.work / "own"
        (own / "etc/ssh").mkdir(parents=True)
        (own / "root/.ssh").mkdir(parents=True, mode=0o700)
        (own / "root").chmod(0o700)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(own / "etc/ssh/ssh_host_ed25519_key")])
        shutil.copy(self.lab.directory / "ssh/id_ed25519.pub", own / "root/.ssh/authorized_keys")
        for place, text in {
            "etc/hostname": f"{self.name}\n",
            "etc/resolv.conf": "",
            "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
            "etc/machine-id": "",
            "etc/systemd/network/10-lab.network": NETWORK.format(address=self.address),
            "etc/ssh/sshd_config.d/lab.conf": "UseDNS no\nHostKey /etc/ssh/ssh_host_ed25519_key\n",
        }.items():
            (own / place).parent.mkdir(parents=True, exist_ok=True)
            (own / place).write_text(text)
        unit = own / "etc/systemd/system/multi-user.target.wants/systemd-networkd.service"
        unit.parent.mkdir(parents=True)
        unit.symlink_to("/lib/systemd/system/systemd-networkd.service")
        merged = self.work / "tree"
        shutil.rmtree(merged, ignore_errors=True)
        run(["cp", "-a", "--reflink=auto", str(base), str(merged)], timeout_s=120)
        run(["cp", "-a", f"{own}/.", str(merged)])
        (self.work / "guest.img").unlink(missing_ok=True)
        size = f"{DISK_BYTES >> 20}M"
        run(["mke2fs", "-q", "-t", "ext4", "-d", str(merged), str(self.work / "guest.img"), size], timeout_s=120)
        shutil.rmtree(merged)
        self._write_ssh_config(own / "etc/ssh/ssh_host_ed25519_key.pub")

    def _write_ssh_config(self, host_key: Path) -> None:
        known = self.work / "known_hosts"
        known.write_text(f"{self.address} {' '.join(host_key.read_text().split()[:2])}\n")
        self.ssh_config.write_text(
            f'Host {self.address}\n    User root\n    IdentityFile "{self.lab.directory / "ssh/id_ed25519"}"\n'
            f'    IdentitiesOnly yes\n    UserKnownHostsFile "{known}"\n    StrictHostKeyChecking yes\n'
            "    GSSAPIAuthentication no\n    ConnectTimeout 60\n"
        )

    def boot(self, cache: Path) -> float:
        """Power on; returns after how many seconds its SSH server spoke. Raises LabNotInTime."""
        begun_s = time.monotonic()
        inside = ["nsenter", f"--net={self.lab.directory / 'wires'}"]
        run(
            [*inside, "ip", "-batch", "-"],
            input=f"tuntap add dev {self.tap} mode tap\nlink set {self.tap} master bridge0\nlink set {self.tap} up\n",
        )
        kernels = sorted((tree(cache) / "boot").glob("vmlinuz-*"))
        argv = [
            *("qemu-system-x86_64", "-accel", "tcg", "-machine", "q35", "-m", str(MEMORY_MIB), "-nodefaults"),
            *("-display", "none", "-no-reboot", "-serial", f"file:{self.console}"),
            *("-kernel", str(kernels[-1]), "-initrd", str(kernels[-1]).replace("vmlinuz-", "initrd.img-")),
            *("-append", "console=ttyS0 root=/dev/vda rw quiet panic=-1 mitigations=off"),
            *("-drive", f"file={self.work / 'guest.img'},format=raw,if=none,id=disk,cache=unsafe"),
            *("-device", "virtio-blk-pci,drive=disk"),
            *("-netdev", f"tap,id=net,ifname={self.tap},script=no,downscript=no"),
            *("-device", "virtio-net-pci,netdev=net,mac=02:5b:00:00:00:c8"),
            *("-device", "virtio-rng-pci"),
        ]
        with (self.work / "guest.qemu").open("wb") as said:
            self.process = subprocess.Popen([*inside, *argv], stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        self._wait_banner()
        return time.monotonic() - begun_s

    def _wait_banner(self) -> None:
        """Until its SSH server speaks: a connection alone proves nothing."""
        assert self.process is not None
        end_s = time.monotonic() + BOOT_LIMIT_S
        while time.monotonic() < end_s:
            if self.process.poll() is not None:
                raise LabFailed("the guest did not boot", (self.work / "guest.qemu").read_text()[-1000:], "")
            try:
                with socket.create_connection((self.address, 22), timeout=5.0) as connection:
                    if connection.recv(4).startswith(b"SSH-"):
                        return
            except OSError:
                time.sleep(0.5)
        words = self.console.read_text(errors="replace")[-1500:] if self.console.exists() else ""
        raise LabNotInTime("the guest is not reachable", f"no SSH server within {BOOT_LIMIT_S:g} s: {words}", "")

    def ssh(self, *argv: str, timeout_s: float = 120.0) -> str:
        """What a program inside prints. Raises LabFailed."""
        return run(["ssh", "-F", str(self.ssh_config), f"root@{self.address}", *argv], timeout_s=timeout_s)

    def stop(self) -> None:
        """Power off. The lab's `down` takes the network, and the tap in it, away."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process = None
        if (self.lab.directory / "wires").exists():
            subprocess.run(
                ["nsenter", f"--net={self.lab.directory / 'wires'}", "ip", "link", "del", self.tap],
                capture_output=True, check=False,
            )  # fmt: skip
        for leftover in ("guest.img", "own"):
            place = self.work / leftover
            if place.is_dir():
                shutil.rmtree(place)
            elif place.exists():
                place.unlink()
