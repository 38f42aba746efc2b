"""What becomes pid 1 of a lab host: lab/machine.py starts it as `python -m skerry.lab.inside`, with a job on stdin.

It enters the host's cgroups, makes the namespaces, ties the wire, builds the file system and becomes systemd; the part
of it that stays outside ends when the wire is tied, so that hosts have no parent to die with. Learnt the hard way:

- cgroups first, namespaces after: else systemd's slices land in this machine's root cgroup;
- what is written to /proc/sys outside of net.* is this machine's: those folders are read-only inside, and so is /sys;
- the wall clock is this machine's, too: no CAP_SYS_TIME. Modules as well: no CAP_SYS_MODULE;
- after pivot_root nothing of Python can be imported any more: all imports stand at the top.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from skerry.lab import cgroups, kernel

NODES = (
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
    ("net/tun", 10, 200),
    ("fuse", 10, 229),
)
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def main() -> None:
    """Read the job, boot, and tell on stdout: {"pid": n}, then nothing; or {"error": "..."}. EOF: systemd runs."""
    job: dict[str, Any] = json.load(sys.stdin)
    report = os.dup(sys.stdout.fileno())  # closed by the exec: that is how the caller learns of it
    try:
        os.umask(0o022)
        cgroups.join(job["lab"], job["name"])
        trees = cgroups.trees()  # as this machine has them; a host's /proc would show them from inside
        kernel.unshare(kernel.NEW_PIDS)
        ready, ready_told = os.pipe()
        tied, tied_told = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(tied_told)
            _become(job, trees, ready_told, tied)
        os.close(ready_told)
        if os.read(ready, 1):
            os.write(report, json.dumps({"pid": pid}).encode() + b"\n")
            try:  # all children are in the new pid namespace already, where the host's first process is 1
                _ip(
                    ["nsenter", f"--net={job['wires']}"],
                    f"link add {job['link']} type veth peer name eth0 address {job['mac']} netns 1\n"
                    f"link set {job['link']} master bridge0\nlink set {job['link']} up\n",
                )
            except BaseException:
                os.kill(pid, signal.SIGKILL)
                raise
            os.write(tied_told, b".")
    except BaseException as error:
        os.write(report, json.dumps({"error": str(error)}).encode() + b"\n")
        os._exit(1)
    os._exit(0)


def _become(job: dict[str, Any], trees: list[cgroups.Tree], ready_told: int, tied: int) -> None:
    """In the child: never returns."""
    report = os.dup(sys.stdout.fileno())
    try:
        kernel.unshare(kernel.NEW_MOUNTS | kernel.NEW_NET | kernel.NEW_NAMES | kernel.NEW_IPC | kernel.NEW_CGROUPS)
        os.write(ready_told, b".")
        if not os.read(tied, 1):
            os._exit(1)  # the other half failed and has said so
        _ip([], f"link set lo up\naddr add {job['address']}/24 dev eth0\nlink set eth0 up\n")
        socket.sethostname(job["name"])
        _mount_all(job, trees)
        kernel.enter_root(job["root"])
        kernel.give_up_the_machine()
        nothing = os.open("/dev/null", os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them; ignoring is inherited
            signal.signal(number, signal.SIG_DFL)
        legacy = {"SYSTEMD_PROC_CMDLINE": "systemd.legacy_systemd_cgroup_controller=1"} if trees[0].version == 1 else {}
        os.execve(
            "/lib/systemd/systemd",
            ["systemd", "--log-target=journal", "--unit=multi-user.target"],
            {"container": "lab", "PATH": PATH, **legacy},
        )
    except BaseException as error:
        os.write(report, json.dumps({"error": f"{job['name']}: {error}"}).encode() + b"\n")
    os._exit(1)


def _mount_all(job: dict[str, Any], trees: list[cgroups.Tree]) -> None:
    root = job["root"]
    quiet = kernel.NO_SUID | kernel.NO_DEVICES
    kernel.mount("", "/", flags=kernel.RECURSIVE | kernel.PRIVATE)
    options = f"lowerdir={job['lower']},upperdir={job['upper']},workdir={job['work']},index=off"
    kernel.mount("overlay", root, "overlay", options=options)

    kernel.mount("proc", f"{root}/proc", "proc", quiet | kernel.NO_EXEC)
    kernel.mount("sysfs", f"{root}/sys", "sysfs", quiet | kernel.NO_EXEC)
    _mount_cgroups(f"{root}/sys/fs/cgroup", trees)
    kernel.mount("", f"{root}/sys", flags=kernel.BIND | kernel.REMOUNT | kernel.READ_ONLY | quiet | kernel.NO_EXEC)
    for place in ("sys/vm", "sys/fs", "sys/kernel", "sysrq-trigger"):
        if Path(root, "proc", place).exists():  # a kernel may be built without one of them
            kernel.bind(f"{root}/proc/{place}", f"{root}/proc/{place}", read_only=True)

    kernel.mount("tmpfs", f"{root}/dev", "tmpfs", kernel.NO_SUID, "mode=0755,size=4m")
    for folder in ("pts", "shm", "net", "mqueue"):
        Path(root, "dev", folder).mkdir()
    mask = os.umask(0)
    for name, major, minor in NODES:
        os.mknod(f"{root}/dev/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
    os.umask(mask)
    kernel.mount("devpts", f"{root}/dev/pts", "devpts", options="newinstance,ptmxmode=0666,mode=620,gid=5")
    Path(root, "dev/ptmx").symlink_to("pts/ptmx")
    kernel.mount("tmpfs", f"{root}/dev/shm", "tmpfs", quiet, "mode=1777")
    kernel.mount("tmpfs", f"{root}/tmp", "tmpfs", quiet, "mode=1777")
    kernel.mount("tmpfs", f"{root}/run", "tmpfs", quiet, "mode=0755")

    boot_id = Path(root, "run/boot_id")  # each boot has its own, as on a machine
    boot_id.write_text(f"{uuid.uuid4()}\n")
    kernel.bind(str(boot_id), f"{root}/proc/sys/kernel/random/boot_id", read_only=True)
    for source, target in job["disks"]:
        kernel.bind(source, f"{root}/{target}")


def _mount_cgroups(place: str, trees: list[cgroups.Tree]) -> None:
    """The host's own part of each tree: its cgroup namespace makes that the root of what it sees."""
    if trees[0].version == 2:
        kernel.mount("cgroup2", place, "cgroup2")
        return
    kernel.mount("tmpfs", place, "tmpfs", options="mode=0755,size=1m")
    for tree in trees:
        inner = Path(place, tree.path.name)
        inner.mkdir()
        kernel.mount("cgroup", str(inner), "cgroup", options=tree.options)
        for name in tree.path.name.split(","):  # cpu,cpuacct in one tree: also found under each of the two names
            if name != tree.path.name:
                Path(place, name).symlink_to(tree.path.name)


def _ip(prefix: list[str], batch: str) -> None:
    done = subprocess.run([*prefix, "ip", "-batch", "-"], input=batch.encode(), capture_output=True, check=False)
    if done.returncode:
        raise OSError(f"ip: {done.stderr.decode(errors='replace').strip()}")


if __name__ == "__main__":
    main()
