"""What a host's disk holds before its first boot: the private layer over the base, written while it is not mounted.

The layer hides what hosts must not see of this machine, by overlayfs's own marks: an *opaque* directory (nothing of
the lower one shows through) or a *whiteout* (it is not there at all). A list is kept of what may be seen, not of what
may not: a new directory of this machine is hidden without anybody having to think of it.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import uuid
from pathlib import Path

VISIBLE = {"bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc"}
EMPTY = {
    "boot": 0o755,
    "dev": 0o755,
    "home": 0o755,
    "media": 0o755,
    "mnt": 0o755,
    "opt": 0o755,
    "proc": 0o555,
    "root": 0o700,
    "run": 0o755,
    "srv": 0o755,
    "sys": 0o555,
    "tmp": 0o1777,
    "var": 0o755,
}
# Of this machine's systemd: everything that was enabled here, and what would make units out of its other files.
OPAQUE = {
    "etc/systemd/system": 0o755,
    "etc/systemd/network": 0o755,
    "etc/ssl/private": 0o710,
    "etc/sudoers.d": 0o750,
    "etc/netns": 0o755,
    "usr/lib/systemd/system-generators": 0o755,
    "etc/systemd/system-generators": 0o755,
    "usr/lib/systemd/system/multi-user.target.wants": 0o755,
}
# Units that would change this machine and not only the host: its sysctls, devices, binfmt, clock, random seed.
MASKED = (
    "systemd-sysctl.service",
    "systemd-modules-load.service",
    "systemd-binfmt.service",
    "proc-sys-fs-binfmt_misc.automount",
    "proc-sys-fs-binfmt_misc.mount",
    "systemd-udevd.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udev-trigger.service",
    "systemd-udev-settle.service",
    "systemd-hwdb-update.service",
    "systemd-random-seed.service",
    "systemd-pstore.service",
    "systemd-timesyncd.service",
    "systemd-remount-fs.service",
    "kmod-static-nodes.service",
    "modprobe@.service",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "sys-fs-fuse-connections.mount",
    "dev-hugepages.mount",
    "getty.target",
    "console-getty.service",
)
SSHD_CONFIG = """\
# Written by the lab.
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PrintMotd no
Subsystem sftp internal-sftp
"""
JOURNALD_CONFIG = "[Journal]\nStorage=persistent\nSystemMaxUse=64M\nReadKMsg=no\n"


def write_layer(layer: Path, *, name: str, address: str, keys: Path, hide: list[Path], lower: Path) -> None:
    """Fill `layer`, the upper directory of an overlay over `lower`, for the host `name`.

    `keys`: a directory with `ssh_host_ed25519_key`, `.pub` and `authorized_keys`. `hide`: further paths of this
    machine, for a layer over its own root; ignored for any other base, which has nothing of this machine.
    """
    layer.mkdir(parents=True)
    layer.chmod(0o755)
    if lower == Path("/"):
        _hide_this_machine(layer, hide)
    systemd = _directory(layer, lower, "etc/systemd/system")
    for unit in MASKED:
        (systemd / unit).symlink_to("/dev/null")
    if lower == Path("/"):
        wanted = _directory(layer, lower, "etc/systemd/system/multi-user.target.wants")
        for unit in ("ssh.service", "dbus.service"):
            (wanted / unit).symlink_to(f"/lib/systemd/system/{unit}")
    etc = _directory(layer, lower, "etc")
    (etc / "hostname").write_text(f"{name}\n")
    (etc / "hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n{address} {name}\n")
    (etc / "resolv.conf").write_text("# The lab has no name server.\n")
    (etc / "machine-id").write_text(f"{uuid.uuid4().hex}\n")
    (etc / "fstab").write_text("")
    (etc / "shadow").write_text(_locked_passwords(lower / "etc/shadow"))
    (etc / "shadow").chmod(0o640)
    (_directory(layer, lower, "etc/systemd/journald.conf.d") / "lab.conf").write_text(JOURNALD_CONFIG)
    ssh = _directory(layer, lower, "etc/ssh")
    (ssh / "sshd_config").write_text(SSHD_CONFIG)
    for old in (lower / "etc/ssh").glob("ssh_host_*"):
        if not old.name.startswith("ssh_host_ed25519_key"):
            _whiteout(ssh / old.name)
    for file, mode in (("ssh_host_ed25519_key", 0o600), ("ssh_host_ed25519_key.pub", 0o644)):
        shutil.copyfile(keys / file, ssh / file)
        (ssh / file).chmod(mode)
    home = _directory(layer, lower, "root")
    (home / ".ssh").mkdir(mode=0o700)
    shutil.copyfile(keys / "authorized_keys", home / ".ssh/authorized_keys")
    for place in ("opt", "var/lib/skerry", "var/log"):  # where the host's own disks are mounted
        _directory(layer, lower, place)


def private_paths() -> list[Path]:
    """What of this machine hosts must never see, wherever it may be: this program's environment and Skerry's state."""
    paths = [Path(__file__).resolve().parents[1]]
    if sys.prefix != sys.base_prefix:
        paths.append(Path(sys.prefix))
    if home := os.environ.get("SKERRY_HOME"):
        paths.append(Path(home))
    return [path.absolute() for path in paths]


def _hide_this_machine(layer: Path, hide: list[Path]) -> None:
    for entry in Path("/").iterdir():
        if entry.name not in VISIBLE and entry.name not in EMPTY:
            _whiteout(layer / entry.name)
    for name, mode in EMPTY.items():
        _opaque(layer / name, mode)
    for name, mode in OPAQUE.items():
        if (Path("/") / name).is_dir():
            _directory(layer, Path("/"), str(Path(name).parent))
            _opaque(layer / name, mode)
    for path in hide:
        relative = path.resolve().relative_to("/")
        if relative.parts and relative.parts[0] in VISIBLE and path.is_dir():
            _directory(layer, Path("/"), str(relative.parent))
            _opaque(layer / relative, 0o755)


def _directory(layer: Path, lower: Path, relative: str) -> Path:
    """The directory in the layer, made with the lower one's mode and owner if it isn't there yet."""
    here = layer
    for part in Path(relative).parts:
        here, lower = here / part, lower / part
        if here.is_symlink() or here.is_dir():
            continue
        here.mkdir()
        if lower.is_dir():
            found = lower.stat()
            os.chown(here, found.st_uid, found.st_gid)
            here.chmod(stat.S_IMODE(found.st_mode))
        else:
            here.chmod(0o755)
    return here


def _opaque(path: Path, mode: int) -> None:
    if not path.is_dir():
        path.mkdir()
    path.chmod(mode)
    os.setxattr(path, "trusted.overlay.opaque", b"y")


def _whiteout(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))


def _locked_passwords(shadow: Path) -> str:
    """The same users, none with a password. "*" and not "!": sshd without PAM takes "!" for a closed account."""
    lines = []
    for line in shadow.read_text().splitlines():
        fields = line.split(":")
        lines.append(":".join([fields[0], "*", *fields[2:]]))
    return "\n".join(lines) + "\n"
