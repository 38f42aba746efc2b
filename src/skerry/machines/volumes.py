"""The storage pool of a hypervisor's host, by libvirt: images, machines' disks, and what cloud-init reads."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from skerry.errors import SkerryError
from skerry.machines.contract import ProviderRefused, ProviderSilent
from skerry.machines.virsh import Virsh

UPLOAD_LIMIT_S = 120.0
IMAGE_LIMIT_S = 3600.0
MAKE_LIMIT_S = 300.0  # so long a disk without a machine is somebody's work, and no leftover


class NoSuchImage(ProviderRefused):
    """What machines shall begin with was not named, or is not there."""

    code = "no-such-image"
    exit_code = 2


class Volumes:
    """Of one storage pool. A machine's are NAME.qcow2 and NAME.iso."""

    def __init__(self, virsh: Virsh, pool: str) -> None:
        self.pool = pool
        self._virsh = virsh

    def paths(self) -> dict[str, str]:
        """Name -> path on the host. A pool that is not running is started."""
        try:
            text = self._virsh.run("vol-list", self.pool)
        except SkerryError as error:
            if "not active" in error.why:
                self._virsh.run("pool-start", self.pool)
                text = self._virsh.run("vol-list", self.pool)
            elif "Storage pool not found" in error.why or "failed to get pool" in error.why:
                raise ProviderRefused(
                    "machines have no place for their disks",
                    error.why,
                    f"virsh pool-define-as {self.pool} dir --target /var/lib/libvirt/images, then pool-start and pool-autostart",
                ) from None
            else:
                raise
        return dict(line.split(None, 1) for line in map(str.strip, text.splitlines()) if len(line.split()) == 2)

    def image(self, name: str, there: Mapping[str, str]) -> str:
        """The volume `there` that is called so. Raises NoSuchImage."""
        base = next((volume for volume in (name, f"{name}.qcow2") if volume in there), None)
        if base is None:
            images = ", ".join(sorted(v.removesuffix(".qcow2") for v in there if v.endswith(".qcow2")))
            storage = "" if self.pool == "default" else f" --storage {self.pool}"
            raise NoSuchImage(
                f"there is no image {name!r} to make machines of" if name else "no image was named to make machines of",
                f"the storage pool {self.pool} has: {images or 'none'}",
                "name one that is there: --image NAME; or have mmdebstrap make a Debian, here and as root: "
                f"skerry machine image {self._virsh.endpoint}{storage}, then --image debian-12",
            )
        return base

    def make_disk(self, name: str, image: str, size_bytes: int) -> str:
        """Over the image; its path on the host. Whoever makes it goes on alone: libvirt makes no volume twice."""
        there = self.paths()
        base = self.image(image, there)
        disk = f"{name}.qcow2"
        if disk in there:
            if (age_s := self._age_s(disk)) < MAKE_LIMIT_S:
                raise ProviderSilent(f"{name} is being made", f"its disk is there since {age_s:.0f} s")
            self.delete(name)  # a create was cut off, and nothing has run on it yet
        self._virsh.run(
            *("vol-create-as", self.pool, disk, f"{size_bytes}B", "--format", "qcow2"),
            *("--backing-vol", base, "--backing-vol-format", "qcow2"),
        )
        return self.paths()[disk]

    def make_seed(self, name: str, data: bytes) -> str:
        """Its path on the host."""
        with tempfile.TemporaryDirectory(prefix="skerry-") as folder:
            file = Path(folder) / "seed"
            file.touch(mode=0o600)  # the enrolment's token is in it
            file.write_bytes(data)
            self._put(f"{name}.iso", file, UPLOAD_LIMIT_S)
        return self.paths()[f"{name}.iso"]

    def grow(self, name: str, size_bytes: int) -> None:
        """A machine's disk, which never shrinks."""
        disk = f"{name}.qcow2"
        if disk not in self.paths():
            return
        told = re.search(r"^Capacity:\s+(\d+)", self._virsh.run("vol-info", "--bytes", "--pool", self.pool, disk), re.M)
        if told and int(told[1]) < size_bytes:
            self._virsh.run("vol-resize", "--pool", self.pool, disk, f"{size_bytes}B")

    def delete(self, name: str) -> None:
        """What is a machine's."""
        for volume in {f"{name}.qcow2", f"{name}.iso"} & self.paths().keys():
            self._virsh.run("vol-delete", "--pool", self.pool, volume)

    def put_image(self, name: str, files: Mapping[str, Path], progress: Callable[[str], None]) -> None:
        """`files` by part (qcow2, vmlinuz, initrd). An image that is whole there stays: machines stand on it."""
        there = self.paths()
        if {f"{name}.{part}" for part in files} <= there.keys():
            progress(f"{name} is there already")
            return
        for part, file in files.items():
            volume = f"{name}.{part}"
            progress(f"sending {volume}, {file.stat().st_size / 1e6:.0f} MB")
            if volume in there:  # of an upload that was cut off
                self._virsh.run("vol-delete", "--pool", self.pool, volume)
            self._put(volume, file, IMAGE_LIMIT_S)
        self._virsh.run("pool-refresh", self.pool)

    def _put(self, volume: str, file: Path, limit_s: float) -> None:
        """Whole, or not at all."""
        self._virsh.run("vol-create-as", self.pool, volume, f"{file.stat().st_size}B", "--format", "raw")
        try:
            self._virsh.run("vol-upload", "--pool", self.pool, volume, str(file), limit_s=limit_s)
        except BaseException:
            self._virsh.run("vol-delete", "--pool", self.pool, volume)
            raise

    def _age_s(self, volume: str) -> float:
        """Since it was made, by both clocks; a driver that tells no times knows of nothing young."""
        match = re.search(r"<ctime>(\d+)", self._virsh.run("vol-dumpxml", "--pool", self.pool, volume))
        return time.time() - float(match[1]) if match else float("inf")
