"""A libvirt with QEMU of its own, beside whatever else runs here: its own files, sockets and processes in namespaces.

In a process namespace with a shell as first process, which reaps what libvirt waits for: left to this machine's own pid 1 each
start takes a minute.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from skerry.lab.errors import LabNotInTime
from skerry.lab.programs import PATH, run

START_LIMIT_S = 60.0
BEGIN = """\
mount --make-rprivate /
for place in etc/libvirt run/libvirt var/lib/libvirt var/log/libvirt var/cache/libvirt; do
    mkdir -p "/$place" && mount --bind "$0/$place" "/$place" || exit 1
done
virtlogd --pid-file "$0/virtlogd.pid" &
while ! [ -S /run/libvirt/virtlogd-sock ]; do sleep 0.1; done
libvirtd --pid-file "$0/libvirtd.pid" &
wait
"""


class Hypervisor:
    """Use as a context manager. `folder`: readable by all (QEMU runs as a user of its own), as all above it."""

    def __init__(self, folder: Path, network_namespace: str = "") -> None:
        self.folder = folder
        self._enter = ["nsenter", f"--net={network_namespace}"] if network_namespace else []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"qemu+unix:///system?socket={self.folder}/run/libvirt/libvirt-sock"

    @property
    def images(self) -> Path:
        return self.folder / "var/lib/libvirt/images"

    def virsh(self, *argv: str) -> str:
        return run(["virsh", "--quiet", "--connect", self.endpoint, *argv], timeout_s=60)

    def __enter__(self) -> Hypervisor:
        for place in ("run/libvirt", "var/lib/libvirt/images", "var/log/libvirt/qemu", "var/cache/libvirt"):
            (self.folder / place).mkdir(parents=True, exist_ok=True)
        shutil.copytree("/etc/libvirt", self.folder / "etc/libvirt", dirs_exist_ok=True)
        for left in (self.folder / "etc/libvirt/qemu").glob("**/*.xml"):
            left.unlink()  # this machine's own
        with (self.folder / "words").open("wb") as words:
            self._process = subprocess.Popen(
                [
                    *self._enter,
                    *("unshare", "-m", "-p", "-f", "--mount-proc", "--kill-child", "sh", "-c", BEGIN),
                    str(self.folder),
                ],
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                env={**os.environ, "PATH": PATH},
                start_new_session=True,
            )
        end_s = time.monotonic() + START_LIMIT_S
        while not self._answers():
            if time.monotonic() > end_s or self._process.poll() is not None:
                self.__exit__()
                raise LabNotInTime("libvirt does not answer", (self.folder / "words").read_text()[-1500:], "")
            time.sleep(0.2)
        self.virsh("pool-define-as", "default", "dir", "--target", "/var/lib/libvirt/images")
        self.virsh("pool-start", "default")
        return self

    def _answers(self) -> bool:
        argv = ["virsh", "--quiet", "--connect", self.endpoint, "uri"]
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0

    def __exit__(self, *_: object) -> None:
        """All of it ends, guests too: they are in its namespace."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
